"""A recipe that is killed, and gone on with: the same record, to the bit."""

import dataclasses
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import ROOT, no_source, run_python
from zoo import ZooError
from zoo.callbacks import KeepBest
from zoo.recipes import fashion_mnist
from zoo.training import resuming
from zoo.training.checkpoint import Checkpoints

# An epoch is two executions of 17 steps.
OPTIONS = "--model tiny --widths 4 6 --limit 600 --batch-size 16 --epochs 4".split()
OPTIONS += ["--checkpoint-every", "2"]
pytestmark = pytest.mark.usefixtures("few_points")
RANDOM = "--dropout 0.2 --flip --shift 1 --erase 5".split()


@pytest.fixture
def words(whole_fashion_mnist, tmp_path):
    """Return what runs the recipe; its files lie below `tmp_path`."""
    places = ["--data-dir", whole_fashion_mnist, "--runs-dir", tmp_path / "runs"]
    places += ["--saved-models-dir", tmp_path / "saved"]
    start = ["-m", "zoo.recipes.fashion_mnist", *OPTIONS, *RANDOM]
    return [*start, *map(str, places), "--epochs", "30"]  # for time to be killed in


def the_run(folder):
    (path,) = (folder / "runs" / "fashion_mnist").iterdir()
    return path


def record(path):
    """Return what a finished run leaves that does not depend on time or place."""
    metrics = json.loads((path / "metrics.json").read_text())
    for key in ("train_seconds", "images_per_second", "saved_model", "command"):
        metrics.pop(key)
    metrics.pop("resumed")
    files = [(path / name).read_bytes() for name in ("history.csv", "gradients.json")]
    weights = keras.models.load_model(path / "model.keras").get_weights()
    return metrics, files, [w.tobytes() for w in weights]


