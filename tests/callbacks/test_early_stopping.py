"""Tables: a list of losses in, the exact epoch out, counted from 0."""

import json
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.conftest import run_python
from zoo import ZooError
from zoo.callbacks.early_stopping import EarlyStopping, _smoothed

NAN, INF = math.nan, math.inf
LOSSES = [14, 0, 2, 0, 22, 2, 6, 18, 24]
SMOOTHED = {  # by hand
    None: LOSSES,
    "running_mean": [14, 7, 16 / 3, 4, 7.6, 20 / 3, 46 / 7, 8, 88 / 9],
    2: [14, 7, 1, 1, 11, 12, 4, 12, 21],
    0.5: [14, 7, 4.5, 2.25, 12.125, 7.0625, 6.53125, 12.265625, 18.1328125],
}
TABLE = [  # with a patience of 2: criterion, smoothing, stopped_epoch, best_epoch
    ("no_improvement", None, 3, 1),  # 2 and 0 are not below 0
    ("no_improvement", "running_mean", 5, 3),  # 7.6 and 6.7 are not below 4
    ("no_improvement", 2, 4, 2),  # 1 and 11 are not below 1
    ("no_improvement", 0.5, 5, 3),  # 12.1 and 7.1 are not below 2.25
    ("successive_increases", None, 7, 1),  # 2, 6, 18
    ("successive_increases", "running_mean", 8, 3),  # 6.6, 8, 9.8
    ("successive_increases", 2, 5, 2),  # 1, 11, 12
    ("successive_increases", 0.5, 8, 3),  # 6.5, 12.3, 18.1
]


def stub():
    """Return what a callback needs of a model; its one weight is set by `drive`."""
    model = SimpleNamespace(metrics=[], weights=None, stop_training=False)
    model.get_weights = lambda: list(model.weights)
    model.set_weights = lambda weights: setattr(model, "weights", list(weights))
    return model


def drive(callback, losses, first=0):
    """Hand it a loss an epoch; return the epoch whose weights the model ends with."""
    model = stub()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, loss in enumerate(losses[first:], first):
        model.weights = [epoch]
        callback.on_epoch_end(epoch, {} if loss is None else {"val_loss": loss})
        if model.stop_training:
            break
    callback.on_train_end()
    return model.weights[0]


def outcome(callback):
    return callback.stopped_epoch, callback.best_epoch, callback.best


@pytest.mark.parametrize("sign, mode", [(1, "auto"), (1, "min"), (-1, "max")])
@pytest.mark.parametrize("criterion, smoothing, stopped, best", TABLE)
def test_the_table(criterion, smoothing, stopped, best, sign, mode):
    callback = EarlyStopping(
        patience=2,
        mode=mode,
        restore_best_weights=True,
        criterion=criterion,
        smoothing=smoothing,
    )
    assert drive(callback, [sign * loss for loss in LOSSES]) == best
    expected = sign * SMOOTHED[smoothing][best]
    assert outcome(callback) == (stopped, best, pytest.approx(expected, rel=1e-15))


@pytest.mark.parametrize("smoothing, values", SMOOTHED.items())
def test_smoothing(smoothing, values):
    series = [_smoothed(LOSSES[:n], smoothing) for n in range(1, 10)]
    np.testing.assert_allclose(series, values, rtol=1e-15)


