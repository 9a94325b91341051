import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.conftest import run_python
from zoo import ZooError
from zoo.callbacks import GradientMonitor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = RNG.integers(0, 3, 48)
BATCH = 8  # six steps an epoch
NORM_KEYS = ("gradient_norm", "gradient_norm_max")


def dense_model(**dtype):
    hidden = layers.Dense(5, "tanh", name="hidden", **dtype)
    head = layers.Dense(3, "softmax", name="head", dtype="float32")
    return keras.Sequential([keras.Input((6,)), hidden, head])


def shared_model():
    """Use one layer twice: its gradient is the sum of both uses."""
    inputs = keras.Input((6,))
    shared = layers.Dense(6, "tanh", name="shared")
    return keras.Model(inputs, layers.Dense(3, "softmax")(shared(shared(inputs))))


def frozen_model():
    model = dense_model()
    model.get_layer("hidden").trainable = False
    return model


def nested_model():
    """Put one inside of the other, with layers of the same name in both."""
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, "relu", name="hidden")], name="inner"
    )
    inputs = keras.Input((6,))
    x = layers.Dense(6, "tanh", name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(3, "softmax", name="head")(inner(x)))


def embedding_model():
    """Look rows up: TensorFlow hands the optimizer a sparse gradient."""
    inputs = keras.Input((6,))
    codes = layers.Lambda(lambda x: keras.ops.cast(x > 0, "int32"))(inputs)
    x = layers.Flatten()(layers.Embedding(2, 3, name="embedding")(codes))
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(4, "relu", name="hidden")
        self.head = layers.Dense(3, "softmax", name="head")

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(6,), initializer="ones")
        self.hidden.build(shape)
        self.head.build((None, 4))

    def call(self, x):
        return self.head(self.hidden(x * self.scale))


def compiled(build=dense_model, optimizer=None, **compile_options):
    keras.utils.set_random_seed(1)
    model = build()
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy", **compile_options)
    return model


def fit(model, monitor, epochs=2, **options):
    model.fit(
        X, Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0,
        callbacks=[monitor] if monitor else [], **options,
    )  # fmt: skip
    return monitor


def by_hand(model, epochs=2):
    """Train step by step with a tape; return each step's (gradients, weights, updates).

    The gradients are those that the loss has: unscaled, not clipped, not accumulated.
    """
    model(X[:1])
    variables, optimizer = model.trainable_variables, model.optimizer
    optimizer.build(variables)
    steps = []
    for start in [*range(0, len(X), BATCH)] * epochs:
        x, y = X[start : start + BATCH], Y[start : start + BATCH]
        scale = float(optimizer.scale_loss(tf.constant(1.0)))
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(
                y, model(x, training=True)
            )
            loss = optimizer.scale_loss(tf.reduce_mean(loss))
        grads = tape.gradient(loss, variables)
        before = [variable.numpy() for variable in variables]
        optimizer.apply_gradients(zip(grads, variables, strict=True))
        after = [variable.numpy() for variable in variables]
        grads = [tf.convert_to_tensor(g).numpy() / scale for g in grads]
        updates = [b - a for b, a in zip(before, after, strict=True)]
        steps.append((grads, before, updates))
    return steps


def norm(arrays):
    return math.sqrt(sum((np.asarray(a, "float64") ** 2).sum() for a in arrays))


def expected(steps, indices):
    """Return what the monitor should say of the variables with these numbers."""

    def of(which):
        return [[step[which][i] for i in indices] for step in steps]

    grads, weights, updates = of(0), of(1), of(2)
    norms = [norm(step) for step in grads]
    updated = [n for n, step in enumerate(updates) if norm(step)]
    flat = np.concatenate([g.ravel() for n in updated for g in grads[n]])
    ratios = [norm(updates[n]) / norm(weights[n]) for n in updated if norm(weights[n])]
    return {
        "gradient_norm": np.mean(norms),
        "gradient_norm_max": max(norms),
        "largest_component": np.abs(flat).max(),
        "zero_share": np.mean(flat == 0),
        "weight_norm": np.mean([norm(weights[n]) for n in updated]),
        "update_norm": np.mean([norm(updates[n]) for n in updated]),
        "update_ratio": np.mean(ratios) if ratios else math.nan,
        "nonfinite": 0,
        "nonfinite_step": 0,
    }


