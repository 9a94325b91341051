"""Row 14: MyDenseLayer against Dense, and against a product of matrices in NumPy."""

import numpy as np
import pytest

import zoo
from tests.course.rows import check, run
from zoo.recipes import dense_layer


def test_the_row(tmp_path, monkeypatch, capsys):
    check("dense_layer", tmp_path, monkeypatch, capsys)


def test_on_the_sample_it_runs_too(tmp_path, only_the_sample):
    metrics = run("dense_layer", tmp_path, "--quick")
    assert metrics["holds"] is None
    assert metrics["numbers"]["outputs"]["mean"] <= 1e-6


@pytest.mark.parametrize("layer", [zoo.MyDenseLayer, None])
def test_the_gradients_are_those_of_a_sum_on_paper(layer):
    """dL/dz = p - y for softmax and cross-entropy, dL/dW = hᵀ(p - y) / n."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8, 28, 28, 1), np.uint8)
    y = rng.integers(0, 10, 8)
    model = dense_layer.build(layer)
    *_, kernel, bias = dense_layer.gradients(model, x, y)
    w1, b1, w2, b2 = model.get_weights()
    inputs = (x.reshape(8, -1) - 72.94) / 90.02
    hidden = np.maximum(inputs @ w1 + b1, 0)
    scores = np.exp(hidden @ w2 + b2)
    error = (scores / scores.sum(1, keepdims=True) - np.eye(10)[y]) / 8
    np.testing.assert_allclose(kernel, hidden.T @ error, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(bias, error.sum(0), rtol=1e-3, atol=1e-6)


def test_a_difference_is_the_largest():
    assert dense_layer.difference([[1.0, 2.0]], [[1.0, 2.5]]) == 0.5
    with pytest.raises(ValueError):
        dense_layer.difference([[1.0]], [[1.0], [2.0]])
