"""What `Resume` promises: the same bits, whenever and however a training ends."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.callbacks import training
from tests.conftest import ROOT, run_python
from zoo import ZooError
from zoo.callbacks import EarlyStopping, GradientMonitor, Resume

LAST = training.EPOCHS * training.STEPS


class Died(BaseException):
    """As if the process were gone: no `except Exception` sees it."""


def die():
    raise Died


def dies_at(step):
    return [training.AtEnd(step, die)]


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """A job in the background is born ignoring Ctrl-C."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminate = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return training.train(tmp_path_factory.mktemp("undisturbed"))


def test_dying_at_every_step_ends_with_the_same_bits(undisturbed, tmp_path):
    """One step further each time: from every position of the epoch and its ends."""
    for step in range(training.EXECUTION, LAST, training.EXECUTION):
        with pytest.raises(Died):
            training.train(tmp_path, "1", dies_at(step))
    assert training.train(tmp_path, "1") == undisturbed


def test_dying_twice_before_the_next_checkpoint(undisturbed, tmp_path):
    """Checkpoints at 8 and 16: 14 falls back to 8, and so do both after it."""
    for step in (2, 14, 12, 14, 22):
        with pytest.raises(Died):
            training.train(tmp_path, "8", dies_at(step))
    assert Resume(tmp_path / "ckpt").step == 16
    assert training.train(tmp_path, "8") == undisturbed


def test_killed_processes_end_with_the_same_bits(undisturbed, tmp_path):
    """kill -9 in the first epoch, in a later one, and while a checkpoint is written."""
    words = ["-m", "tests.callbacks.training", str(tmp_path), "4"]
    early, late = random.Random(4).choice((2, 4, 6)), random.Random(5).choice((14, 16))
    for how, step in [("kill", early), ("kill-writing", 8), ("kill", late)]:
        done = run_python(*words, how, str(step))
        assert done.returncode == -signal.SIGKILL, done.stderr
        if how == "kill-writing":
            names = {path.name[:12] for path in (tmp_path / "ckpt").iterdir()}
            assert names == {".checkpoint-", "checkpoint-0"}
    done = run_python(*words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "left").read_text() == repr(undisturbed)