def check(model, monitor, steps, rtol=1e-4):
    """Compare all that the monitor says of every epoch with the steps done by hand."""
    per_epoch = len(steps) // len(monitor.epochs)
    names = list(monitor.epochs[0]["variables"])
    assert len(names) == len(model.trainable_variables)
    for number, record in enumerate(monitor.epochs):
        of_epoch = steps[number * per_epoch : (number + 1) * per_epoch]
        parts = {("model", None): range(len(names))}
        for index, name in enumerate(names):
            parts["variables", name] = [index]
        for layer in monitor.layers:
            inside = [i for i, n in enumerate(names) if n.startswith(f"{layer}/")]
            parts["layers", layer] = inside
        assert len(parts) > 3
        for (kind, name), indices in parts.items():
            numbers = record[kind] if name is None else record[kind][name]
            for key, value in expected(of_epoch, indices).items():
                got = math.nan if numbers[key] is None else numbers[key]
                assert got == pytest.approx(value, rel=rtol, abs=1e-7, nan_ok=True), (
                    number, kind, name, key,
                )  # fmt: skip


def unbuilt_model():
    return keras.Sequential([layers.Dense(5, "tanh"), layers.Dense(3, "softmax")])


SITUATIONS = {
    "plain": {},
    "built by its first batch": {"build": unbuilt_model},
    "built by its first batch, XLA": {"build": unbuilt_model, "jit_compile": True},
    "several steps per execution": {"steps_per_execution": 3},
    "an execution that is cut short": {"steps_per_execution": 4},
    "XLA": {"jit_compile": True},
    "XLA, several steps": {"jit_compile": True, "steps_per_execution": 3},
    "eager": {"run_eagerly": True},
    "SGD with momentum": {"optimizer": lambda: keras.optimizers.SGD(0.1, 0.9)},
    "weight decay": {"optimizer": lambda: keras.optimizers.AdamW(0.01, 0.1)},
    "clipnorm": {"optimizer": lambda: keras.optimizers.SGD(0.1, clipnorm=0.01)},
    "global_clipnorm": {
        "optimizer": lambda: keras.optimizers.SGD(0.1, global_clipnorm=0.01)
    },
    "clipvalue": {"optimizer": lambda: keras.optimizers.SGD(0.1, clipvalue=1e-3)},
    "loss_scale_factor": {
        "optimizer": lambda: keras.optimizers.SGD(0.1, loss_scale_factor=64.0)
    },
    "accumulation": {
        "optimizer": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)
    },
    "accumulation across epochs": {
        "optimizer": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=4)
    },
    "shared weights": {"build": shared_model},
    "a frozen layer": {"build": frozen_model},
    "nested": {"build": nested_model},
    "sparse gradients": {"build": embedding_model},
    "subclassed, with a weight of its own": {"build": Subclassed},
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_equals_the_tape_step_by_step(situation):
    options = {"optimizer": lambda: None, **SITUATIONS[situation]}
    optimizer = options.pop("optimizer")
    model = compiled(optimizer=optimizer(), **options)
    monitor = fit(model, GradientMonitor(detail_every=1))
    options = {key: options[key] for key in options if key == "build"}
    check(model, monitor, by_hand(compiled(optimizer=optimizer(), **options)))


def test_mixed_precision_is_unscaled():
    def build():
        return dense_model(dtype="mixed_float16")

    def optimizer():
        return keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.1), initial_scale=1024.0, dynamic_growth_steps=3
        )

    monitor = fit(compiled(build, optimizer()), GradientMonitor(detail_every=1))
    model = compiled(build, optimizer())
    check(model, monitor, by_hand(model), rtol=5e-3)


