"""Members of an ensemble train as they would alone."""

import functools

import keras
import numpy as np
import pytest

import zoo
from zoo import ensembles
from zoo.ensembles import EnsembleDense


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    return rng.normal(size=(48, 6)).astype("float32"), rng.integers(0, 4, 48)


def network(layer, classes=4):
    inputs = keras.Input((6,))
    x = layer(5, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, layer(classes, activation="softmax", name="top")(x))


def test_shapes_and_padding():
    layer = EnsembleDense((1, 5, 3), members=3, activation="sigmoid")
    outputs = np.array(layer(np.ones((2, 4), "float32")))
    assert outputs.shape == (2, 3, 5) == layer.compute_output_shape((2, 4))
    assert ((outputs != 0).sum(-1) == [[1, 5, 3], [1, 5, 3]]).all()
    assert (np.array(layer.kernel)[0, :, 1:] == 0).all()


def test_it_is_a_product_and_a_sum_for_each_member():
    layer = EnsembleDense(2, members=3, activation=None)
    x = np.random.default_rng(1).normal(size=(4, 3, 5)).astype("float32")
    outputs = np.array(layer(x))
    kernel, bias = (np.array(w) for w in layer.get_weights())
    for member in range(3):
        expected = x[:, member] @ kernel[member] + bias[member]
        np.testing.assert_allclose(outputs[:, member], expected, rtol=1e-5, atol=1e-6)


def test_each_member_starts_as_it_would_alone():
    keras.utils.set_random_seed(0)
    layer = EnsembleDense((400, 100), members=2, kernel_initializer="glorot_normal")
    layer.build((None, 200))
    kernel = np.array(layer.kernel)
    for member, width in enumerate((400, 100)):
        own = kernel[member, :, :width]
        assert own.std() == pytest.approx(np.sqrt(2 / (200 + width)), rel=0.05)
    assert not np.allclose(kernel[0, :, :100], kernel[1, :, :100])


@pytest.mark.parametrize("own_labels", [False, True])
def test_training_together_is_training_alone(digits, own_labels):
    x, y = digits
    labels = np.stack([y, (y + 1) % 4, (y + 2) % 4], 1) if own_labels else y
    loss = "sparse_categorical_crossentropy"
    keras.utils.set_random_seed(0)
    together = network(functools.partial(EnsembleDense, members=3))
    together.compile(keras.optimizers.SGD(0.5), ensembles.total_loss(loss))
    start = together.get_weights()
    together.fit(x, labels, batch_size=16, epochs=4, shuffle=False, verbose=0)
    guesses = together.predict(x, verbose=0)
    for member in range(3):
        alone = network(zoo.MyDenseLayer)
        alone.set_weights([w[member] for w in start])
        alone.compile(keras.optimizers.SGD(0.5), loss)
        own = labels[:, member] if own_labels else y
        alone.fit(x, own, batch_size=16, epochs=4, shuffle=False, verbose=0)
        expected = alone.predict(x, verbose=0)
        np.testing.assert_allclose(guesses[:, member], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 1), (6,), (6, 3, 1)])
def test_the_loss_of_a_regression_is_that_of_each_member(shape):
    rng = np.random.default_rng(0)
    y = rng.normal(size=shape).astype("float32")
    guesses = rng.normal(size=(6, 3, 1)).astype("float32")
    loss = ensembles.total_loss("mean_squared_error")
    each = y if y.ndim == 3 else y.reshape(6, 1, 1)
    expected = ((each - guesses) ** 2).sum((1, 2))
    np.testing.assert_allclose(np.array(loss(y, guesses)), expected, rtol=1e-5)
    model = keras.Sequential([keras.Input((3, 1)), keras.layers.Identity()])
    model.compile(loss=loss)  # which squeezes outputs of one unit
    found = model.evaluate(guesses, y, verbose=0)
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-5)


def test_members_of_different_units_have_no_softmax():
    with pytest.raises(ValueError, match="softmax is for members of equal units"):
        EnsembleDense((1, 2), members=2, activation="softmax")


def test_accuracies_count_right_answers_of_each_member(digits):
    x, y = digits
    model = network(functools.partial(EnsembleDense, members=2))
    right = model.predict(x, verbose=0).argmax(-1) == y[:, None]
    np.testing.assert_allclose(ensembles.accuracies(model, x, y, 7), right.mean(0))


def test_it_is_saved_and_loaded(tmp_path, digits):
    model = network(functools.partial(EnsembleDense, members=2))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(digits[0]), model(digits[0]))
    layer = EnsembleDense((1, 2), members=2)
    assert EnsembleDense.from_config(layer.get_config()).widths == (1, 2)


def test_the_mlp_takes_it_as_its_layer(images):
    layer = functools.partial(EnsembleDense, members=2)
    model = zoo.mlp((8, 8, 1), (4,), layer=layer)
    assert model(images[0]).shape == (12, 2, 10)


@pytest.mark.parametrize(
    "units, members, part",
    [
        (0, 2, "units must be a positive integer"),
        ((1, 2, 3), 2, "one for each member"),
        (3, 0, "members must be a positive integer"),
    ],
)
def test_wrong_arguments(units, members, part):
    with pytest.raises(zoo.ZooError, match=part):
        EnsembleDense(units, members)


def test_a_wrong_input_is_named():
    with pytest.raises(zoo.ZooError, match=r"\(batch, 2, inputs\)"):
        EnsembleDense(3, members=2)(np.zeros((4, 5, 6), "float32"))


def test_a_rate_on_the_loss_is_a_rate_of_sgd():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    y = np.array([0, 1, 2, 0, 1, 2])
    layer = EnsembleDense(
        3, 2, activation="softmax", kernel_initializer="zeros", name="top"
    )
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(1.0), ensembles.rated_loss([0.1, 0.01]))
    model.train_on_batch(x, y)
    # From zero weights the gradient of the mean cross-entropy is x'(1/3 - onehot)/n.
    gradient = x.T @ (1 / 3 - np.eye(3)[y]) / 6
    expected = [-0.1 * gradient, -0.01 * gradient]
    np.testing.assert_allclose(layer.kernel, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("power", "keras_penalty"),
    [(1, keras.regularizers.L1), (2, keras.regularizers.L2)],
)
def test_the_penalty_is_that_of_keras_for_each_member(power, keras_penalty):
    kernel = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    expected = keras_penalty(0.1)(kernel[0]) + keras_penalty(0.01)(kernel[1])
    ours = ensembles.penalty(power, [0.1, 0.01])(kernel)
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)