@pytest.mark.parametrize(
    "losses, options, expected",
    [
        # A rise must exceed min_delta; a slow creep or an equal value is none.
        ([1, 2, 3, 4], {"patience": 2}, (2, 0, 1)),
        ([1, 2, 3, 4], {"patience": 2, "min_delta": 1}, (0, 0, 1)),
        ([1, 2, 3, 5, 7], {"patience": 2, "min_delta": -1}, (4, 0, 1)),
        ([1, 2, 2, 3, 3, 2], {"patience": 2}, (0, 0, 1)),
        ([5, 4, 1, 2, 3], {"patience": 0}, (3, 2, 1)),  # as patience 1
        ([5, 4, 1, 2, 3], {"patience": 1}, (3, 2, 1)),
        ([1, 2, 3, 4, 5], {"patience": 2, "start_from_epoch": 2}, (4, 2, 3)),
        # No validation in every second epoch: 1, 2, 3.
        ([1, None, 2, None, 3], {"patience": 2}, (4, 0, 1)),
        # NaN is a rise; what follows is compared with the value before it.
        ([3, NAN, 4, 5], {"patience": 2}, (2, 0, 3)),
        ([3, NAN, 2, NAN, INF], {"patience": 2}, (4, 2, 2)),
        ([NAN, NAN, 1], {"patience": 2}, (1, 0, None)),
        ([NAN, 1, 2, 3], {"patience": 2}, (3, 1, 1)),
        ([NAN, 2, 1], {"patience": 1}, (0, 2, 1)),  # never in the first epoch
    ],
)
def test_successive_increases(losses, options, expected):
    callback = EarlyStopping(criterion="successive_increases", **options)
    drive(callback, losses)
    assert outcome(callback) == expected


@pytest.mark.parametrize(
    "losses, options, expected, kept",
    [
        ([NAN, 3, 2], {"patience": 2}, (0, 2, 2), 2),
        ([NAN, 3, 4, 5], {"patience": 2}, (3, 1, 3), 1),
        ([NAN, NAN, NAN], {"patience": 2}, (1, 0, None), 1),
        ([INF, 3, -INF, 4], {"patience": 2}, (3, 1, 3), 1),
        ([3, NAN, 2, NAN, NAN], {"patience": 2}, (4, 2, 2), 2),
        ([-3, -2, INF, -4], {"patience": 2, "mode": "max"}, (3, 1, -2), 1),
        ([NAN, 1], {}, (0, 1, 1), 1),  # never in the first epoch
        # Left out of the mean: 4, -, 3, 4.
        ([4, NAN, 2, 6], {"patience": 3, "smoothing": "running_mean"}, (0, 2, 3), 2),
        ([4, INF, 2, 6], {"patience": 1, "smoothing": 2}, (1, 0, 4), 0),
        ([4, NAN, 2, 8], {"patience": 2, "smoothing": 0.75}, (0, 2, 3.5), 2),
        # The mean begins where the watching does: 2, 3.
        (
            [9, 2, 4],
            {"start_from_epoch": 1, "smoothing": "running_mean"},
            (2, 1, 2),
            1,
        ),
    ],
)
def test_neither_nan_nor_infinity_is_best(losses, options, expected, kept):
    callback = EarlyStopping(restore_best_weights=True, **options)
    assert drive(callback, losses) == kept
    assert outcome(callback) == expected
    assert (callback.best_weights is None) == (expected[2] is None)


def random_case(seed):
    """Return a series of losses and the options of both callbacks."""
    rng = np.random.default_rng(seed)
    options = {
        "min_delta": rng.choice([0, 0.1, 0.25]),
        "patience": int(rng.integers(0, 5)),
        "mode": str(rng.choice(["min", "max"])),
        "baseline": rng.choice([None, 0.3, 0.7]),
        "start_from_epoch": int(rng.choice([0, 0, 2, 12])),
        "restore_best_weights": bool(rng.integers(2)),
    }
    # One decimal: many are equal, and many differ by just min_delta.
    losses = np.round(rng.random(12), 1)
    after = 1 + options["start_from_epoch"]
    losses[after:][rng.random(len(losses[after:])) < 0.1] = NAN  # Keras is right there
    return losses.tolist(), options


@pytest.mark.parametrize("smoothing", [None, 0.5])
def test_equals_keras(smoothing):
    """With smoothing, Keras is handed the smoothed series."""
    stops = 0
    for seed in range(400):
        losses, options = random_case(seed)
        ours = EarlyStopping(**options, smoothing=smoothing)
        theirs = keras.callbacks.EarlyStopping(**options)
        handed, watched = list(losses), []
        for epoch in range(options["start_from_epoch"], len(losses)):
            if math.isfinite(losses[epoch]):
                watched.append(losses[epoch])
                handed[epoch] = _smoothed(watched, smoothing)
        assert drive(ours, losses) == drive(theirs, handed), (seed, losses, options)
        assert outcome(ours) == outcome(theirs), (seed, losses, options)
        stops += ours.stopped_epoch > 0
    assert 100 < stops < 390