def test_an_overflow_that_loss_scaling_mends_is_no_finding():
    def build():
        return dense_model(dtype="mixed_float16")

    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=2.0**30
    )
    model = compiled(build, optimizer)
    monitor = fit(model, GradientMonitor(stop_on_nonfinite=True, verbose=0), epochs=4)
    assert float(optimizer.dynamic_scale) < 2.0**30  # there was an overflow
    assert monitor.findings == []
    assert len(monitor.epochs) == 4
    assert 0 < int(optimizer.iterations) < 24
    assert monitor.epochs[-1]["model"]["gradient_norm"] > 0


def test_float16_infinity_of_the_data_is_a_finding():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=4.0
    )
    model = compiled(lambda: dense_model(dtype="mixed_float16"), optimizer)
    monitor = GradientMonitor(verbose=0)
    x = np.where(np.arange(48)[:, None] == 0, np.nan, X)
    model.fit(x, Y, batch_size=48, epochs=5, verbose=0, callbacks=[monitor])
    # Two halvings of the scale come first: 4, 2, then 1.
    assert monitor.epochs[-1]["model"]["nonfinite_step"] == 3
    assert [f.verdict for f in monitor.findings] == ["non-finite gradients"]


def test_two_replicas_give_the_gradient_of_the_whole_batch():
    """In a process of its own: the processor is split before TensorFlow starts."""
    run = run_python("-m", "tests.callbacks.mirrored")
    assert run.returncode == 0, run.stderr[-2000:]
    assert "same" in run.stdout


def test_the_training_is_the_same_with_and_without():
    watched, alone = compiled(), compiled()
    fit(watched, GradientMonitor(X, stop_on_nonfinite=True))
    fit(alone, None)
    for a, b in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("every", [4, None])
def test_details_are_taken_at_the_first_update_of_an_epoch_and_every_so_often(every):
    model = compiled()
    monitor = GradientMonitor(**({} if every is None else {"detail_every": every}))
    fit(model, monitor)
    steps = by_hand(compiled())
    for epoch, taken in enumerate([[0, 4], [6, 10]] if every else [[0], [6]]):
        numbers = monitor.epochs[epoch]["model"]
        grads = np.concatenate([g.ravel() for n in taken for g in steps[n][0]])
        ratio = np.mean([norm(steps[n][2]) / norm(steps[n][1]) for n in taken])
        assert numbers["largest_component"] == pytest.approx(np.abs(grads).max())
        assert numbers["update_ratio"] == pytest.approx(ratio, rel=1e-4)
        assert numbers["details"] == len(taken)
        assert numbers["first_norm"] == pytest.approx(norm(steps[0][0]), rel=1e-4)
        assert numbers["first_update"] == pytest.approx(norm(steps[0][2]), rel=1e-4)
        all_norms = [norm(s[0]) for s in steps[6 * epoch : 6 * epoch + 6]]
        assert numbers["gradient_norm"] == pytest.approx(np.mean(all_norms), rel=1e-5)


def test_a_second_fit_is_watched_afresh():
    model, other = compiled(), compiled()
    monitor = GradientMonitor(detail_every=1)
    fit(model, monitor, epochs=1)
    fit(model, monitor, epochs=1)
    assert [record["epoch"] for record in monitor.epochs] == [1]
    check(model, monitor, by_hand(other, epochs=2)[6:])


def test_a_fit_after_one_without_it_is_watched():
    model = compiled()
    fit(model, None, epochs=1)  # traces the step without it
    monitor = fit(model, GradientMonitor(detail_every=1), epochs=1)
    check(model, monitor, by_hand(compiled(), epochs=2)[6:])


def test_leaves_the_optimizer_and_the_step_as_they_were():
    model = compiled()
    monitor = fit(model, GradientMonitor())
    seen = monitor._statistics.steps
    assert "apply" not in vars(model.optimizer)
    fit(model, None)
    assert monitor._statistics.steps == seen == 12


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_an_interrupted_fit_leaves_nothing_for_a_plain_one():
    model = compiled()
    monitor = GradientMonitor(stop_on_nonfinite=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, verbose=0, callbacks=[monitor, Interrupt()])
    bad = np.full_like(X, np.nan)
    weights = model.get_weights()
    model.fit(bad, Y, batch_size=BATCH, verbose=0)
    model.set_weights(weights)
    before = int(model.optimizer.iterations)
    model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == before + 12
    assert monitor._statistics.steps == 1
    assert "apply" not in vars(model.optimizer)