def run_workers(folder, *words):
    """Run two workers with two devices each; return their exit codes."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("localhost", 0))
        workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    running = []
    for index in range(2):
        cluster = {"cluster": {"worker": workers}}
        cluster["task"] = {"type": "worker", "index": index}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.callbacks.training", folder, *words],
                env={
                    **os.environ,
                    "TF_CONFIG": json.dumps(cluster),
                    "VIRTUAL_DEVICES": "2",
                },
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    return [process.wait(timeout=300) for process in running]


def test_two_workers_with_two_devices_each(tmp_path):
    """One alone is told to end, and both do, at the same step.

    The second worker's checkpoints are the chief's: its own folder has none.
    """
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_workers(whole, "4") == [0, 0]
    assert run_workers(killed, "1000", "SIGTERM", "14", "1") == [143, 143]
    assert not (killed / "of-worker-1" / "ckpt").exists()
    assert Resume(killed / "ckpt").step == 14
    assert run_workers(killed, "4") == [0, 0]
    for worker in ("", "of-worker-1"):
        left = (whole / worker / "left").read_text()
        assert (killed / worker / "left").read_text() == left


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_fit_within_the_step(name, code, undisturbed, tmp_path):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    raising = training.AtEnd(10, lambda: signal.raise_signal(number))
    error = {"SIGTERM": SystemExit, "SIGINT": KeyboardInterrupt}[name]
    with pytest.raises(error) as ended:
        training.train(tmp_path, "1000", [raising])
    if name == "SIGTERM":  # of Ctrl-C, `console.command_line` makes its code
        assert ended.value.code == code
    assert signal.getsignal(number) == before
    assert Resume(tmp_path / "ckpt").step == 10
    assert training.train(tmp_path) == undisturbed


def test_a_signal_during_validation_and_in_the_last_epoch(undisturbed, tmp_path):
    class InValidation(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        training.train(tmp_path, "1000", [InValidation()])
    assert Resume(tmp_path / "ckpt").step == training.STEPS
    with pytest.raises(SystemExit):
        training.train(
            tmp_path, "1000",
            [training.AtEnd(LAST, lambda: signal.raise_signal(signal.SIGTERM))],
        )  # fmt: skip
    assert Resume(tmp_path / "ckpt").complete
    assert training.train(tmp_path) == undisturbed


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one did nothing")

    with pytest.raises(KeyboardInterrupt):
        training.train(tmp_path, "1000", [training.AtEnd(4, twice)])
    assert Resume(tmp_path / "ckpt").step == 0
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_signal_before_the_first_step_writes_nothing(undisturbed, tmp_path):
    class AtOnce(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        training.train(tmp_path, "4", [AtOnce()])
    assert not (tmp_path / "ckpt").exists()
    assert training.train(tmp_path) == undisturbed


def test_after_a_fit_that_raised_ctrl_c_is_as_before(tmp_path):
    """Keras calls no callback then; the next Ctrl-C must not be swallowed."""
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(6))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_after_a_fit_that_raised_the_next_one_is_interrupted_as_before(tmp_path):
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(6))
    interrupt = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: signal.raise_signal(signal.SIGINT)
    )
    x, y = training.examples()
    with pytest.raises(KeyboardInterrupt):
        training.build().fit(x, y, batch_size=10, verbose=0, callbacks=[interrupt])


def test_a_fit_after_one_that_raised_leaves_the_signals_as_they_were(tmp_path):
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(6))
    training.train(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_fit_in_another_thread_leaves_signals_alone(undisturbed, tmp_path):
    before, left = signal.getsignal(signal.SIGTERM), []
    thread = threading.Thread(target=lambda: left.append(training.train(tmp_path)))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
    (left,) = left
    assert left["history"] == undisturbed["history"]


def test_a_complete_training_stays_complete(undisturbed, tmp_path, capsys):
    training.train(tmp_path)
    model = training.build()
    assert training.train(tmp_path, model=model) == undisturbed
    assert "it is complete, with 24 steps" in capsys.readouterr().err
    x, y = training.examples()
    history = model.fit(
        x, y, batch_size=10, verbose=0
    )  # the next fit begins at epoch 0
    assert history.epoch == [0]


def test_clear_begins_anew(undisturbed, tmp_path):
    with pytest.raises(Died):
        training.train(tmp_path, "2", dies_at(14))
    resume = Resume(tmp_path / "ckpt")
    assert (resume.step, resume.epoch, resume.complete) == (12, 2, False)
    assert resume.seconds > 0
    resume.clear()
    assert (resume.step, resume.epoch, resume.seconds) == (0, 0, 0)
    assert training.train(tmp_path) == undisturbed


@pytest.mark.parametrize("kind", [keras.callbacks.EarlyStopping, EarlyStopping])
def test_early_stopping_stops_where_it_would_have(kind, tmp_path):
    """It has waited for an epoch when the process dies; a fresh one would wait on."""

    def train(folder, *also):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.0), "mse")  # will learn nothing
        stop = kind("loss", patience=3)
        callbacks = [stop, *also, Resume(folder, "1")]
        x = np.ones((4, 1))
        model.fit(x, x, batch_size=4, epochs=9, verbose=0, callbacks=callbacks)
        ended = stop.stopped_epoch, model.history.epoch
        stop.on_train_begin()
        assert stop.best is None  # another fit begins afresh
        return ended

    class DieInEpoch2(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if len(self.model.history.epoch) == 2:
                die()

    assert train(tmp_path / "a") == (3, [0, 1, 2, 3])
    with pytest.raises(Died):
        train(tmp_path / "b", DieInEpoch2())
    assert train(tmp_path / "b") == (3, [0, 1, 2, 3])


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("built", [False, True])
def test_arrays_and_data_sets_of_others(endless, built, tmp_path):
    """Arrays are replayed within the epoch; an endless data set begins at `step`.

    The model may be built by its first batch.
    """
    x = np.random.default_rng(0).normal(size=(30, 3)).astype("float32")
    y = x.sum(axis=1)

    def train(folder, *also):
        keras.utils.set_random_seed(3)
        inputs = [keras.Input((3,))] * built
        model = keras.Sequential(
            [*inputs, keras.layers.Dense(2), keras.layers.Dense(1)]
        )
        model.compile("adam", "mse", metrics=["mae"])
        resume = Resume(folder, "2", replay=not endless)
        data = {"x": x, "y": y, "batch_size": 5}
        if endless:
            dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(30, seed=1)
            dataset = dataset.batch(5).repeat().skip(resume.step)
            data = {"x": dataset, "steps_per_epoch": 6, "shuffle": False}
        callbacks = [GradientMonitor(verbose=0), *also, resume]
        model.fit(**data, epochs=3, verbose=0, callbacks=callbacks)
        return [w.tobytes() for w in model.get_weights()], model.history.history

    whole = train(tmp_path / "a")
    for step in (3, 10):
        with pytest.raises(Died):
            train(tmp_path / "b", *dies_at(step))
    assert train(tmp_path / "b") == whole


def test_the_next_fit_of_the_model_is_not_ours(tmp_path):
    """After a fit that raised, our function still stands in the model."""
    model = training.build()
    for step in (8, 10):
        with pytest.raises(Died):
            training.train(tmp_path, "2", dies_at(step), model=model)
    x, y = training.examples()
    written = sorted((tmp_path / "ckpt").iterdir())
    model.train_on_batch(x[:10], y[:10])
    assert sorted((tmp_path / "ckpt").iterdir()) == written
    model.fit(x, y, batch_size=10, epochs=2, verbose=0)
    assert Resume(tmp_path / "ckpt").step == 8
    assert model.history.epoch == [0, 1]


def test_what_the_new_model_begins_with_does_not_count(undisturbed, tmp_path):
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(14))
    model = training.build()
    model.set_weights([3 * weights for weights in model.get_weights()])
    assert training.train(tmp_path, "4", model=model) == undisturbed


def test_the_same_object_goes_on_after_an_interrupt(tmp_path, capsys):
    """As when a cell of a notebook is run again."""
    x, y = training.examples()
    resume = Resume(tmp_path, "2")

    def train(*also):
        model = training.build()
        callbacks = [training.DrawLots(), *also, resume]
        model.fit(x, y, batch_size=10, epochs=3, verbose=0, callbacks=callbacks)
        return model.get_weights()

    with pytest.raises(Died):
        train(*dies_at(10))
    again = train()
    assert "after step 8, in epoch 2" in capsys.readouterr().err
    resume.clear()
    for one, other in zip(again, train(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"model": training.build(units=9)}, r"variable 1 of the model is .*\(4, 9\)"),
        ({"fingerprint": {"rate": 2}}, "rate is 2, and was 1 when"),
        ({"fingerprint": {}}, "rate is not there, and was 1 when"),
        ({"also": [keras.callbacks.ReduceLROnPlateau()]}, "the list of callbacks"),
    ],
)
def test_another_training_is_refused(changed, message, tmp_path):
    same = {"fingerprint": {"rate": 1}}
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(8), **same)
    with pytest.raises(ZooError, match=message) as error:
        training.train(tmp_path, "4", **same | changed)
    assert "\n" not in str(error.value)
    assert Resume(tmp_path / "ckpt", fingerprint={"rate": 1}).step == 4


def test_another_optimizer_or_execution_is_refused(tmp_path):
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(8))
    model = training.build()
    model.steps_per_execution = 3
    with pytest.raises(ZooError, match="steps_per_execution is 3, and was 2"):
        training.train(tmp_path, model=model)
    model = training.build()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.steps_per_execution = 2
    with pytest.raises(ZooError, match="the optimizer is SGD, and was AdamW"):
        training.train(tmp_path, model=model)


def test_callbacks_that_begin_anew_are_named(tmp_path, capsys):
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(8))
    capsys.readouterr()
    training.train(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert "after step 4, in epoch 1; DrawLots begin anew." in line


def test_other_versions_are_said(tmp_path, capsys, monkeypatch):
    with pytest.raises(Died):
        training.train(tmp_path, "4", dies_at(8))
    capsys.readouterr()
    monkeypatch.setattr("zoo.callbacks.resume.keras.__version__", "9.9")
    training.train(tmp_path)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("Keras is 9.9, and was 3.")


def test_what_a_callback_hands_over_is_checked(tmp_path):
    count = training.Count()
    count.get_state = lambda: {"a": {1, 2}}
    with pytest.raises(ZooError, match="get_state.. must hold dicts.*Received: a set"):
        training.train(tmp_path, "2", [count])


def test_by_the_clock_it_takes_a_fiftieth_of_the_time(tmp_path, monkeypatch):
    """A clock that an execution moves by a second, and a checkpoint by half a one."""
    now = [0.0]
    monkeypatch.setattr("zoo.callbacks.resume.time.monotonic", lambda: now[0])

    class Tick(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            now[0] += 1

    written = []

    def slow(self, content):
        written.append(now[0])
        now[0] += 0.5

    monkeypatch.setattr("zoo.training.checkpoint.Checkpoints.save", slow)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((100, 1))
    callbacks = [Tick(), Resume(tmp_path, "10s")]
    model.fit(x, x, batch_size=1, verbose=0, callbacks=callbacks)
    # None before 10 s have gone by. Writing it ends at 10.5, and the next one is due
    # 50 · 0.5 s after that. The last one is that of the end, after 100 s and 4 · 0.5 s.
    assert written == [10, 35.5, 61, 86.5, 102]


X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def plain(inputs=True, **options):
    """Return a model of Keras alone: nothing of the zoo prepares or builds it."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            *[keras.Input((3,))] * inputs,
            keras.layers.Dense(2),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    model.compile(**{"optimizer": "adam", "loss": "mse", "metrics": ["mae"]} | options)
    return model