def test_positional_arguments_and_defaults_are_those_of_keras():
    ours, theirs = vars(EarlyStopping()), vars(keras.callbacks.EarlyStopping())
    assert {name: ours[name] for name in theirs} == theirs
    arguments = ("loss", 0.1, 2, 1, "max", 0.5, True, 3)
    ours = vars(EarlyStopping(*arguments))
    theirs = vars(keras.callbacks.EarlyStopping(*arguments))
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize(
    "losses, options, message",
    [
        (
            [0.5, 0.24126, 0.3, 0.4],
            {"restore_best_weights": True},
            "Stopped after epoch 4: val_loss has not improved for 2 epochs since epoch "
            "2 (0.2413); the weights of epoch 2 are kept.",
        ),
        (
            [0.5, 0.6, 0.7],
            {"smoothing": 2},
            "Stopped after epoch 3: smoothed val_loss has not improved for 2 epochs "
            "since epoch 1 (0.5); the weights of epoch 3, the last, are kept.",
        ),
        (
            [0.5, 0.4, 0.6],
            {"baseline": 0.25, "restore_best_weights": True},
            "Stopped after epoch 3: val_loss has not passed the baseline of 0.25 for 3 "
            "epochs, best in epoch 2 (0.4); the weights of epoch 2 are kept.",
        ),
        (
            [0.5, 0.6, 0.7],
            {"criterion": "successive_increases", "restore_best_weights": True},
            "Stopped after epoch 3: val_loss has got worse for 2 epochs, best in epoch "
            "1 (0.5); the weights of epoch 1 are kept.",
        ),
        (
            [NAN, NAN],
            {"restore_best_weights": True},
            "Stopped after epoch 2: val_loss has been NaN or infinite for 2 epochs; "
            "the weights of epoch 2, the last, are kept.",
        ),
        ([3, 2, 1], {}, None),
    ],
)
def test_says_why_it_stopped(losses, options, message, capsys):
    callback = EarlyStopping(patience=2, verbose=1, **options)
    drive(callback, losses)
    assert callback.message == message
    assert capsys.readouterr().out == (f"{message}\n" if message else "")
    callback.verbose = 0
    drive(callback, losses)
    assert callback.message == message
    assert capsys.readouterr().out == ""


def test_says_which_weights_are_kept_at_the_end_of_training(capsys):
    callback = EarlyStopping(patience=2, verbose=1, restore_best_weights=True)
    assert drive(callback, [2, 1, 3]) == 1
    assert callback.message is None
    assert capsys.readouterr().out == "The weights of epoch 2 are kept.\n"


def test_a_second_fit_starts_afresh():
    callback = EarlyStopping(patience=1, restore_best_weights=True, smoothing=2)
    for losses, expected, kept in [
        ([1, 2], (1, 0, 1), 0),
        ([9, 8, 7], (0, 2, 7.5), 2),
        ([NAN], (0, 0, None), 0),
    ]:
        assert drive(callback, losses) == kept
        assert outcome(callback) == expected
        assert (callback.message is None) == (callback.stopped_epoch == 0)


def test_an_infinite_patience_keeps_the_best():
    callback = EarlyStopping(patience=INF, restore_best_weights=True)
    assert drive(callback, LOSSES) == 1
    assert callback.message is None


def test_a_name_seen_once_may_be_absent_until_the_next_fit():
    callback = EarlyStopping("score", mode="max")
    callback.set_model(stub())
    callback.on_train_begin()
    for epoch, logs in enumerate([{"score": 1}, {"loss": 1}, {"score": 2}]):
        callback.on_epoch_end(epoch, logs)
    assert callback.values == [1, 2]
    callback.on_train_begin()
    with pytest.raises(ZooError, match="monitor must be one of loss"):
        callback.on_epoch_end(0, {"loss": 1})


