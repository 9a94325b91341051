"""One run's directory and its record."""

import contextlib
import csv
import dataclasses
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import zoo
from zoo import report
from zoo.console import say
from zoo.errors import ZooError
from zoo.files import replacing, writable, write_json


class Run:
    """A directory `RUNS/RECIPE/TIME-seedK/` that holds all there is to know of a run.

    Attributes:
        path: the directory.
        model: where its model is, or will be.

    Files:
        config.json: the options, all of them.
        environment.json: versions, processor, devices, git commit where there is one.
        history.csv: a row per finished epoch.
        gradients.json: what `GradientMonitor` saw, and its findings.
        evaluation.npz: what the report needs of the model and the test set.
        metrics.json: the results; its `status` is `complete` in the end.
        model.keras: the weights of the best epoch on validation so far.
        report.html: all of that to look at; `zoo report` makes it again.
        tensorboard/: logs for TensorBoard.
    """

    def __init__(self, runs_dir: str | Path, recipe: str, config):
        """Create the directory and record the options and the environment.

        Raises:
            ZooError: the directory cannot be written.
        """
        parent = writable(Path(runs_dir) / recipe, "--runs-dir")
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.path = _new_directory(parent, f"{stamp}-seed{config.seed}")
        self.model = self.path / "model.keras"
        self._callbacks, self._monitor = [], None
        self.write("config.json", dataclasses.asdict(config))
        self.write("environment.json", environment())

    def write(self, name: str, content: dict) -> None:
        """Write a JSON file, whole or not at all; what is not finite becomes null."""
        write_json(self.path / name, content)

    def callbacks(self, probe) -> list:
        """Return the Keras callbacks that keep the record while `fit` runs.

        Args:
            probe: a batch of images to look at the network's units with.
        """
        import keras

        from zoo.callbacks import GradientMonitor, KeepBest

        logs = self.path / "tensorboard"
        self._monitor = GradientMonitor(
            probe, stop_on_nonfinite=True, log_dir=logs / "gradients"
        )
        self._callbacks = [
            keras.callbacks.ProgbarLogger(),  # first: it shows what is logged so far
            self._monitor,
            KeepBest(self.model),
            keras.callbacks.CSVLogger(self.path / "history.csv"),
            keras.callbacks.TensorBoard(logs, write_graph=False),
            keras.callbacks.TerminateOnNaN(),
        ]
        return list(self._callbacks)

    @contextlib.contextmanager
    def training(self, model, metrics: dict, num_train: int) -> Iterator[None]:
        """Time the block, record how it went, and keep what is there if it fails.

        Args:
            model: what the block trains.
            metrics: gets `status`, `epochs`, `train_seconds`, `images_per_second` and
                `validation_accuracy`, and is written to `metrics.json`.
            num_train: the training images of an epoch.

        Raises:
            KeyboardInterrupt: the training was interrupted; it is recorded.
            ZooError: the loss became infinite or NaN; it is recorded.
        """
        began = time.perf_counter()
        status = "trained"
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            status = "interrupted" if interrupted else "failed"
            for callback in self._callbacks:
                if callback.model:  # `fit` began, and did not have it close its files
                    callback.on_train_end()
            if interrupted and not self.model.exists():
                with replacing(self.model) as path:
                    model.save(path)
            raise
        finally:
            seconds = time.perf_counter() - began
            history = self.history()
            if history and not math.isfinite(history[-1]["loss"]):
                status = "diverged"
            if self._monitor and self._monitor.epochs:
                self._monitor.save(self.path / "gradients.json")
                status = "diverged" if self._monitor.stopped else status
            accuracies = [epoch["val_accuracy"] for epoch in history]
            metrics |= {
                "status": status,
                "epochs": len(history),
                "train_seconds": round(seconds, 3),
                "images_per_second": round(len(history) * num_train / seconds),
                "validation_accuracy": max(accuracies, default=None),
                "test_accuracy": None,
                "test_loss": None,
                "saved_model": None,
            }
            self.write("metrics.json", metrics)
            if status == "interrupted":
                say(
                    f"\nInterrupted after {len(history)} epochs. Best so far: "
                    f"{self.model}"
                )
            page = report.write(self.path)  # whatever comes after, there is one
            if status in ("interrupted", "diverged"):
                say(f"Report: {page}")
        if status == "diverged":
            raise ZooError(
                f"the loss or its gradient became infinite or NaN in epoch "
                f"{len(history)}: try again with a lower --learning-rate. What there "
                f"is of it is in {self.path}"
            )

    def finish(self, metrics: dict) -> None:
        """Write `metrics.json` and the report; print the result, and where all lies."""
        metrics["status"] = "complete"
        self.write("metrics.json", metrics)
        page = report.write(self.path)
        data = metrics["data"]
        diagnosis = report.diagnose(
            metrics["training_accuracy"], metrics["validation_accuracy"], data["name"]
        )
        print(
            f"\nvalidation accuracy  {metrics['validation_accuracy']:7.2%}"
            f"   ({data['validation']:,} images)\n"
            f"test accuracy        {metrics['test_accuracy']:7.2%}"
            f"   ({data['test']:,} images)\n"
            f"training             {metrics['train_seconds']:6.1f} s"
            f"   ({metrics['images_per_second']:,} images a second)\n\n"
            f"{diagnosis}\n\n"
            f"Report       {page}\n"
            f"Record       {self.path}\n"
            f"SavedModel   {metrics['saved_model']} (reloaded: the same answers)\n"
            f"Curves       tensorboard --logdir {self.path / 'tensorboard'}\n"
            f"Run again    {metrics['command']}",
            flush=True,
        )

    def history(self) -> list[dict[str, float]]:
        """Return the finished epochs, a dict of numbers each."""
        path = self.path / "history.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf8") as file:
            rows = list(csv.DictReader(file))
        return [{key: float(value) for key, value in row.items()} for row in rows]


def environment() -> dict:
    """Return what a result depends on besides the options: versions and machine."""
    import keras
    import numpy as np
    import tensorflow as tf

    return {
        "zoo": zoo.__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "keras_backend": keras.backend.backend(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpu_count": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "git_commit": _git_commit(),
    }


def _new_directory(parent: Path, name: str) -> Path:
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:  # another run of the same second
            number += 1
        else:
            return path


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _git_commit() -> str | None:
    """Return the commit of the checkout that zoo runs from, `-dirty` if it differs."""
    here = Path(zoo.__file__).parent

    def git(*words):
        command = ["git", "-C", str(here), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # ours, not one around it
        return git(
            "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
