"""Against hand computation and against `keras.layers.Dense`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from tests.conftest import run_python
from zoo import Maxout, MyDenseLayer, ZooError


def twins(**kwargs):
    """Return a MyDenseLayer and a Dense with the same weights."""
    ours, theirs = MyDenseLayer(5, **kwargs), keras.layers.Dense(5, **kwargs)
    ours.build((None, 4))
    theirs.build((None, 4))
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_hand_computed():
    """The course's 2-2 layer: neurons with weights (1, -2), (-1, 1) and biases 1, 0."""
    layer = MyDenseLayer(2)
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0, -1.0], [-2.0, 1.0]]), np.array([1.0, 0.0])])
    # z = (1·1 − 2·(−1) + 1, −1·1 + 1·(−1)) = (4, −2)
    expected = [[1 / (1 + np.exp(-4)), 1 / (1 + np.exp(2))]]
    np.testing.assert_allclose(layer(np.array([[1.0, -1.0]])), expected, rtol=1e-6)


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4), (2, 1, 3, 4)])
def test_equals_dense_in_outputs_and_gradients(activation, shape):
    ours, theirs = twins(
        activation=activation, kernel_regularizer="l2", bias_regularizer="l1"
    )
    x = tf.constant(normal(*shape))
    results = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y**3) + sum(layer.losses)
        results.append([y, *tape.gradient(loss, [x, *layer.trainable_variables])])
    assert len(results[0]) == 4
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_equals_dense_over_100_steps_of_training():
    x, y = normal(64, 4), np.arange(64) % 3
    histories, weights = [], []
    for layer in (MyDenseLayer, keras.layers.Dense):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([layer(8, "tanh"), layer(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(x, y, batch_size=64, epochs=100, verbose=0, shuffle=False)
        histories.append(history.history["loss"])
        weights.append(model.get_weights())
    assert histories[0][-1] < histories[0][0]
    np.testing.assert_allclose(*histories, rtol=1e-5)
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        MyDenseLayer(
            3,
            "relu",
            kernel_initializer="he_normal",
            bias_initializer="ones",
            kernel_regularizer=keras.regularizers.L2(0.1),
            bias_regularizer="l1",
            name="mine",
            dtype="float32",
        ),
        Maxout(3, 2, kernel_regularizer="l2", bias_initializer="ones", name="most"),
    ],
)
def test_round_trips(layer, tmp_path):
    """Unbuilt and built config, symbolic shape, a step of fit, .keras, SavedModel."""
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    for name in ("units", "name", "supports_masking"):
        assert getattr(again, name) == getattr(layer, name)
    assert (
        again.kernel_regularizer.get_config() == layer.kernel_regularizer.get_config()
    )
    assert type(again.bias_initializer) is type(layer.bias_initializer)

    inputs = keras.Input((5, 4))
    assert layer(inputs).shape == (None, 5, 3)
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse")
    before = [w.copy() for w in model.get_weights()]
    model.fit(normal(6, 5, 4), normal(6, 5, 3), verbose=0)
    assert len(before) == 2
    for old, new in zip(before, model.get_weights(), strict=True):
        assert not np.allclose(old, new)

    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    served = tf.saved_model.load(tmp_path / "exported")
    for batch in (1, 7):
        x = normal(batch, 5, 4)
        np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6)
        np.testing.assert_allclose(served.serve(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ["import zoo, keras", "import keras, zoo"])
def test_loads_in_a_fresh_process_after_import_zoo(order, tmp_path):
    model = keras.Sequential([keras.Input((4,)), MyDenseLayer(3), Maxout(2, 2)])
    model.save(tmp_path / "model.keras")
    code = f"{order}; m = keras.models.load_model('model.keras'); print(m.layers)"
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "MyDenseLayer" in done.stdout and "Maxout" in done.stdout


def test_is_registered_as_zoo():
    name = keras.saving.get_registered_name
    assert name(MyDenseLayer) == "zoo>MyDenseLayer"
    assert name(Maxout) == "zoo>Maxout"
    assert zoo.MyDenseLayer is MyDenseLayer


def test_mixed_precision():
    layer = MyDenseLayer(3, dtype="mixed_float16")
    assert layer(normal(2, 4)).dtype == "float16"
    assert layer.kernel.dtype == "float32"
    assert Maxout(3, 2, dtype="mixed_float16")(normal(2, 4)).dtype == "float16"


def test_masks_pass_through():
    inputs = keras.Input((6,))
    x = keras.layers.Embedding(5, 4, mask_zero=True)(inputs)
    assert MyDenseLayer(3)(x)._keras_mask is not None


def test_maxout_is_the_maximum_over_its_pieces():
    layer = Maxout(2, 3)
    x = normal(4, 5)
    y = layer(x)
    z = (x @ layer.kernel.numpy() + layer.bias.numpy()).reshape(4, 2, 3)
    np.testing.assert_allclose(y, z.max(axis=-1), rtol=1e-6)


def test_maxout_with_two_pieces_can_be_the_absolute_value():
    layer = Maxout(1, 2)
    layer.build((None, 1))
    layer.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    np.testing.assert_allclose(layer(np.array([[-2.0], [3.0]])), [[2.0], [3.0]])


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: MyDenseLayer(0),
            "units must be a positive integer. Received: units=0",
        ),
        (lambda: MyDenseLayer(-3), "Received: units=-3"),
        (lambda: MyDenseLayer(2.5), "Received: units=2.5"),
        (lambda: MyDenseLayer(2, "rellu"), "activation must be a Keras activation"),
        (lambda: Maxout(2, 0), "pieces must be a positive integer. Received: pieces=0"),
        (lambda: MyDenseLayer(2).build((None, None)), "needs to know its input's last"),
    ],
)
def test_bad_arguments_are_one_line_errors(build, message):
    with pytest.raises(ZooError) as caught:
        build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["jax"])
def test_runs_on_other_backends(backend, tmp_path):
    """Layers and models train, and are saved on one backend and loaded on another."""
    code = (
        "import numpy as np, zoo, keras\n"
        "keras.utils.set_random_seed(0)\n"
        f"assert keras.backend.backend() == {backend!r}\n"
        "x = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8)\n"
        "y = np.arange(32) % 3\n"
        "for name, model in {\n"
        "    'dense': zoo.mlp((8, 8, 1), (16,), layer=zoo.MyDenseLayer, classes=3),\n"
        "    'cnn': zoo.small_cnn((8, 8, 1), (4, 8), classes=3),\n"
        "    'maxout': keras.Sequential([keras.Input((8, 8, 1)),\n"
        "        keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),\n"
        "        zoo.Maxout(6, 2),\n"
        "        keras.layers.Dense(3, 'softmax')]),\n"
        "}.items():\n"
        "    model.compile('adam', 'sparse_categorical_crossentropy')\n"
        "    loss = model.fit(x, y, epochs=8, verbose=0).history['loss']\n"
        "    assert loss[-1] < loss[0], (name, loss)\n"
        "    model.save(f'{name}.keras')\n"
        "    np.save(f'{name}.npy', model.predict(x, verbose=0))\n"
        "print('trained')\n"
    )
    done = run_python("-c", code, cwd=tmp_path, env={"KERAS_BACKEND": backend})
    assert done.stdout == "trained\n", done.stderr
    x = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8)
    for name in ("dense", "cnn", "maxout"):
        model = keras.models.load_model(tmp_path / f"{name}.keras")
        expected = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(model(x), expected, rtol=1e-3, atol=1e-5)
