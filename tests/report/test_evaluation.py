import keras
import numpy as np
import pytest
from keras import layers
from sklearn.decomposition import PCA

from zoo.data import Examples, Splits
from zoo.report import evaluation

SHAPE = (6, 6, 1)


def splits(shape=SHAPE, test=40):
    rng = np.random.default_rng(3)

    def examples(count):
        return Examples(
            rng.integers(0, 256, (count, *shape), np.uint8), np.arange(count) % 3
        )

    return Splits(
        "noise", examples(50), examples(9), examples(test), ("a", "b", "c"), "", ""
    )


def network(*hidden, shape=SHAPE):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(shape, dtype="uint8"),
            layers.Rescaling(1 / 255),
            *hidden,
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def measured(model, data, tmp_path):
    path = tmp_path / evaluation.NAME
    accuracy = evaluation.measure(model, data, path)
    with np.load(path) as file:
        assert set(file) == set(evaluation.KEYS)
        return accuracy, dict(file)


def test_keeps_the_test_set_s_answers_and_returns_training_accuracy(tmp_path):
    model, data = network(layers.Dropout(0.9)), splits()
    kernel, bias = model.get_weights()
    accuracy, arrays = measured(model, data, tmp_path)

    def probabilities(x):  # by hand, and without dropout
        logits = x.reshape(len(x), -1) / 255 @ kernel + bias
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    right = probabilities(data.train.x).argmax(1) == data.train.y
    assert accuracy == right.mean()
    np.testing.assert_allclose(
        arrays["probabilities"], probabilities(data.test.x), rtol=1e-4
    )
    np.testing.assert_array_equal(arrays["labels"], data.test.y)
    assert arrays["class_names"].tolist() == ["a", "b", "c"]


def test_pictures_are_mistakes(tmp_path):
    data = splits()
    _, arrays = measured(network(), data, tmp_path)
    index = arrays["picture_index"]
    assert len(index) > 0
    assert (arrays["probabilities"][index].argmax(1) != data.test.y[index]).all()
    np.testing.assert_array_equal(arrays["pictures"], data.test.x[index])


def test_large_pictures_are_thinned_out(tmp_path):
    shape = (4, 130, 1)
    data = splits(shape, test=12)
    _, arrays = measured(network(shape=shape), data, tmp_path)
    assert arrays["pictures"].shape[1:] == (2, 44, 1)


def test_last_features_are_what_the_classifier_sees(tmp_path):
    data = splits()
    model = network(layers.Flatten(), layers.Dense(5))
    kernel, bias = model.layers[2].get_weights()
    _, arrays = measured(model, data, tmp_path)
    features = data.test.x.reshape(40, -1) / 255 @ kernel + bias
    pca = PCA(2).fit(features)
    np.testing.assert_allclose(
        arrays["explained_variance"], pca.explained_variance_ratio_, rtol=1e-4
    )
    np.testing.assert_allclose(
        np.abs(arrays["pca"]), np.abs(pca.transform(features)), atol=1e-4
    )
    assert arrays["tsne"].shape == (40, 2) and np.isfinite(arrays["tsne"]).all()


@pytest.mark.parametrize("kernel", ["zeros", "glorot_uniform"])
def test_nothing_is_laid_out_where_there_is_nothing(kernel, tmp_path):
    """Features that are all the same; and fewer features than a plane needs."""
    units = 8 if kernel == "zeros" else 2
    hidden = layers.Flatten(), layers.Dense(units, kernel_initializer=kernel)
    _, arrays = measured(network(*hidden), splits(), tmp_path)
    assert arrays["pca"].shape == arrays["tsne"].shape == (0, 2)


def test_first_kernels_of_a_convolution(tmp_path):
    model = network(layers.Conv2D(70, 3))
    _, arrays = measured(model, splits(test=12), tmp_path)
    kernel = model.layers[1].get_weights()[0]
    assert arrays["kernels"].shape == (64, 3, 3, 1)
    np.testing.assert_array_equal(arrays["kernels"][5], kernel[..., 5])


def test_first_kernels_of_a_dense_layer(tmp_path):
    model = network()
    _, arrays = measured(model, splits(test=12), tmp_path)
    kernel = model.get_weights()[0]
    assert arrays["kernels"].shape == (3, 6, 6, 1)
    assert arrays["kernels"][2, 1, 4, 0] == kernel[1 * 6 + 4, 2]


def test_no_kernels_where_they_do_not_see_pixels(tmp_path):
    model = network(layers.AveragePooling2D(2))
    _, arrays = measured(model, splits(test=12), tmp_path)
    assert len(arrays["kernels"]) == 0


def test_a_failing_write_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / evaluation.NAME
    path.write_bytes(b"before")

    def broken(path, **arrays):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", broken)
    with pytest.raises(OSError, match="disk full"):
        evaluation.measure(network(), splits(test=12), path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