def test_an_interrupted_fit_leaves_nothing_that_disturbs_the_next():
    model = compiled()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, verbose=0, callbacks=[GradientMonitor(), Interrupt()])
    model.set_weights(compiled().get_weights())
    monitor = fit(model, GradientMonitor(), epochs=1)
    steps = by_hand(compiled(), epochs=1)
    first = [norm(steps[0][0])]
    assert monitor.epochs[0]["model"]["first_norm"] == pytest.approx(first[0], rel=1e-5)
    assert monitor._statistics.steps == 6


@pytest.mark.parametrize("per_execution", [1, 4])
@pytest.mark.parametrize("jit", [False, True])
def test_stops_at_the_step_that_is_not_finite(per_execution, jit):
    def run(**options):
        model = compiled(steps_per_execution=per_execution, jit_compile=jit)
        x = X.copy()
        x[2 * BATCH] = np.inf  # the third step
        monitor = GradientMonitor(verbose=0, **options)
        history = model.fit(
            x, Y, batch_size=BATCH, epochs=3, shuffle=False, verbose=0,
            callbacks=[monitor],
        )  # fmt: skip
        return model, monitor, history

    model, monitor, history = run(stop_on_nonfinite=True)
    assert len(history.epoch) == 1
    assert int(model.optimizer.iterations) == 2
    two_steps = compiled()
    two_steps.fit(
        X[: 2 * BATCH], Y[: 2 * BATCH], batch_size=BATCH, shuffle=False, verbose=0
    )
    for a, b in zip(model.get_weights(), two_steps.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    numbers = monitor.epochs[0]["layers"]["hidden"]
    assert numbers["nonfinite_step"] == 3 and numbers["nonfinite"] > 0
    assert numbers["gradient_norm"] > 0  # of the steps before
    (finding,) = monitor.findings
    assert finding.verdict == "non-finite gradients"
    assert "step 3" in finding.evidence and "hidden" in finding.evidence

    model, monitor, history = run()
    assert len(history.epoch) == 3 and int(model.optimizer.iterations) == 18


def test_counts_the_components_that_are_not_finite():
    model = compiled(lambda: keras.Sequential([keras.Input((6,)), layers.Dense(3)]))
    model.compile("sgd", "mse")
    x = X.copy()
    x[0, 2] = np.nan  # makes the loss NaN, and so all gradients
    monitor = GradientMonitor(stop_on_nonfinite=True, verbose=0)
    model.fit(x, X[:, :3], batch_size=48, verbose=0, callbacks=[monitor])
    kernel, bias = monitor.epochs[0]["variables"].values()
    assert (kernel["nonfinite"], bias["nonfinite"]) == (6 * 3, 3)
    assert monitor.epochs[0]["model"]["nonfinite"] == 6 * 3 + 3


@pytest.mark.parametrize("scale", [None, 64.0])
def test_a_first_step_that_is_not_finite_is_found_whatever_the_loss_scale(scale):
    model = compiled(optimizer=keras.optimizers.SGD(0.1, loss_scale_factor=scale))
    monitor = GradientMonitor(verbose=0)
    x = np.where(np.arange(48)[:, None] == 3, np.nan, X)
    model.fit(
        x, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[monitor]
    )
    assert monitor.epochs[0]["model"]["nonfinite_step"] == 1
    assert monitor.epochs[1]["model"]["gradient_norm"] is None
    assert [finding.verdict for finding in monitor.findings] == ["non-finite gradients"]


def test_norms_beyond_the_square_root_of_float32_are_not_infinite():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mae")
    monitor = GradientMonitor(verbose=0)
    x = np.full((4, 1), 1e25, "float32")
    model.fit(x, -1e38 * np.ones((4, 1)), verbose=0, callbacks=[monitor])
    numbers = monitor.epochs[0]["model"]
    assert numbers["gradient_norm"] == pytest.approx(1e25, rel=1e-5)
    assert numbers["nonfinite"] == 0


def test_logs_what_is_worth_plotting(tmp_path):
    model = compiled()
    log = keras.callbacks.CSVLogger(tmp_path / "history.csv")
    monitor = GradientMonitor(X)
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[monitor, log]).history
    keys = {"learning_rate", "gradient_norm", "gradient_norm_max", "update_ratio"}
    assert set(history) == {"loss", *keys, "saturated_units"}
    for epoch, record in enumerate(monitor.epochs):
        for key in NORM_KEYS:
            assert history[key][epoch] == record["model"][key]
        ratios = [v["update_ratio"] for v in record["layers"].values()]
        assert history["update_ratio"][epoch] == pytest.approx(np.median(ratios))
    assert history["learning_rate"] == pytest.approx([0.01, 0.01])
    assert "gradient_norm" in (tmp_path / "history.csv").read_text().splitlines()[0]