def model_of(*names):
    """Return a small model that logs its loss and these metrics."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=list(names))
    return model


class Play(keras.callbacks.Callback):
    """Has the training log these losses; the weight of epoch e is e."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def on_epoch_begin(self, epoch, logs=None):
        self.model.set_weights([np.full((1, 1), epoch)])

    def on_epoch_end(self, epoch, logs=None):
        logs["error"] = self.losses[epoch]


def fit(model, callback, losses, **options):
    """Fit under these losses; return the epoch whose weights the model ends with."""
    callbacks = [Play(losses), callback]
    data = np.zeros((1, 1))
    model.fit(data, data, verbose=0, callbacks=callbacks, **options)
    return int(model.get_weights()[0][0, 0])


@pytest.mark.parametrize("criterion, smoothing, stopped, best", TABLE)
def test_a_resumed_run_stops_at_the_same_epoch(
    criterion, smoothing, stopped, best, tmp_path
):
    model = model_of()

    def new():
        return EarlyStopping(
            "error",
            patience=2,
            mode="min",
            restore_best_weights=True,
            criterion=criterion,
            smoothing=smoothing,
        )

    whole = new()
    assert fit(model, whole, LOSSES, epochs=9) == best
    assert whole.stopped_epoch == stopped
    for k in range(1, stopped + 1):
        before = new()
        fit(model, before, LOSSES, epochs=k)
        state = before.get_state()
        np.savez(tmp_path / "best.npz", *state.pop("best_weights"))
        text = json.dumps(state, allow_nan=False)
        with np.load(tmp_path / "best.npz") as arrays:
            state = {**json.loads(text), "best_weights": list(arrays.values())}
        after = new()
        after.set_state(state)
        assert fit(model, after, LOSSES, epochs=9, initial_epoch=k) == best
        assert outcome(after) == outcome(whole)
        assert after.message == whole.message
        assert after.values == whole.values


def test_a_state_is_continued_once_and_is_a_copy():
    first, second = EarlyStopping(patience=9), EarlyStopping(patience=9)
    drive(first, [3, 4])
    state = first.get_state()
    second.set_state(state)
    drive(second, [3, 4, 5], first=2)
    assert (second.best, second.wait, second.values) == (3, 2, [3, 4, 5])
    first.on_epoch_end(2, {"val_loss": 7})
    assert state["values"] == [3, 4]
    drive(second, [9])
    assert (second.best, second.values) == (9, [9])


@pytest.mark.parametrize("name, improved", [("val_accuracy", 0.9), ("val_loss", 0.1)])
def test_the_direction_is_that_of_the_metric(name, improved):
    model = model_of("accuracy")
    model.fit(np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)  # its metrics exist now
    callback = EarlyStopping(name)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate([0.5, improved]):
        callback.on_epoch_end(epoch, {name: value})
    assert (callback.best, callback.message) == (improved, None)


@pytest.mark.parametrize(
    "monitor, options, message",
    [
        ("val_acuracy", {"validation_split": 0.5}, "Did you mean 'val_accuracy'?"),
        ("acuracy", {}, "one of accuracy, loss. Received: 'acuracy'. Did you mean"),
        ("acuracy", {"validation_split": 0.5, "validation_freq": 2}, "Did you mean"),
        (3, {}, "monitor must be one of accuracy, loss. Received: 3."),
    ],
)
def test_a_missing_name_raises_at_the_first_epoch(monitor, options, message):
    ended = []
    count = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ended.append(epoch)
    )
    callback = EarlyStopping(monitor, mode="min", start_from_epoch=5)
    with pytest.raises(ZooError) as caught:
        model_of("accuracy").fit(
            np.zeros((4, 1)),
            np.zeros((4, 1)),
            epochs=9,
            verbose=0,
            callbacks=[count, callback],
            **options,
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ended == [0]


@pytest.mark.parametrize("start, raised", [(0, 0), (1, 1), (2, 2)])
def test_forgotten_validation_data_raises_where_watching_starts(start, raised):
    ended = []
    count = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ended.append(epoch)
    )
    callback = EarlyStopping(start_from_epoch=start)
    with pytest.raises(ZooError, match="No validation was run: pass validation_data"):
        model_of().fit(
            np.zeros((4, 1)),
            np.zeros((4, 1)),
            epochs=9,
            verbose=0,
            callbacks=[count, callback],
        )
    assert ended == list(range(raised + 1))


