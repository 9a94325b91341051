"""Row 18: minima against SciPy's, and what may be exchanged without a change."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tests.course.rows import check
from zoo.recipes import local_minima


def test_the_row(tmp_path, monkeypatch, capsys):
    check("local_minima", tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("start", [-5.0, -1.5, 1.0, 4.0])
def test_descent_ends_in_the_minimum_that_scipy_finds(start):
    end = local_minima.descend(local_minima.curve, [start])[-1, 0]
    height = lambda x: x**2 / 20 + np.cos(2 * x + 1)  # noqa: E731
    found = minimize_scalar(height, bounds=(start - 1.2, start + 1.2), method="bounded")
    assert end == pytest.approx(found.x, abs=1e-3)
    assert found.x / 10 == pytest.approx(2 * np.sin(2 * found.x + 1), abs=1e-4)


def test_a_network_with_exchanged_and_negated_units_is_the_same_network():
    rng = np.random.default_rng(0)
    rows, last = rng.normal(size=(8, 4)), rng.normal(size=1)
    order, signs = rng.permutation(8), rng.choice([-1, 1], (8, 1))
    others = rows[order] * signs
    np.testing.assert_allclose(local_minima.nearest(rows, others), rows)
    model = local_minima.network(2)
    model.set_weights(local_minima.unflat([(rows, last), (others, last)]))
    x = rng.normal(size=(20, 2)).astype("float32")
    outputs = np.array(model(x))[..., 0]
    np.testing.assert_allclose(outputs[:, 0], outputs[:, 1], rtol=1e-5)
    hidden = np.tanh(x @ rows[:, :2].T + rows[:, 2])
    expected = 1 / (1 + np.exp(-(hidden @ rows[:, 3] + last)))
    np.testing.assert_allclose(outputs[:, 0], expected, rtol=1e-4)
    for member, expected in enumerate((rows, others)):
        found, bias = local_minima.flat(model.get_weights(), member)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_allclose(bias, last, rtol=1e-6)


def test_pairs_are_of_nearly_equal_losses_and_share_no_network():
    pairs = local_minima.closest(np.array([5.0, 1.0, 1.01, 3.0, 3.6, 9.0]), 2)
    assert sorted(map(sorted, pairs.tolist())) == [[1, 2], [3, 4]]
