"""One run's directory and its record."""

import contextlib
import csv
import dataclasses
import json
import math
import os
import platform
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import zoo
from zoo import replicas, report
from zoo.console import say
from zoo.data import records
from zoo.errors import ZooError
from zoo.files import replacing, writable, write_json
from zoo.training import options, resuming


class Run:
    """A directory `RUNS/RECIPE/TIME-seedK/` that holds all there is to know of a run.

    Attributes:
        path: the directory.
        chief: whether this process evaluates, exports and tells.
        first_step: where the training begins; above 0 if it goes on.
        model: where its model is, or will be.

    Files:
        config.json: the options, all of them.
        environment.json: versions, processor, devices, git commit where there is one.
        history.csv: a row per finished epoch.
        gradients.json: what `GradientMonitor` saw, and its findings.
        evaluation.npz: what the report needs of the model and the test set.
        checkpoints/: what the training goes on from; gone in the end.
        metrics.json: the results; its `status` is `complete` in the end.
        model.keras: the weights of the best epoch on validation so far.
        report.html: all of that to look at; `zoo report` makes it again.
        tensorboard/: logs for TensorBoard.
    """

    def __init__(self, runs_dir: str | Path, recipe: str, config, data: str):
        """Create the directory and record the options and the environment.

        With `config.resume` the directory is there: a run directory, or what is found
        for `"auto"`. With several workers make it in the strategy's scope: the chief's
        directory is the run's, and what the others write goes with them.

        Args:
            runs_dir: where the directories of runs are.
            recipe: its name.
            config: its options.
            data: the digest of its data.

        Raises:
            ZooError: the directory cannot be written, the run cannot be resumed, or
                another worker has other data.
        """
        import tensorflow as tf

        from zoo.callbacks import Resume

        self._strategy = tf.distribute.get_strategy()
        self.chief = replicas.is_chief(self._strategy)
        replicas.check_same(self._strategy, "the data", data)
        if not self.chief:  # it does what the chief does, where nobody looks
            self._scratch = tempfile.TemporaryDirectory(prefix="zoo-worker-")
            runs_dir = self._scratch.name
            config = dataclasses.replace(config, resume=None)
        self._recipe, self._before = recipe, None
        if config.resume == resuming.AUTO:
            self._before = resuming.find_alike(recipe, runs_dir, config)
        elif config.resume:
            self._before = Path(config.resume)
        if self._before:
            self.path = writable(self._before, "--resume")
        else:
            parent = writable(Path(runs_dir) / recipe, "--runs-dir")
            stamp = time.strftime("%Y%m%d-%H%M%S")
            self.path = _new_directory(parent, f"{stamp}-seed{config.seed}")
        self._lock = resuming.lock(self.path)
        self.model = self.path / "model.keras"
        self._callbacks, self._monitor = [], None
        self._resume = Resume(
            self.path / "checkpoints",
            every=config.checkpoint_every,
            fingerprint=resuming.effective(config) | {"the data's digest": data},
            replay=False,
        )
        self.first_step = self._resume.step
        self._record(config)

    def _record(self, config):
        now, self._resumed = environment(), 0
        if not self._before:
            self.write("environment.json", now)
            self.write("config.json", dataclasses.asdict(config))
            return
        before = json.loads((self.path / "environment.json").read_text("utf8"))
        changed = {key: value for key, value in now.items() if value != before.get(key)}
        before.setdefault("resumed", []).append(changed)
        self._resumed = len(before["resumed"])
        self.write("environment.json", before)
        # Else the last attempt's result would stand there while this one runs.
        (self.path / "metrics.json").unlink(missing_ok=True)

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
            self._resume,  # last: what the others did belongs to the checkpoint
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
            SystemExit: the same, by SIGTERM.
            ZooError: the loss became infinite or NaN; it is recorded.
        """
        began = time.perf_counter()
        status = "trained"
        try:
            with replicas.losing_no_worker(self._strategy), records.whole_files():
                yield
        except BaseException as error:
            interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
            status = "interrupted" if interrupted else "failed"
            for callback in self._callbacks:
                # If `fit` began, it did not have them close their files.
                if callback.model and callback is not self._resume:
                    callback.on_train_end()
            if interrupted and not self.model.exists():
                with replacing(self.model) as path:
                    model.save(path)
            raise
        finally:
            seconds = self._resume.seconds + time.perf_counter() - began
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
                "resumed": self._resumed,
                "images_per_second": round(len(history) * num_train / seconds),
                "validation_accuracy": max(accuracies, default=None),
                "test_accuracy": None,
                "test_loss": None,
                "saved_model": None,
            }
            self.write("metrics.json", metrics)
            if self.chief and status == "interrupted":
                say(
                    f"\nInterrupted after {len(history)} epochs. Best so far: "
                    f"{self.model}"
                )
            if self.chief and status in ("interrupted", "failed"):
                say(f"Go on with: {self._command()}")
            if self.chief:  # whatever comes after, there is one
                page = report.write(self.path)
            if self.chief and status in ("interrupted", "diverged"):
                say(f"Report: {page}")
        if status == "diverged":
            self._release()
            raise ZooError(
                f"the loss or its gradient became infinite or NaN in epoch "
                f"{len(history)}: try again with a lower --learning-rate. What there "
                f"is of it is in {self.path}"
            )

    def finish(self, metrics: dict) -> None:
        """Write `metrics.json` and the report; print the result, and where all lies.

        The chief's work: the other workers wait for its end, as TensorFlow's servers
        take one that ends early for lost.
        """
        if not self.chief:
            replicas.wait_for_all(self._strategy)
            return
        metrics["status"] = "complete"
        self.write("metrics.json", metrics)
        self._release()
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
        replicas.wait_for_all(self._strategy)

    def _command(self):
        words = [*options.program(self._recipe).split(), "--resume", str(self.path)]
        return shlex.join(words)

    def _release(self):
        """Leave a finished run, which nothing goes on from."""
        self._resume.clear()
        self._lock.release(force=True)

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