def start(words, cwd):
    code = (  # a job in the background is born ignoring Ctrl-C
        "import runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *words[1:]],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end_at(process, line, number):
    """Send the signal when the line appears; return the rest that is printed."""
    for shown in process.stdout:
        if line in shown:
            break
    process.send_signal(number)
    return process.communicate(timeout=120)


def test_a_recipe_killed_again_and_again(words, tmp_path):
    """kill -9, Ctrl-C, SIGTERM; then the printed command, as it is printed."""
    whole = tmp_path / "whole"
    fashion_mnist.main([*words[2:], "--runs-dir", str(whole / "runs")])

    process = start(words, tmp_path)
    path = wait_for_a_checkpoint(tmp_path)
    time.sleep(random.Random(0).random() / 2)
    process.kill()
    process.communicate()
    assert not (path / "metrics.json").exists()

    latest = [*words[:2], "--resume", "latest", "--runs-dir", str(tmp_path / "runs")]
    for number, code, line in [
        (signal.SIGINT, 130, "Epoch 18/30"),
        (signal.SIGTERM, 143, "Epoch 24/30"),
    ]:
        process = start(latest, tmp_path)
        _, errors = end_at(process, line, number)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        metrics = json.loads((path / "metrics.json").read_text())
        assert metrics["status"] == "interrupted"
        (command,) = [
            line.removeprefix("Go on with: ")
            for line in errors.splitlines()
            if line.startswith("Go on with: ")
        ]
    assert shlex.split(command)[:3] == ["python", *words[:2]]
    done = run_python(*shlex.split(command)[1:], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert record(path) == record(the_run(whole))
    assert json.loads((path / "metrics.json").read_text())["resumed"] == 3
    assert not (path / "checkpoints").exists()


def wait_for_a_checkpoint(folder):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = list(folder.glob("runs/fashion_mnist/*/checkpoints/checkpoint-*"))
        if found:
            return found[0].parents[1]
        time.sleep(0.02)
    pytest.fail("no checkpoint was written")


def train(tmp_path, *words):
    """Run the recipe in this process; return its metrics."""
    places = ["--runs-dir", tmp_path / "runs", "--saved-models-dir", tmp_path / "saved"]
    return fashion_mnist.main([*map(str, [*words, *places])])


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """Return the folder of a run that failed in its second epoch."""
    folder = tmp_path_factory.mktemp("failed")
    with no_source(folder / "data"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeepBest, "on_epoch_end", fails_in_epoch(2))
        with pytest.raises(RuntimeError, match="broken"):
            train(folder, *OPTIONS)
    return folder


@pytest.fixture
def broken_off(failed, only_the_sample, tmp_path):
    """Return the directory of that run, in a place of its own."""
    shutil.copytree(failed / "runs", tmp_path / "runs")
    return the_run(tmp_path)


def fails_in_epoch(number):
    end = KeepBest.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == number:
            raise RuntimeError("broken")
        end(self, epoch, logs)

    return on_epoch_end


def test_a_moved_run_goes_on_with_its_own_options(broken_off, tmp_path, capsys):
    reference = train(tmp_path / "whole", *OPTIONS)
    moved = tmp_path / "elsewhere" / "my run"
    moved.parent.mkdir()
    broken_off.rename(moved)
    capsys.readouterr()
    metrics = train(tmp_path, "--resume", moved)
    assert record(moved) == record(the_run(tmp_path / "whole"))
    assert metrics["resumed"] == 1 and reference["resumed"] == 0
    shown = capsys.readouterr()
    assert "Going on with the training in" in shown.err and str(moved) in shown.out
    environment = json.loads((moved / "environment.json").read_text())
    assert environment["resumed"] == [{}]  # nothing had changed


def test_a_crash_after_the_training_does_not_train_again(
    only_the_sample, tmp_path, monkeypatch
):
    def broken(*args, **kwargs):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(fashion_mnist.export, "saved_model", broken)
        with pytest.raises(OSError, match="full"):
            train(tmp_path, *OPTIONS)
    before = record(the_run(tmp_path))
    monkeypatch.setattr(KeepBest, "on_epoch_end", fails_in_epoch(1))
    train(tmp_path, "--resume", "latest")
    metrics, *rest = record(the_run(tmp_path))
    assert metrics.pop("status") == "complete" and before[0].pop("status") == "trained"
    assert (metrics, *rest) == before


def test_auto_goes_on_with_a_run_alike_or_begins_anew(broken_off, tmp_path):
    another = [*OPTIONS, "--epochs", 1, "--resume", "auto"]
    assert train(tmp_path, *another)["resumed"] == 0  # of other options: a new one
    assert len(list(broken_off.parent.iterdir())) == 2
    assert train(tmp_path, *OPTIONS, "--resume", "auto")["resumed"] == 1
    assert len(list(broken_off.parent.iterdir())) == 2
    metrics = json.loads((broken_off / "metrics.json").read_text())
    assert metrics["status"] == "complete"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--learning-rate", "0.5"], "--learning-rate is 0.5, the run's was 0.01: "),
        (["--model", "cnn"], "--model is cnn, the run's was tiny"),
        (["--epochs", "9"], "--epochs is 9, the run's was 4"),
        (["--seed", "7"], "--seed is 7, the run's was 0"),
        (["--flip"], "--flip is True, the run's was False"),
    ],
)
def test_an_option_that_matters_is_refused(words, message, broken_off, tmp_path):
    before = sorted(path.name for path in broken_off.rglob("*"))
    with pytest.raises(ZooError, match=message):
        train(tmp_path, "--resume", broken_off, *words)
    assert sorted(path.name for path in broken_off.rglob("*")) == before


def test_options_without_effect_and_the_same_ones_are_taken(broken_off, tmp_path):
    words = ["--learning-rate", 0.01, "--checkpoint-every", "10s", "--summary"]
    assert train(tmp_path, "--resume", broken_off, *words)["resumed"] == 1


def test_other_data_are_refused(broken_off, tmp_path, monkeypatch):
    load = fashion_mnist.data.load

    def another(*args, **kwargs):
        return dataclasses.replace(load(*args, **kwargs), digest="another")

    monkeypatch.setattr(fashion_mnist.data, "load", another)
    with pytest.raises(ZooError, match="the data's digest is another, and was "):
        train(tmp_path, "--resume", broken_off)