def test_writes_the_layers_to_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monitor = fit(compiled(), GradientMonitor(X, log_dir=tmp_path))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"gradient_norm/hidden", "update_ratio/head", "saturated/hidden"} <= set(
        events.Tags()["tensors"]
    )
    (first, second) = events.Tensors("gradient_norm/hidden")
    wanted = monitor.epochs[1]["layers"]["hidden"]["gradient_norm"]
    assert (first.step, second.step) == (0, 1)
    assert tf.make_ndarray(second.tensor_proto) == pytest.approx(wanted)


def test_draws_and_saves(tmp_path):
    from matplotlib.image import imread

    monitor = GradientMonitor()
    with pytest.raises(ZooError, match="before the first epoch"):
        monitor.heat_map(tmp_path / "map.png")
    fit(compiled(), monitor)
    monitor.heat_map(tmp_path / "map.png")
    assert imread(tmp_path / "map.png").std() > 0
    monitor.heat_map(tmp_path / "map.svg")
    assert "</svg>" in (tmp_path / "map.svg").read_text()
    monitor.save(tmp_path / "gradients.json")
    saved = json.loads((tmp_path / "gradients.json").read_text())
    assert saved == {"epochs": monitor.epochs, "findings": []}


def test_findings_are_printed_once(capsys):
    model = compiled(frozen_model)
    model.get_layer("head").set_weights([np.zeros((5, 3)), np.zeros(3)])
    model.optimizer.learning_rate = 0.0
    fit(model, GradientMonitor(), epochs=3)
    assert capsys.readouterr().out.count("Not learning") == 1
    fit(model, GradientMonitor(verbose=0))
    assert capsys.readouterr().out == ""


def test_layers_that_no_gradient_reaches_are_named():
    inputs = keras.Input((6,))
    lost = layers.Dense(4, name="lost")(inputs)
    lost = layers.Lambda(keras.ops.stop_gradient)(lost)
    both = layers.Concatenate()([inputs, lost])
    model = keras.Model(inputs, layers.Dense(3, "softmax", name="head")(both))
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor = GradientMonitor(verbose=0)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        fit(model, monitor)
    assert monitor.epochs[0]["unconnected"] == ["lost/kernel", "lost/bias"]
    (finding,) = monitor.findings
    assert finding.verdict == "not learning" and "lost/kernel" in finding.evidence


