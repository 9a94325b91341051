"""Row 21: the table of bias and variance, and inputs that are scaled or not."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import bias_variance


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("bias_variance", tmp_path, monkeypatch, capsys)["numbers"]
    gaps = np.subtract(
        numbers["large_train"]["values"], numbers["large_validation"]["values"]
    )
    assert (gaps > 0.1).all()  # 500 images are learned by heart


@pytest.mark.parametrize(
    ("training", "validation", "read"),
    [
        (0.99, 0.89, "overfitting"),
        (0.90, 0.89, "underfitting"),
        (0.89, 0.78, "both"),
        (0.99, 0.98, "neither"),
    ],
)
def test_the_table_of_the_lecture(training, validation, read):
    assert bias_variance.cell(training, validation) == read


def test_a_rate_on_the_loss_is_a_rate_of_sgd():
    import keras

    from zoo.ensembles import EnsembleDense

    x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    y = np.array([0, 1, 2, 0, 1, 2])
    layer = EnsembleDense(
        3, 2, activation="softmax", kernel_initializer="zeros", name="top"
    )
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(1.0), bias_variance.weighted([0.1, 0.01]))
    model.train_on_batch(x, y)
    # From zero weights the gradient of the mean cross-entropy is x'(1/3 - onehot)/n.
    gradient = x.T @ (1 / 3 - np.eye(3)[y]) / 6
    expected = [-0.1 * gradient, -0.01 * gradient]
    np.testing.assert_allclose(layer.kernel, expected, atol=1e-6)
