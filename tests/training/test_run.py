import json
import math
import subprocess
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from zoo import ZooError
from zoo.training import environment as environment_module
from zoo.training import run as run_module
from zoo.training.run import Run


@dataclass(frozen=True)
class Config:
    seed: int = 3
    learning_rate: float = 0.1
    checkpoint_every: str = "30s"
    resume: str | None = None


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, "thing", Config(), data="digest")


def fit(run, metrics, epochs=2, callbacks=(), nan=False):
    """Train a linear model the way a recipe does."""
    x = np.linspace(-1, 1, 20)[:, None]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    y = np.full(20, math.nan) if nan else (x[:, 0] > 0).astype("float32")
    with run.training(model, metrics, num_train=20):
        model.fit(
            x,
            y,
            epochs=epochs,
            validation_data=(x, y),
            verbose=0,
            callbacks=[*callbacks, *run.callbacks(probe=x)],
        )
    return model


def read(run, name):
    return json.loads((run.path / name).read_text())


def test_the_record_of_a_run(run, tmp_path):
    assert run.path.parent == tmp_path / "thing"
    assert run.path.name.endswith("-seed3")
    config = read(run, "config.json")
    assert config["seed"] == 3 and config["learning_rate"] == 0.1
    environment = read(run, "environment.json")
    assert environment["keras"] == keras.__version__
    assert environment["recipe"] == "thing"
    for key in (
        "zoo",
        "python",
        "tensorflow",
        "numpy",
        "cpu",
        "devices",
        "git_commit",
        "keras_backend",
    ):
        assert key in environment
    metrics = {}
    fit(run, metrics)
    assert metrics["status"] == "trained" and metrics["epochs"] == 2
    assert metrics["train_seconds"] > 0 and metrics["images_per_second"] > 0
    assert [row["epoch"] for row in run.history()] == [0, 1]
    assert {"loss", "val_loss", "accuracy", "val_accuracy"} <= set(run.history()[0])
    assert run.model.exists()
    folders = {path.parent.name for path in run.path.rglob("events.*")}
    assert folders == {"train", "validation", "gradients"}
    assert read(run, "gradients.json")["epochs"][1]["model"]["gradient_norm"] > 0
    seen = {"learning_rate", "gradient_norm", "update_ratio"}
    assert seen <= set(run.history()[0])
    assert read(run, "metrics.json") == metrics


def test_runs_of_the_same_second_have_directories_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module.time, "strftime", lambda _: "now")
    names = [Run(tmp_path, "thing", Config(), "digest").path.name for _ in range(3)]
    assert names == ["now-seed3", "now-seed3-2", "now-seed3-3"]


class Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("finished", [0, 2])
def test_an_interrupted_training_keeps_what_is_there(run, finished, capsys):
    metrics = {"recipe": "thing"}
    with pytest.raises(KeyboardInterrupt):
        fit(run, metrics, epochs=5, callbacks=[Interrupt(finished)])
    recorded = read(run, "metrics.json")
    assert recorded["recipe"] == "thing"
    assert recorded["status"] == "interrupted" and recorded["epochs"] == finished
    assert recorded["test_accuracy"] is None and recorded["saved_model"] is None
    best = max((row["val_accuracy"] for row in run.history()), default=None)
    assert recorded["validation_accuracy"] == best
    assert keras.models.load_model(run.model).count_params() == 2
    err = capsys.readouterr().err
    assert f"after {finished} epochs. Best so far: {run.model}" in err
    assert f"Report: {run.path / 'report.html'}" in err
    assert "interrupted" in (run.path / "report.html").read_text()


def test_a_diverging_training_is_an_error_and_recorded(run):
    with pytest.raises(ZooError, match="infinite or NaN in epoch 1.*--learning-rate"):
        fit(run, {}, nan=True)
    recorded = read(run, "metrics.json")
    assert recorded["status"] == "diverged" and recorded["epochs"] == 1
    assert not run.model.exists()  # NaN weights are no use to anybody


def test_gradients_that_are_not_finite_stop_the_training(run):
    """A ReLU turns NaN into 0, so the loss shows nothing of it."""
    x = np.ones((20, 2), "float32")
    x[7, 0] = np.nan
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(3, "relu", kernel_initializer="ones"),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse", metrics=["accuracy"])
    fine = np.ones((20, 2), "float32")
    callbacks = run.callbacks(probe=fine)
    with pytest.raises(
        ZooError, match="its gradient became infinite or NaN in epoch 1"
    ):
        with run.training(model, {}, num_train=20):
            model.fit(
                x, x[:, 1], epochs=5, batch_size=20, verbose=0,
                validation_data=(fine, fine[:, 1]), callbacks=callbacks,
            )  # fmt: skip
    assert math.isfinite(run.history()[0]["loss"])
    assert read(run, "metrics.json")["status"] == "diverged"
    assert "step 1" in read(run, "gradients.json")["findings"][0]
    assert "step 1" in (run.path / "report.html").read_text()


