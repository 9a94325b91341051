import contextlib
import math
import random
import re

import keras
import numpy as np
import pytest

from tests.conftest import run_python
from zoo import ZooError, data
from zoo.callbacks.learning_rate_finder import LearningRateFinder
from zoo.data import pipeline


class Noise(keras.layers.Layer):
    """Draws from Keras's global seed generator, as a layer without a seed does."""

    def call(self, x, training=False):
        if not training:
            return x
        return x + keras.random.normal(keras.ops.shape(x), 0, 0.01, x.dtype)


def schedule(rate):
    return keras.optimizers.schedules.CosineDecay(rate, decay_steps=100)


OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "momentum, schedule": lambda: keras.optimizers.SGD(schedule(0.01), momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.001),
    "adamw, schedule": lambda: keras.optimizers.AdamW(schedule(0.01), weight_decay=0.1),
    "averaged": lambda: keras.optimizers.Adam(0.001, use_ema=True),
}


def examples():
    """Return 64 images, uint8 (64, 8, 8, 1), whose labels show in their brightness."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 64)
    x = rng.integers(0, 100, (64, 8, 8, 1)) + 70 * y[:, None, None, None]
    return data.Examples(x.astype(np.uint8), y)


def build(optimizer, per_execution=1, dtype="float32", noise=Noise):
    """Return a compiled model with every kind of state."""
    keras.utils.clear_session()  # old Keras keeps its global generator else
    keras.utils.set_random_seed(7)
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(16, use_bias=False, dtype=dtype),
        keras.layers.BatchNormalization(dtype=dtype),
        keras.layers.ReLU(dtype=dtype),
        keras.layers.Dropout(0.3, dtype=dtype),
        noise(dtype=dtype),
        keras.layers.Dense(3, "softmax", dtype="float32"),
    ]
    model = keras.Sequential(layers)
    optimizer = OPTIMIZERS[optimizer]()
    if dtype == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=per_execution,
    )
    return model


def fit(model, source, epochs, *callbacks):
    """Train for epochs of 8 steps; return the history."""
    words = {"epochs": epochs, "verbose": 0, "callbacks": list(callbacks)}
    if source == "arrays":
        return model.fit(*examples(), batch_size=8, shuffle=True, **words).history
    augmentation = pipeline.Augmentation(flip=True, shift=1)
    batches = pipeline.training(examples(), 8, seed=3, augmentation=augmentation)
    words |= {"steps_per_epoch": 8, "shuffle": False}
    return model.fit(batches, **words).history


def state(model):
    """Return all numbers that a training depends on, or leaves."""
    variables = model.variables + model.metrics_variables + model.optimizer.variables
    return [np.array(v) for v in variables]


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "optimizer, per_execution, dtype, source",
    [
        ("momentum", 1, "float32", "arrays"),
        ("momentum, schedule", 4, "float32", "pipeline"),
        ("adam", 4, "float32", "arrays"),
        ("adamw, schedule", 1, "float32", "arrays"),
        ("averaged", 1, "float32", "pipeline"),
        ("momentum", 1, "mixed_float16", "pipeline"),
        ("adamw, schedule", 4, "mixed_float16", "arrays"),
    ],
)
def test_a_training_has_the_same_bits_with_and_without_a_sweep(
    optimizer, per_execution, dtype, source
):
    results = []
    for sweep in (False, True):
        model = build(optimizer, per_execution, dtype)
        if sweep:
            finder = LearningRateFinder(1e-5, 10, steps=20)
            fit(model, source, 10, finder)
            assert finder.suggestion and model.optimizer.iterations == 0
            assert not any(np.any(v) for v in model.metrics_variables)
        history = fit(model, source, 2)
        results.append([*state(model), *history.values()])
    assert_same(*results)


@pytest.mark.parametrize("optimizer", ["adam", "adamw, schedule"])
def test_a_sweep_in_the_midst_of_a_training_changes_nothing(optimizer):
    model = build(optimizer)
    fit(model, "arrays", 1)
    before, rate = state(model), model.optimizer._learning_rate
    with contextlib.suppress(ZooError):  # the loss need not fall any more
        fit(model, "arrays", 10, LearningRateFinder(1e-5, 10, steps=20))
    assert_same(before, state(model))
    assert model.optimizer._learning_rate is rate


def test_an_interrupted_sweep_is_undone():
    def interrupt(batch, logs):
        random.random(), np.random.random()
        if batch == 5:
            raise KeyboardInterrupt

    model = build("adamw, schedule")
    fit(model, "arrays", 1)
    before, rate = state(model), model.optimizer._learning_rate
    draws = random.getstate(), np.random.get_state()[1].copy()
    finder = LearningRateFinder(steps=20)
    stop = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    for _ in range(2):  # the second begins where the first did
        with pytest.raises(KeyboardInterrupt):
            fit(model, "arrays", 10, finder, stop)
    assert finder.suggestion is None and len(finder.losses) == 6
    finder.restore()
    assert_same(before, state(model))
    assert model.optimizer._learning_rate is rate
    assert random.getstate() == draws[0]
    np.testing.assert_array_equal(np.random.get_state()[1], draws[1])
    fit(model, "arrays", 1)
    trained = state(model)
    finder.restore()  # does nothing more
    assert_same(trained, state(model))


@pytest.mark.parametrize("rate", [0.3, schedule(0.3)], ids=["number", "schedule"])
@pytest.mark.parametrize("per_execution", [1, 4])
def test_the_sweep_by_hand(rate, per_execution):
    """One weight w, loss w^2: a step of gradient descent makes it w (1 - 2 rate)."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = keras.optimizers.SGD(rate)
    model.compile(optimizer, "mse", steps_per_execution=per_execution)
    model.set_weights([np.ones((1, 1))])
    finder = LearningRateFinder(1e-3, 100, steps=30)
    ones, zeros = np.ones((24, 1)), np.zeros((24, 1))
    model.fit(ones, zeros, batch_size=1, epochs=5, verbose=0, callbacks=[finder])

    rates = np.geomspace(1e-3, 100, 30)[: len(finder.losses)]
    w, losses = 1.0, []
    for rate in rates:
        steps = []
        for _ in range(per_execution):
            steps.append(w * w)
            w *= 1 - 2 * rate
        losses.append(np.mean(steps))
    np.testing.assert_allclose(finder.learning_rates, rates)
    np.testing.assert_allclose(finder.losses, losses, rtol=1e-4)
    smoothed = [  # over a window of 30 / 10: each earlier loss weighs 2/3 of the next
        np.average(losses[: n + 1], weights=(2 / 3) ** np.arange(n, -1, -1))
        for n in range(len(losses))
    ]
    np.testing.assert_allclose(finder.smoothed_losses, smoothed, rtol=1e-4)
    assert model.get_weights() == [1.0]


