"""A search of a model of one's own, from the preflight to the best."""

import errno
import json
import math
import signal

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from zoo import ZooError
from zoo.tuning import progress, records, search
from zoo.tuning.model import ModelProblem
from zoo.tuning.records import Search

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
DATA = X[:32], X[:32].sum(1, keepdims=True)
VALIDATION = X[32:], X[32:].sum(1, keepdims=True)


def build(hp, rate=None):
    layers = [keras.layers.Dense(hp.Int("units", 1, 6)), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    rate = rate or hp.Float("rate", 1e-3, 0.1, sampling="log", default=0.01)
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def find(tmp_path, build=build, data=DATA, validation=VALIDATION, **options):
    options = {"trials": 2, "epochs": 2, "objective": "val_loss"} | options
    return search(build, data, validation, directory=tmp_path / "search", **options)


def facts(found):
    return [(t.values, t.scores, t.status) for t in found.trials]


def test_the_same_seed_tries_the_same_and_finds_the_same(tmp_path, capsys):
    first = find(tmp_path / "a", trials=3)
    assert facts(find(tmp_path / "b", trials=3)) == facts(first)
    assert facts(find(tmp_path / "c", trials=3, seed=1)) != facts(first)
    assert first.best.score == min(t.score for t in first.trials)
    assert first.trials[0].values == {"units": 1, "rate": 0.01}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Search: random, 3 trials, recorded in ")
    assert lines[1].startswith("trial 1/3   val_loss ")
    assert f"best {first.best.score:.4f} (trial {first.best.number})" in lines[3]


def test_a_score_is_what_a_training_by_hand_gives(tmp_path):
    (trial,) = find(tmp_path, trials=1, seed=7, retrains=2, batch_size=8).trials
    scores = []
    for seed in (7, 8):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        hp = keras_tuner.HyperParameters()
        fit = build(hp).fit(
            *DATA, batch_size=8, epochs=2, validation_data=VALIDATION, verbose=0
        )
        scores.append(min(fit.history["val_loss"]))
    assert trial.scores == tuple(scores)
    assert trial.score == pytest.approx(np.mean(scores))
    assert trial.spread == pytest.approx(np.std(scores, ddof=1))
    assert trial.parameters == 3 + 1 + 1 + 1
    assert not (tmp_path / "search" / "trial_0" / "retrain-0").exists()


def test_a_killed_search_goes_on_inside_the_trial(tmp_path, monkeypatch, capsys):
    epochs, whole = [], find(tmp_path / "a", trials=3, epochs=4)

    class Spy(progress.Bar):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            epochs.append(epoch)
            if epochs == [0, 1, 2, 3, 0, 1]:  # the second epoch of the second trial
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(progress, "Bar", Spy)
    with pytest.raises(SystemExit):
        find(tmp_path / "b", trials=3, epochs=4)
    assert [t.status for t in Search(tmp_path / "b/search").trials] == [
        "completed",
        "running",
    ]
    epochs.clear()
    found = find(tmp_path / "b", trials=3, epochs=4)
    assert epochs[0] in (1, 2) and epochs[-4:] == [0, 1, 2, 3] and len(epochs) < 8
    assert facts(found) == facts(whole)
    assert "going on after trial 1 of 3" in capsys.readouterr().out


def test_of_a_trial_only_the_retrains_that_are_missing_are_trained(
    tmp_path, monkeypatch
):
    begun, whole = [], find(tmp_path / "a", trials=1, retrains=3)

    class Spy(progress.Bar):
        def on_train_begin(self, logs=None):
            begun.append(self)
            if len(begun) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(progress, "Bar", Spy)
    with pytest.raises(KeyboardInterrupt):
        find(tmp_path / "b", trials=1, retrains=3)
    assert facts(find(tmp_path / "b", trials=1, retrains=3)) == facts(whole)
    assert len(begun) == 4


def test_the_finished_search_can_be_had_again_and_extended(tmp_path):
    first = find(tmp_path)
    assert facts(find(tmp_path)) == facts(first)
    longer = find(tmp_path, trials=3)
    assert facts(longer)[:2] == facts(first) and len(longer.trials) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"objective": keras_tuner.Objective("val_loss", "max")}, "direction was min"),
        ({"retrains": 2}, "retrains was 1, is 2"),
        ({"tuner": "grid"}, "tuner was random, is grid"),
        ({"epochs": 3}, "epochs was 2, is 3"),
        ({"data": (DATA[0] + 1, DATA[1])}, "the data were others"),
        ({"build": lambda hp: build(hp)}, "name was build, is <lambda>"),
        ({"build": lambda hp: build(hp, hp.Float("rate", 1, 2))}, "name was "),
    ],
)
def test_another_search_is_refused_and_told_apart(tmp_path, change, message):
    find(tmp_path)
    before = sorted((tmp_path / "search").rglob("*"))
    with pytest.raises(ZooError, match=f"holds another search: {message}.*--fork"):
        find(tmp_path, **change)
    assert sorted((tmp_path / "search").rglob("*")) == before


