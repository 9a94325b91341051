"""Row 13: the neuron against scikit-learn and SciPy, layers against their product."""

import numpy as np
import pytest
from scipy import optimize, special

from tests.course.rows import check
from zoo.data import toys
from zoo.recipes import logistic_regression as row


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("logistic_regression", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["relu"]["mean"] > numbers["linear"]["mean"] + 0.2


def test_the_neuron_ends_where_scipy_and_scikit_learn_do():
    sets = [toys.blobs(80, seed) for seed in (0, 1)]
    x, y = (np.stack(part, 1) for part in zip(*sets, strict=True))
    model = row.network(2, 2, penalty=1 / (2 * 0.5 * 80))
    row.descend(model, x, y, 600)
    kernel, bias = (np.array(w) for w in model.get_weights())
    for i in range(2):

        def loss(w, x=x[:, i], y=y[:, i]):
            z = x @ w[:2] + w[2]
            return np.mean(np.logaddexp(0, z) - y * z) + w[:2] @ w[:2] / (2 * 0.5 * 80)

        best = optimize.minimize(loss, np.zeros(3), tol=1e-10).x
        ours = [*kernel[i, :, 0], bias[i, 0]]
        np.testing.assert_allclose(ours, best, atol=1e-3)
        peer = row.scikit(x[:, i], y[:, i], 0.5)
        np.testing.assert_allclose([*peer.coef_[0], *peer.intercept_], best, atol=1e-3)


def test_a_linear_hidden_layer_is_a_product_and_relu_is_none():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1, 2)).astype("float32")
    weights = [rng.normal(size=s) for s in ((1, 2, 16), (1, 16), (1, 16, 1), (1, 1))]
    first, shift, second, bias = (w[0] for w in weights)
    expected = special.expit(x[:, 0] @ (first @ second) + shift @ second + bias)
    answers = {}
    for hidden in ("linear", "relu"):
        model = row.network(1, 2, hidden)
        model.set_weights(weights)
        answers[hidden] = np.array(model(x))[:, 0]
    assert answers["linear"] == pytest.approx(expected, abs=1e-5)
    rectified = np.maximum(x[:, 0] @ first + shift, 0) @ second + bias
    assert answers["relu"] == pytest.approx(special.expit(rectified), abs=1e-5)
    assert np.abs(answers["relu"] - expected).max() > 0.1


def test_tumours_are_split_and_standardised_by_what_is_known():
    x, y, new, truth = row.tumours([0, 1])
    assert x.shape == (455, 2, 30) and new.shape == (114, 2, 30)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0), 1, atol=1e-4)
    assert (y.sum(0) + truth.sum(0)).tolist() == [357, 357]  # benign ones
    assert not np.array_equal(y[:, 0], y[:, 1])
