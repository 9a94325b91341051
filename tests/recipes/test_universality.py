"""Row 11: one hidden layer fits a curve; fits by hand and by least squares."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import universality


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("universality", tmp_path, monkeypatch, capsys)["numbers"]
    # No network beats the best constant by being worse than it: rms of f itself.
    x = np.linspace(-1, 1, universality.POINTS)
    constant = universality.curve(x).std()
    for name in ("relu_1", "sigmoid_1"):
        assert 0 < numbers[name]["mean"] <= constant


def test_the_curve_has_its_bend_bump_and_wave():
    assert universality.curve(0.0) == pytest.approx(np.exp(-16))
    at = universality.curve(0.4)
    assert at == pytest.approx(0.4 + 1 + 0.3 * np.sin(2.4 * np.pi))


@pytest.mark.parametrize("activation", universality.ACTIVATIONS)
def test_every_width_has_its_networks_and_wider_ones_could_fit_better(activation):
    """Least squares on the hidden units as they start bounds what could be had."""
    model = universality.networks(activation, seeds=2, steps=10)
    hidden = model.layers[0]
    assert hidden.widths == tuple(w for w in universality.WIDTHS for _ in range(2))
    x = np.linspace(-1, 1, universality.POINTS, dtype="float32")[:, None]
    y = universality.curve(x[:, 0])
    units = np.array(hidden(x))

    def best(member):
        columns = np.insert(units[:, member], 0, 1, axis=1)
        weights = np.linalg.lstsq(columns, y, rcond=None)[0]
        return np.sqrt(np.mean((columns @ weights - y) ** 2))

    assert best(-1) < best(0) / 2