class Twins(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(6, "tanh", name="block")
        self.second = layers.Dense(3, "softmax", name="block")

    def call(self, x):
        return self.second(self.first(x))


def test_layers_of_one_name_are_told_apart():
    monitor = fit(compiled(Twins), GradientMonitor(detail_every=1))
    assert monitor.layers == ["block", "block_2"]
    model = compiled(Twins)
    steps = by_hand(model)
    check(model, monitor, steps)


class TwoApplies(keras.Model):
    """A step of two updates, of one part each."""

    def __init__(self):
        super().__init__()
        self.left = layers.Dense(1, name="left")
        self.right = layers.Dense(1, name="right")

    def build(self, shape):
        self.left.build(shape)
        self.right.build(shape)

    def call(self, x):
        return self.left(x) + self.right(x)

    def train_step(self, data):
        for part in (self.left, self.right):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(data[0]) - 1.0) ** 2)
            gradients = tape.gradient(loss, part.trainable_variables)
            pairs = zip(gradients, part.trainable_variables, strict=True)
            self.optimizer.apply_gradients(pairs)
        return {"loss": loss}


def test_a_train_step_of_one_s_own_may_apply_twice():
    model = TwoApplies()
    model.compile("sgd", "mse")
    model.optimizer.build((model.build((None, 6)), model.trainable_variables)[1])
    monitor = fit(model, GradientMonitor(detail_every=1))
    assert monitor.findings == [] and monitor.epochs[0]["unconnected"] == []
    for layer in ("left", "right"):
        assert monitor.epochs[0]["layers"][layer]["gradient_norm_max"] > 0


def test_the_probe_changes_nothing_in_a_model_that_draws_at_random():
    class Noise(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seeds = keras.random.SeedGenerator(3)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)

    def build():
        model = dense_model()
        return keras.Sequential([keras.Input((6,)), Noise(), *model.layers])

    watched, alone = compiled(build), compiled(build)
    fit(watched, GradientMonitor(X))
    fit(alone, None)
    for a, b in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("probe", [np.ones((4, 9)), "images", 3])
def test_a_wrong_probe_is_one_line_before_the_first_epoch(probe):
    ended = []
    count = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ended.append(1))
    with pytest.raises(
        ZooError, match="probe must be a batch of the model's"
    ) as caught:
        compiled().fit(X, Y, verbose=0, callbacks=[count, GradientMonitor(probe)])
    assert "\n" not in str(caught.value) and ended == []


def test_dead_units_in_the_logs_are_the_worst_layer_s():
    def build():
        return keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(4, "relu", bias_initializer="ones", name="alive"),
                layers.Dense(4, "relu", bias_initializer=DEAD, name="dead"),
                layers.Dense(3, "softmax"),
            ]
        )

    model = compiled(build, keras.optimizers.SGD(0.0))
    monitor = GradientMonitor(np.zeros((5, 6)), verbose=0)
    history = model.fit(X, Y, verbose=0, callbacks=[monitor]).history
    assert monitor.epochs[0]["dead"] == {"alive": 0.0, "dead": 1.0}
    assert history["dead_units"] == [1.0]


DEAD = keras.initializers.Constant(-99.0)


def test_nested_layers_have_names_of_their_own():
    monitor = fit(compiled(nested_model), GradientMonitor())
    assert monitor.layers == ["hidden", "inner/hidden", "head"]


def test_refuses_what_it_cannot_watch():
    model = compiled()
    model.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ZooError, match="trainable"):
        fit(model, GradientMonitor())
    with pytest.raises(ZooError, match="detail_every must be a positive integer"):
        GradientMonitor(detail_every=0)
    with pytest.raises(ZooError, match="saw no step"):
        fit(
            compiled(), keras.callbacks.CallbackList([GradientMonitor()] * 1)
        ) if 0 else (
            compiled().fit(
                X, Y, verbose=0, callbacks=[GradientMonitor(), GradientMonitor()]
            )
        )


@pytest.mark.parametrize("backend", ["jax"])
def test_says_so_on_another_backend(backend):
    code = (
        "import keras, numpy as np\n"
        "from zoo import callbacks\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\n"
        "try:\n"
        "    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0,\n"
        "              callbacks=[callbacks.GradientMonitor()])\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    run = run_python("-c", code, env={"KERAS_BACKEND": backend})
    assert "GradientMonitor needs Keras's TensorFlow backend" in run.stdout, run.stderr
    assert len(run.stdout.splitlines()) == 1
