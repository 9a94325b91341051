"""Row 19: Adam by its formula, against a sum by hand and Keras."""

import numpy as np

from tests.course.rows import check
from zoo.recipes import optimizers


def test_the_row(tmp_path, monkeypatch, capsys):
    check("optimizers", tmp_path, monkeypatch, capsys)


def test_adams_first_two_steps_by_hand():
    steps = list(optimizers.adam(np.array([1.0]), np.array([[2.0], [-1.0]]), rate=0.1))
    # First: mean 2, square 4. Then m = 0.9 * 0.2 - 0.1 and v = 0.999 * 0.004 + 0.001.
    mean, square = 0.08 / 0.19, 0.004996 / 0.001999
    expected = [0.9, 0.9 - 0.1 * mean / square**0.5]
    np.testing.assert_allclose(np.ravel(steps), expected, rtol=1e-7)


def test_another_beta_is_not_keras():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=50), rng.normal(size=(100, 50))
    (*_, ours) = optimizers.adam(start, gradients)
    (*_, others) = optimizers.adam(start, gradients, beta2=0.99)
    assert optimizers.adam_error(0) < 1e-5 < 1e-4 < np.abs(ours - others).max()