def fit_plain(model, folder, *also, every="2", num=40, epochs=3, **options):
    resume = Resume(folder, every)
    data = {"x": X[:num], "y": Y[:num], "batch_size": 5} | options
    model.fit(**data, epochs=epochs, verbose=0, callbacks=[*also, resume])
    variables = [*model.variables, *model.optimizer.variables]
    return [v.numpy().tobytes() for v in variables], model.history.history


class DieAfter(keras.callbacks.Callback):
    """Counts the executions that it sees, those of before included."""

    def __init__(self, number):
        super().__init__()
        self.left = number

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            die()


def adam(**options):
    return lambda: {"optimizer": keras.optimizers.Adam(**options)}


@pytest.mark.parametrize(
    "options",
    [
        dict,
        adam(use_ema=True),
        adam(use_ema=True, ema_overwrite_frequency=3),
        adam(gradient_accumulation_steps=3),
        lambda: {
            "optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
        },
        lambda: {"steps_per_execution": 2},
    ],
    ids=["adam", "ema", "ema overwriting", "accumulation", "loss scale", "execution"],
)
def test_models_of_keras_alone(options, tmp_path):
    """Two deaths, the end, and the end once more, each in a model of its own."""
    whole = fit_plain(plain(**options()), tmp_path / "a")
    for number in (3, 4):
        with pytest.raises(Died):
            fit_plain(plain(**options()), tmp_path / "b", DieAfter(number))
    assert Resume(tmp_path / "b").step > 0
    assert fit_plain(plain(**options()), tmp_path / "b") == whole
    assert fit_plain(plain(**options()), tmp_path / "b") == whole