def drive(losses, highest=10.0, steps=20):
    """Hand the finder these losses; return it."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    finder = LearningRateFinder(1e-6, highest, steps)
    finder.set_model(model)
    finder.set_params({"epochs": 1, "steps": None})
    finder.on_train_begin()
    for batch, loss in enumerate(losses):
        finder.on_train_batch_begin(batch)
        finder.on_train_batch_end(batch, {"loss": loss})
        if model.stop_training:
            assert batch == len(losses) - 1
    finder.on_train_end()
    return finder


@pytest.mark.parametrize(
    "losses, where",
    [
        # The window is 2: each loss counts half of the next. After k zeros the average
        # is near 1/2^k, so that the fourth is the first below a tenth.
        ([1] * 5 + [0] * 10 + [100], 8),
        ([1] * 5 + [0] * 10 + [math.nan], 8),
        ([1] * 5 + [0] * 10 + [math.inf], 8),
        ([1] * 5 + [0] * 14 + [1], 8),  # the whole sweep, without a divergence
        ([0, 3, 1, 1, 1] + [0] * 10 + [100], 7),  # from 2, their average
        ([-1] * 5 + [-2] * 10 + [99], 8),  # a loss may be negative
    ],
)
def test_the_suggestion_is_where_nine_tenths_have_fallen(losses, where):
    finder = drive(losses)
    assert finder.suggestion == pytest.approx(1e-6 * 1e7 ** (where / 19))
    finite = sum(map(math.isfinite, losses))
    assert len(finder.losses) == len(finder.learning_rates) == finite


@pytest.mark.parametrize(
    "losses, message",
    [
        ([1, 1, 100], "does not fall from lowest=1e-06"),
        ([math.nan], "does not fall from lowest=1e-06"),
        ([1] * 20, "does not fall from lowest=1e-06"),
        (np.linspace(20, 1, 20), "still falls at highest=10.0"),
        ([1] * 19, r"20 executions of 1 step, and this fit has 19: raise its epochs"),
    ],
)
def test_a_sweep_that_says_nothing_is_an_error(losses, message):
    with pytest.raises(ZooError, match=message):
        drive(losses)


def test_a_fit_that_is_too_short_is_found_before_it_begins():
    finder = LearningRateFinder(steps=20)
    with pytest.raises(ZooError, match="20 executions of 4 steps, and this fit has 6"):
        fit(build("adam", per_execution=4), "arrays", 3, finder)
    assert finder.losses == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"lowest": 0}, "lowest must be above 0"),
        ({"lowest": 1, "highest": 0.1}, "highest must be above 1"),
        ({"steps": 19}, "steps must be an integer, at least 20"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ZooError, match=message):
        LearningRateFinder(**arguments)


def test_a_model_that_is_not_built_and_a_missing_loss_are_errors():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((40, 1))
    with pytest.raises(ZooError, match="keras.Input, or call model.build"):
        model.fit(x, x, 1, verbose=0, callbacks=[LearningRateFinder(steps=20)])
    model.build((None, 1))
    finder = LearningRateFinder()
    finder.set_model(model)
    with pytest.raises(ZooError, match="'loss'"):
        finder.on_train_batch_end(0, {"g_loss": 1.0})


def test_the_picture(tmp_path):
    with pytest.raises(ZooError, match="no sweep to plot"):
        LearningRateFinder().plot(tmp_path / "sweep.png")
    finder = drive([1] * 5 + [0] * 10 + [100])
    assert finder.plot(tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    drawing = finder.plot(str(tmp_path / "sweep.svg")).read_text()
    for text in ("learning rate", "training loss", "smoothed", "suggestion: 0.00089"):
        assert f"<!-- {text} -->" in drawing
    with pytest.raises(ZooError, match="Did you mean 'png'"):
        finder.plot(tmp_path / "sweep.pnk")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    pytest.importorskip(backend)
    code = (
        "import keras, numpy as np\n"
        "from tests.callbacks import test_learning_rate_finder as t\n"
        "results = []\n"
        "for sweep in (False, True):\n"
        "    model = t.build('adam', noise=keras.layers.Identity)\n"
        "    if sweep:\n"
        "        finder = t.LearningRateFinder(1e-5, 10, steps=20)\n"
        "        t.fit(model, 'arrays', 10, finder)\n"
        "        assert finder.suggestion\n"
        "    history = t.fit(model, 'arrays', 2)\n"
        "    convert = keras.ops.convert_to_numpy\n"
        "    results.append([*map(convert, model.variables), history['loss']])\n"
        "t.assert_same(*results)\n"
        "try:\n"
        "    t.fit(t.build('adamw, schedule',\n"
        "        noise=keras.layers.Identity), 'arrays', 10, finder)\n"
        "    print('a schedule works')\n"
        "except t.ZooError as error:\n"
        "    print(error)\n"
    )
    done = run_python("-c", code, env={"KERAS_BACKEND": backend})
    expected = {"jax": "schedule under JAX: compile with a number", "torch": "works"}
    assert re.search(expected[backend], done.stdout), done.stderr
