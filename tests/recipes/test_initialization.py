"""Row 15: the size of a signal in depth, against the powers of two of the papers."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import initialization


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("initialization", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["zero_difference"]["mean"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "factor"), [("Xavier", 0.5), ("He", 1.0)])
def test_a_layer_multiplies_the_mean_square_by_the_papers_factor(name, factor):
    initializer = initialization.INITIALIZERS[name]
    rms = initialization.activations(initializer, 4, networks=30, seed=0)
    np.testing.assert_allclose(rms**2, factor ** np.arange(1, 5), rtol=0.25)


def test_one_half_of_the_members_has_xaviers_weights_and_the_other_hes():
    model = initialization.build(4, seeds=3, width=100)
    kernel = model.get_layer("hidden_2").get_weights()[0]
    assert len(model.layers) == 3 + 4
    np.testing.assert_allclose(kernel[:3].var(), 1 / 100, rtol=0.05)
    np.testing.assert_allclose(kernel[3:].var(), 2 / 100, rtol=0.05)