def test_writing_a_checkpoint_changes_nothing(tmp_path):
    """Not Python's random numbers either, which make Keras's global generator."""

    def train(every):
        keras.utils.clear_session()  # which takes the generator away
        lots = training.DrawLots()
        return fit_plain(plain(), tmp_path / every, lots, every=every)

    assert train("2") == train("1000")


def test_a_complete_training_needs_a_model_with_weights(tmp_path):
    whole = fit_plain(plain(inputs=False), tmp_path)
    with pytest.raises(ZooError, match="has no weights yet: begin it with keras.In"):
        fit_plain(plain(inputs=False), tmp_path)
    assert fit_plain(plain(), tmp_path) == whole


def test_fewer_epochs_than_were_trained_are_refused(tmp_path):
    with pytest.raises(Died):
        fit_plain(plain(), tmp_path, DieAfter(19))  # the third epoch begins after 16
    with pytest.raises(ZooError, match="epochs=2 ends before epoch 3, where"):
        fit_plain(plain(), tmp_path, epochs=2)
    assert Resume(tmp_path).step == 18


def of_unknown_size(num):
    examples = zip(X[:num], Y[:num], strict=True)
    signature = (tf.TensorSpec((3,)), tf.TensorSpec((1,)))
    dataset = tf.data.Dataset.from_generator(
        lambda: list(examples), output_signature=signature
    )
    dataset = dataset.batch(5)
    return {"x": dataset, "y": None, "batch_size": None, "shuffle": False}