def test_the_rounds_of_coarse_to_fine_hang_on_the_number_of_trials(tmp_path):
    find(tmp_path, tuner="coarse-to-fine")
    with pytest.raises(ZooError, match="trials was 2, is 3"):
        find(tmp_path, tuner="coarse-to-fine", trials=3)


def test_another_range_is_named(tmp_path):
    def builder(most):
        def build_it(hp):
            hp.Int("other", 1, most)
            return build(hp)

        return build_it

    find(tmp_path, build=builder(3))
    with pytest.raises(ZooError, match="the range of other was .*3.*, is .*4"):
        find(tmp_path, build=builder(4))


def test_fork_searches_beside_it_and_goes_on_there(tmp_path):
    first = find(tmp_path)
    second = find(tmp_path, seed=1, fork=True)
    assert second.directory == tmp_path / "search-2"
    assert find(tmp_path, seed=1, fork=True).directory == second.directory
    assert find(tmp_path, seed=2, fork=True).directory == tmp_path / "search-3"
    assert find(tmp_path, fork=True).directory == first.directory


def test_a_directory_that_is_no_search_is_left_alone(tmp_path):
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "thesis.txt").write_text("mine")
    with pytest.raises(ZooError, match=r"is not a search: it holds no search\.json"):
        find(tmp_path)
    assert [p.name for p in (tmp_path / "search").iterdir()] == ["thesis.txt"]


def failing(when):
    def build_it(hp):
        model = build(hp)
        if when(hp.get("units")):
            raise RuntimeError(f"no {hp.get('units')} units")
        return model

    return build_it


def test_a_failing_trial_is_recorded_and_the_search_goes_on(tmp_path, capsys):
    found = find(tmp_path, build=failing(lambda units: 1 < units < 6), trials=8)
    failed = [t for t in found.trials if t.status == "failed"]
    assert len(found.trials) == 8 and failed and found.best.values["units"] in (1, 6)
    units = failed[0].values["units"]
    assert failed[0].error == f"RuntimeError: no {units} units"
    assert "in build_it" in failed[0].traceback
    assert f"failed: RuntimeError: no {units} units" in capsys.readouterr().out


def test_a_failing_trial_is_one_line(tmp_path, capfd):
    find(tmp_path, build=failing(lambda units: 1 < units < 6), trials=4)
    shown = capfd.readouterr()
    assert "failed: RuntimeError" in shown.out and "Traceback" not in shown.err


@pytest.mark.parametrize("where", ["train", "write"])
def test_a_full_disk_fails_no_trial(tmp_path, monkeypatch, where):
    whole = find(tmp_path / "a", trials=3)
    calls, full = [], OSError(errno.ENOSPC, "No space left on device")

    def failing(original, *args):
        calls.append(args)
        if len(calls) == 2:
            raise full
        return original(*args)

    if where == "train":
        train = ModelProblem.train
        monkeypatch.setattr(ModelProblem, "train", lambda *a: failing(train, *a))
    else:
        write = records.write
        monkeypatch.setattr(records, "write", lambda *a: failing(write, *a))
    with pytest.raises(OSError, match="No space left"):
        find(tmp_path / "b", trials=3)
    assert facts(find(tmp_path / "b", trials=3)) == facts(whole)


