"""The logs, as TensorBoard itself tells them over HTTP."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request

import keras_tuner
import pytest

from zoo.tuning import hparams

DISCRETE, SUCCESS, FAILURE = "domainDiscrete", "STATUS_SUCCESS", "STATUS_FAILURE"


def space():
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    hp.Int("width", 16, 64, step=16)
    hp.Boolean("flip")
    hp.Choice("regularization", ["none", "dropout"])
    with hp.conditional_scope("regularization", ["dropout"]):
        hp.Float("rate", 0.1, 0.5)
    for flip, low, high in ((True, 1, 2), (False, 2, 8)):
        with hp.conditional_scope("flip", [flip]):
            hp.Int("size", low, high)
    hp.Fixed("optimizer", "adam")
    return hp.space


FIRST = {"learning_rate": 0.01, "width": 32, "flip": True, "optimizer": "adam"}
FIRST |= {"regularization": "dropout", "rate": 0.25, "size": 2}
SECOND = {"learning_rate": 0.1, "width": 64, "flip": False, "optimizer": "adam"}
SECOND |= {"regularization": "none", "size": 8, "tuner/epochs": 3}


@contextlib.contextmanager
def tensorboard(log_dir):
    """Start TensorBoard on a free port; yield a function that asks its plugin."""
    words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir)]
    words += ["--host", "localhost", "--port", "0", "--load_fast", "false"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"http://localhost:\d+", line):
                    break
            url = f"{found[0]}/data/plugin/hparams"

            def ask(what, **request):
                data = json.dumps(request).encode()
                headers = {"Content-Type": "application/json"}
                asked = urllib.request.Request(f"{url}/{what}", data, headers)
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    return json.load(answer)

            yield ask
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return what TensorBoard tells of three trials, one of which is run twice."""
    log_dir = tmp_path_factory.mktemp("logs")
    hparams.write(log_dir, "00", space(), FIRST, "val_accuracy", 0.5)
    hparams.write(log_dir, "00", space(), FIRST, "val_accuracy", 0.875)
    hparams.write(log_dir, "01", space(), SECOND, "val_accuracy", 0.75)
    hparams.write(log_dir, "02", space(), SECOND, "val_accuracy", None)
    metric = {"metric": {"group": "", "tag": "val_accuracy"}}
    request = {
        "allowedStatuses": [SUCCESS, FAILURE],
        "colParams": [metric | {"order": "ORDER_DESC"}],
        "sliceSize": 10,
        "aggregationType": "AGGREGATION_AVG",
    }
    deadline = time.monotonic() + 120
    with tensorboard(log_dir) as ask:
        while time.monotonic() < deadline:  # it reads the logs in the background
            answer = ask("session_groups", **request)
            if len(answer.get("sessionGroups", [])) == 3:
                break
            time.sleep(0.5)
        return (
            ask("experiment"),
            answer["sessionGroups"],
            len(list(log_dir.rglob("events.*"))),
        )


def test_the_space_is_told_once(told):
    experiment, _, files = told
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert set(infos) == {hp.name for hp in space()}
    interval = {"minValue": 1e-4, "maxValue": 1e-1}
    assert infos["learning_rate"]["domainInterval"] == interval
    assert infos["width"]["domainInterval"] == {"minValue": 16, "maxValue": 64}
    assert infos["size"]["domainInterval"] == {"minValue": 1, "maxValue": 8}
    assert infos["flip"][DISCRETE] == [False, True]
    assert infos["flip"]["type"] == "DATA_TYPE_BOOL"
    assert infos["regularization"][DISCRETE] == ["dropout", "none"]
    assert infos["optimizer"][DISCRETE] == ["adam"]
    (metric,) = experiment["metricInfos"]
    assert metric["name"]["tag"] == "val_accuracy"
    assert files == 4  # of three trials, and of the experiment


def test_each_trial_has_its_values_and_its_score(told):
    _, groups, _ = told
    assert [group["name"] for group in groups] == ["trial_00", "trial_01", "trial_02"]
    assert groups[0]["hparams"] == FIRST
    wanted = {name: v for name, v in SECOND.items() if name != "tuner/epochs"}
    assert {n: v for n, v in groups[1]["hparams"].items() if v != ""} == wanted
    scores = [group["metricValues"] for group in groups]
    assert [of[0]["value"] for of in scores if of] == [0.875, 0.75]
    assert scores[2] == []


def test_a_failed_trial_is_told_as_such(told):
    _, groups, _ = told
    states = [session["status"] for group in groups for session in group["sessions"]]
    assert states == [SUCCESS, SUCCESS, FAILURE]
    assert all(group["sessions"][0]["endTimeSecs"] > 0 for group in groups)