@pytest.mark.parametrize("fewer", [lambda num: {"num": num}, of_unknown_size])
def test_data_that_end_before_the_step_are_refused(fewer, tmp_path):
    with pytest.raises(Died):
        fit_plain(plain(), tmp_path, DieAfter(14))
    with pytest.raises(ZooError, match="the data of epoch 2 ended before step 12: go"):
        fit_plain(plain(), tmp_path, **fewer(10))
    assert Resume(tmp_path).step == 12


def test_a_callback_may_end_fit_before_the_step(tmp_path):
    """There is nothing to write then: the checkpoint stays as it is."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    with pytest.raises(Died):
        fit_plain(plain(), tmp_path, DieAfter(14))
    model = plain()
    fit_plain(model, tmp_path, Stop())
    assert model.optimizer.iterations == 12
    assert not Resume(tmp_path).complete and Resume(tmp_path).step == 12


def test_data_that_go_on_from_epoch_to_epoch_are_refused(tmp_path):
    with pytest.raises(ZooError, match="with steps_per_epoch the data go on .*replay="):
        fit_plain(plain(), tmp_path, steps_per_epoch=3)


def test_other_metrics_are_refused(tmp_path):
    with pytest.raises(Died):
        fit_plain(plain(), tmp_path, DieAfter(4))
    other = plain(metrics=["mae", keras.metrics.MeanSquaredError()])
    with pytest.raises(
        ZooError, match="variable 5 of the metrics is total .*not there"
    ):
        fit_plain(other, tmp_path)


class TwoOptimizers(keras.Model):
    """A step trains its two layers with an optimizer each."""

    def __init__(self, built):
        super().__init__()
        keras.utils.set_random_seed(3)
        self.one, self.two = keras.layers.Dense(1), keras.layers.Dense(1)
        self.build((None, 3))
        self.compile()
        self.first, self.second = (
            keras.optimizers.Adam(),
            keras.optimizers.SGD(0.1, 0.9),
        )
        if built:
            self.first.build(self.one.trainable_variables)
            self.second.build(self.two.trainable_variables)

    def build(self, shape):
        self.one.build(shape)
        self.two.build(shape)
        self.built = True

    def call(self, x):
        return self.one(x) + self.two(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean((self(x) - y) ** 2)
        for optimizer, layer in [(self.first, self.one), (self.second, self.two)]:
            weights = layer.trainable_variables
            optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


def test_a_model_with_optimizers_of_its_own(tmp_path):
    with pytest.raises(ZooError, match="optimizer first has no variables yet .*build"):
        fit_plain(TwoOptimizers(built=False), tmp_path / "a")
    whole = fit_plain(TwoOptimizers(built=True), tmp_path / "a")
    with pytest.raises(Died):
        fit_plain(TwoOptimizers(built=True), tmp_path / "b", DieAfter(12))
    assert fit_plain(TwoOptimizers(built=True), tmp_path / "b") == whole


def test_it_is_the_last_of_the_callbacks(tmp_path):
    callbacks = [Resume(tmp_path), training.Count()]
    with pytest.raises(ZooError, match="must be the last .*: put Count before it"):
        plain().fit(X, Y, verbose=0, callbacks=callbacks)


@pytest.mark.parametrize("method", ["get_state", "set_state"])
def test_a_callback_has_both_methods_or_neither(method, tmp_path):
    callback = keras.callbacks.Callback()
    setattr(callback, method, lambda *state: {})
    with pytest.raises(ZooError, match="Callback must have both get_state.. and set_s"):
        fit_plain(plain(), tmp_path, callback)