@pytest.mark.parametrize("smoothing", [None, 2])
def test_validation_in_some_epochs(smoothing):
    callback = EarlyStopping(patience=2, smoothing=smoothing, start_from_epoch=2)
    data = np.zeros((4, 1))
    history = model_of().fit(
        data,
        data,
        validation_data=(data, data),
        validation_freq=3,
        epochs=20,
        verbose=0,
        callbacks=[callback],
    )
    assert len(history.history["val_loss"]) == 3  # in epochs 2, 5 and 8
    assert outcome(callback) == (8, 2, 0)


def test_a_name_missing_where_validation_is_run_raises_there():
    callback = EarlyStopping("val_acuracy", mode="max", start_from_epoch=2)
    data = np.zeros((4, 1))
    with pytest.raises(ZooError, match="one of accuracy, loss, val_accuracy, val_loss"):
        model_of("accuracy").fit(
            data,
            data,
            validation_data=(data, data),
            validation_freq=3,
            verbose=0,
            epochs=9,
            callbacks=[callback],
        )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mode": "mim"}, "mode must be one of auto, min, max. Received: 'mim'. Did"),
        ({"criterion": "patience"}, "criterion must be one of no_improvement, succ"),
        ({"patience": -1}, "patience must be at least 0. Received: patience=-1"),
        ({"patience": "3"}, "Received: patience='3'"),
        ({"min_delta": NAN}, "min_delta must be a finite number"),
        ({"baseline": "0.5"}, "Received: baseline='0.5'"),
        ({"start_from_epoch": None}, "Received: start_from_epoch=None"),
        (
            {"criterion": "successive_increases", "baseline": 0.5},
            "baseline must be None with criterion='successive_increases'",
        ),
        *(
            ({"smoothing": wrong}, f"Received: smoothing={wrong!r}")
            for wrong in (1, 0, -2, True, 0.0, 1.0, 1.5, NAN, INF, "mean", "")
        ),
    ],
)
def test_bad_arguments_are_one_line_errors(options, message):
    with pytest.raises(ZooError) as caught:
        EarlyStopping(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bad_uses_are_one_line_errors():
    with pytest.raises(ZooError, match="Received a dict of: best, epoch"):
        EarlyStopping().set_state({"best": 1, "epoch": 2})
    with pytest.raises(ZooError, match="Pass `mode='max'`"):
        fit(model_of(), EarlyStopping("error"), LOSSES, epochs=1)


def test_runs_on_jax():
    """The real training stops, restores and refuses as on TensorFlow."""
    code = (
        "import keras, numpy as np\n"
        "from tests.callbacks.test_early_stopping import LOSSES, TABLE, fit, model_of\n"
        "from zoo.callbacks.early_stopping import EarlyStopping\n"
        "assert keras.backend.backend() == 'jax'\n"
        "model = model_of()\n"
        "for criterion, smoothing, stopped, best in TABLE:\n"
        "    callback = EarlyStopping('error', patience=2, mode='min',\n"
        "        restore_best_weights=True, criterion=criterion, smoothing=smoothing)\n"
        "    assert fit(model, callback, LOSSES, epochs=9) == best\n"
        "    assert callback.stopped_epoch == stopped\n"
        "try:\n"
        "    fit(model, EarlyStopping(), LOSSES, epochs=1)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = run_python("-c", code, env={"KERAS_BACKEND": "jax"})
    assert done.stdout == (
        "monitor must be one of error, loss. Received: 'val_loss'. Did you mean "
        "'loss'? No validation was run: pass validation_data to fit, and with "
        "validation_freq=N start_from_epoch=N-1 here.\n"
    ), done.stderr