def test_a_chief_of_a_search_that_is_over_needs_no_worker(tmp_path, monkeypatch):
    found = find(tmp_path)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")  # it could not listen there
    assert facts(find(tmp_path)) == facts(found)


def test_when_all_fail_it_stops_with_the_first_error(tmp_path, monkeypatch):
    def failing(*args):
        raise RuntimeError("never")

    monkeypatch.setattr("zoo.tuning.model.ModelProblem.train", failing)
    with pytest.raises(ZooError, match=r"all trials failed \(5\), the first .*Runtime"):
        find(tmp_path, trials=9)
    assert len(Search(tmp_path / "search").trials) == 5


def test_nan_never_wins(tmp_path):
    def diverging(hp):
        mad = hp.Boolean("mad")
        return build(hp, rate=1e30 if mad else 1e-3)

    found = find(tmp_path, build=diverging, trials=5, tuner="grid")
    failed = [t for t in found.trials if t.values["mad"]]
    assert failed and all(t.status == "failed" for t in failed)
    assert "became infinite or NaN in epoch" in failed[0].error
    assert not found.best.values["mad"] and math.isfinite(found.best.score)


def test_an_exhausted_space_says_so(tmp_path, capsys):
    def small(hp):
        hp.Boolean("bias")
        return build(keras_tuner.HyperParameters())

    found = find(tmp_path, build=small, trials=9)
    assert len(found.trials) == 2
    assert "over: after 2 of 9 trials no other configuration" in capsys.readouterr().out


def test_epochs_and_batch_size_may_be_searched(tmp_path):
    def builder(hp):
        hp.Int("epochs", 1, 3)
        hp.Choice("batch_size", [4, 16])
        return build(hp)

    found = find(tmp_path / "a", build=builder, trials=1)
    same = find(tmp_path / "b", trials=1, epochs=1, batch_size=4)
    assert found.best.scores == same.best.scores


def test_hyperband_trains_for_its_own_epochs(tmp_path):
    found = find(tmp_path, tuner="hyperband", trials=5, epochs=3)
    epochs = [t.values["tuner/epochs"] for t in found.trials]
    assert len(epochs) == 5 and set(epochs) == {1, 3}


def test_datasets_can_be_searched_with(tmp_path):
    sets = [
        tf.data.Dataset.from_tensor_slices(data).batch(8) for data in (DATA, VALIDATION)
    ]
    found = find(tmp_path, data=sets[0], validation=sets[1], trials=1)
    keras.utils.set_random_seed(0)
    fit = build(keras_tuner.HyperParameters()).fit(
        sets[0], validation_data=sets[1], epochs=2, verbose=0, shuffle=False
    )
    assert found.best.score == min(fit.history["val_loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuner": "bayes"}, "tuner must be one of .*Did you mean 'bayesian'"),
        ({"trials": 0}, "trials must be a positive integer"),
        ({"retrains": 0}, "retrains must be a positive integer"),
        ({"epochs": 0}, "epochs must be a positive integer"),
        ({"max_minutes": 0}, "max_minutes must be above 0"),
        ({"seed": -1}, "seed must be an integer, at least 0"),
        ({"objective": "val_accuracy"}, "objective must be one of val_loss. Received"),
        ({"objective": "val_acuracy"}, "is not known: choose val_loss"),
        ({"objective": "loss"}, "val_loss"),
        ({"build": lambda hp: hp.Nothing()}, "would fail in build: Attribute.*Nothing"),
        ({"build": lambda hp: 3}, "must return a compiled keras.Model"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path, options, message
):
    with pytest.raises(ZooError, match=message) as error:
        find(tmp_path, **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "search").exists()


def test_no_trial_begins_after_max_minutes(tmp_path, capsys):
    found = find(tmp_path, trials=50, max_minutes=1e-3)
    assert 1 <= len(found.trials) < 50
    assert "The search is over: the time was up after" in capsys.readouterr().out


def test_what_is_written_is_what_json_knows(tmp_path):
    find(tmp_path)
    for path in (tmp_path / "search").rglob("*.json"):
        json.loads(path.read_text())