def test_the_progress_bar_shows_metrics_and_no_gradients(run, capsys):
    x = np.linspace(-1, 1, 20)[:, None]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.fit(x, x, validation_data=(x, x), callbacks=run.callbacks(probe=x))
    shown = capsys.readouterr().out
    assert "val_loss" in shown and "gradient" not in shown and "rate" not in shown
    assert "gradient_norm" in run.history()[0]


def test_json_is_valid_and_written_whole(run, monkeypatch):
    run.write("x.json", {"a": [math.nan, 2.0], "b": {"c": math.inf, "d": 1.5}})
    assert read(run, "x.json") == {"a": [None, 2.0], "b": {"c": None, "d": 1.5}}

    def broken(self, text, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(run_module.Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        run.write("x.json", {"a": 1})
    assert read(run, "x.json")["b"] == {"c": None, "d": 1.5}


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match="cannot write in .*--runs-dir"):
        Run(tmp_path / "file", "thing", Config(), "digest")


def test_git_commit_is_that_of_zoo_or_nothing(monkeypatch, tmp_path):
    done = subprocess.run(
        [
            "git",
            "-C",
            str(run_module.Path(run_module.__file__).parent),
            "rev-parse",
            "HEAD",
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        assert (
            environment_module._git_commit().removesuffix("-dirty")
            == done.stdout.strip()
        )
    monkeypatch.setattr(
        environment_module.zoo, "__file__", str(tmp_path / "zoo" / "__init__.py")
    )
    (tmp_path / "zoo").mkdir()
    assert environment_module._git_commit() is None


RESULTS = {
    "training_accuracy": 0.99,
    "validation_accuracy": 0.925,
    "test_accuracy": 0.91234,
    "train_seconds": 12.3,
    "images_per_second": 4567,
    "data": {"name": "things", "validation": 6000, "test": 10000},
    "saved_model": "saved_models/thing/1",
    "command": "python -m zoo.recipes.thing",
}


def test_the_results_are_printed_before_the_run_is_complete(run, capsys, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        run.finish(dict(RESULTS))
    assert "92.50%" in capsys.readouterr().out


def test_summary_of_a_finished_run(run, capsys):
    run.finish(dict(RESULTS))
    shown = capsys.readouterr().out
    for part in ("92.50%", "91.23%", "10,000 images", "12.3 s", "4,567", str(run.path)):
        assert part in shown
    assert (
        "Diagnosis: high variance" in shown and max(map(len, shown.split("\n"))) < 200
    )
    assert (
        "Report       " in shown and "92.5%" in (run.path / "report.html").read_text()
    )
    assert "saved_models/thing/1" in shown and "python -m zoo.recipes.thing" in shown
    assert read(run, "metrics.json")["test_accuracy"] == 0.91234
    assert read(run, "metrics.json")["status"] == "complete"


def test_a_failing_training_is_recorded_too(run):
    class Broken(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fit(run, {}, callbacks=[Broken()])
    recorded = read(run, "metrics.json")
    assert recorded["status"] == "failed" and recorded["epochs"] == 1
    assert "failed" in (run.path / "report.html").read_text()


def test_what_a_full_disk_cannot_keep_does_not_hide_the_first_error(
    run, monkeypatch, capsys
):
    class Broken(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                monkeypatch.setattr(run_module, "write_json", full)
                monkeypatch.setattr("zoo.callbacks.gradient_monitor.write_json", full)
                raise RuntimeError("broken")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with pytest.raises(RuntimeError, match="broken"):
        fit(run, {}, callbacks=[Broken()])
    assert f"--resume {run.path}" in capsys.readouterr().err


def test_a_row_that_is_cut_off_is_not_read(run):
    (run.path / "history.csv").write_text("epoch,loss\n0,0.5\n1,0.2")
    assert run.history() == [{"epoch": 0.0, "loss": 0.5}]


def test_what_a_killed_process_left_half_written_is_deleted(run):
    left = run.path / ".model.77.keras"
    left.write_bytes(b"half")
    (run.path / "environment.json").write_text("{")  # a record only
    again = Run(run.path.parent, "thing", Config(resume=str(run.path)), "digest")
    assert not left.exists()
    assert again.path == run.path and (run.path / ".lock").exists()
    assert len(read(run, "environment.json")["resumed"]) == 1


def test_the_record_outlives_a_loss_of_power(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("zoo.files._flush", lambda path: flushed.append(path.name))
    Run(tmp_path, "thing", Config(), "digest")
    assert sum("environment." in name or "config." in name for name in flushed) == 2


def test_a_run_that_cannot_be_written_is_not_gone_on_with(run, monkeypatch):
    def read_only(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("zoo.files.tempfile.TemporaryFile", read_only)
    with pytest.raises(ZooError, match="cannot write in .*system.: make it writable"):
        Run(run.path.parent, "thing", Config(resume=str(run.path)), "digest")


def test_an_interrupt_before_fit_is_recorded(run):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    run.callbacks(probe=None)
    with pytest.raises(KeyboardInterrupt), run.training(model, {}, num_train=20):
        raise KeyboardInterrupt
    assert read(run, "metrics.json")["status"] == "interrupted"