def test_what_cannot_be_resumed(broken_off, tmp_path, monkeypatch):
    for asked, hint in [
        ("nothing-there", "It holds no config.json"),
        ("", "It holds no config.json"),
        ("lastest", "Did you mean 'latest'"),
    ]:
        with pytest.raises(ZooError, match=f"latest or auto. Rec.*'{asked}'. {hint}"):
            resuming.find(asked, "fashion_mnist", tmp_path)
    with pytest.raises(ZooError, match="is of the recipe fashion_mnist, not of other"):
        resuming.find(str(broken_off), "other", tmp_path)
    with pytest.raises(ZooError, match="no unfinished run of fashion_mnist in "):
        train(tmp_path / "empty", "--resume", "latest")
    config = broken_off / "config.json"
    before = config.read_text()
    config.write_text(before[:-10])
    with pytest.raises(ZooError, match="config.json is damaged, or of another recipe"):
        train(tmp_path, "--resume", broken_off)
    config.write_text("3")
    with pytest.raises(ZooError, match="version .it holds no options"):
        train(tmp_path, "--resume", broken_off)
    config.write_text(before.replace("seed", "sead"))
    with pytest.raises(ZooError, match="or version .--sead"):
        train(tmp_path, "--resume", broken_off)
    config.write_text(before)
    assert train(tmp_path, "--resume", "latest")["resumed"] == 1
    left = broken_off / "checkpoints" / "checkpoint-000000001"
    left.parent.mkdir()
    left.write_bytes(b"of a process that was killed at the very end")
    with pytest.raises(ZooError, match="nothing to resume: the run in .* is complete"):
        train(tmp_path, "--resume", broken_off)
    assert not left.parent.exists()


def test_the_latest_is_that_of_the_latest_name(tmp_path):
    """Whatever the times of the files are: a copy has others."""
    names = ["20260102-000000-seed1", "20260102-000000-seed1-2"]
    names += ["20260102-000000-seed1-10", "20260103-000000-seed0"]
    for name in reversed(names):
        (tmp_path / "thing" / name).mkdir(parents=True)
        (tmp_path / "thing" / name / "config.json").write_text("{}")
    for name in reversed(names):
        assert resuming.find("latest", "thing", tmp_path).name == name
        (tmp_path / "thing" / name / "config.json").unlink()


def test_a_run_in_use_is_left_alone(broken_off, tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys, time; from pathlib import Path; from zoo.training import "
            "resuming; lock = resuming.lock(Path(sys.argv[1])); print(1, flush=True); "
            "time.sleep(100)", broken_off,
        ], stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    holder.stdout.readline()
    try:
        with pytest.raises(ZooError, match="is in use by another process"):
            train(tmp_path, "--resume", broken_off)
        config = resuming.options_of(broken_off, fashion_mnist.Config)
        alike = resuming.find_alike("fashion_mnist", tmp_path / "runs", config)
        assert alike is None
    finally:
        holder.kill()
        holder.communicate()
    assert resuming.find_alike("fashion_mnist", tmp_path / "runs", config) == broken_off


def test_a_full_disk_stops_with_one_line(broken_off, tmp_path, monkeypatch, capsys):
    """It is full from the first checkpoint on, for whatever else is written then."""
    written = Checkpoints.save

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:

        def save(self, content):
            patch.setattr("zoo.files.os.fsync", full)
            patch.setattr("zoo.training.run.write_json", full)
            patch.setattr("zoo.callbacks.gradient_monitor.write_json", full)
            written(self, content)

        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(ZooError, match="cannot write a checkpoint .*No space left"):
            train(tmp_path, "--resume", broken_off)
    assert "Go on with: python -m zoo.recipes.fashion_mnist" in capsys.readouterr().err
    assert train(tmp_path, "--resume", broken_off)["resumed"] == 2


def test_the_best_model_is_that_of_the_whole_training(broken_off, tmp_path):
    """The best epoch may lie before the crash."""
    train(tmp_path, "--resume", broken_off)
    rows = np.genfromtxt(broken_off / "history.csv", delimiter=",", names=True)
    metrics = json.loads((broken_off / "metrics.json").read_text())
    assert list(rows["epoch"]) == [0, 1, 2, 3]
    assert metrics["validation_accuracy"] == pytest.approx(rows["val_accuracy"].max())


def test_the_options_come_back_from_the_record(broken_off):
    config = resuming.options_of(broken_off, fashion_mnist.Config)
    assert config.widths == (4, 6) and isinstance(config.runs_dir, Path)
    assert config.data_dir is None and config.checkpoint_every == "2"
