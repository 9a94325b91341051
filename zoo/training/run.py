"""One run's directory and its record."""

import contextlib
import csv
import dataclasses
import math
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from zoo import replicas, report
from zoo.console import say
from zoo.data import records
from zoo.errors import Diverged, ZooError
from zoo.files import replacing, writable, write_json
from zoo.training import environment, options, resuming


class Run:
    """A directory `RUNS/RECIPE/TIME-seedK/` that holds all there is to know of a run.

    Attributes:
        path: the directory.
        chief: whether this process evaluates, exports and tells.
        first_step: where the training begins; above 0 if it goes on.
        model: where its model is, or will be.

    Files:
        config.json: the options, all of them.
        environment.json: recipe, versions, processor, devices, git commit if there is
            one.
        history.csv: a row per finished epoch.
        gradients.json: what `GradientMonitor` saw, and its findings.
        evaluation.npz: what the report needs of the model and the test set.
        checkpoints/: what the training goes on from; gone in the end.
        metrics.json: the results; its `status` is `complete` in the end.
        model.keras: the weights of the best epoch on validation so far.
        report.html: all of that to look at; `zoo report` makes it again.
        tensorboard/: logs for TensorBoard; of a run that was gone on with, the rows of
            the steps after its checkpoint are there twice, with the same values.
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
            self.path = writable(self._before, option=None)
        else:
            parent = writable(Path(runs_dir) / recipe, "--runs-dir")
            self.path = new_directory(parent, config.seed)
        self._lock = resuming.lock(self.path)
        for half_written in self.path.glob(".*.*"):  # by a process that was killed
            half_written.unlink()
        self.model = self.path / "model.keras"
        self._callbacks, self._monitor = [], None
        self._resume = Resume(
            self.path / "checkpoints",
            every=config.checkpoint_every,
            fingerprint=resuming.effective(config) | {"the data's digest": data},
            replay=False,
        )
        self.first_step = self._resume.step
        self._begin_record(config)

    def _begin_record(self, config):
        now, self._resumed = {"recipe": self._recipe} | environment.describe(), 0
        if not self._before:
            options_of_run = dataclasses.asdict(config)
            write_json(self.path / "environment.json", now, durable=True)
            write_json(self.path / "config.json", options_of_run, durable=True)
            return
        before = resuming.environment_of(self.path)
        changed = {key: value for key, value in now.items() if value != before.get(key)}
        before.setdefault("resumed", []).append(changed)
        self._resumed = len(before["resumed"])
        write_json(self.path / "environment.json", before, durable=True)
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
            Diverged: (a `ZooError`) the loss became infinite or NaN; it is recorded.
        """
        began = time.perf_counter()

        def note(status):
            seconds = self._resume.seconds + time.perf_counter() - began
            self._note(metrics, status, seconds, num_train)

        try:
            with replicas.losing_no_worker(self._strategy), records.whole_files():
                yield
        except BaseException as error:
            interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
            # The disk may be full: then this error counts, and not those after it.
            with contextlib.suppress(OSError):
                self._end_callbacks()
            status = self._status("interrupted" if interrupted else "failed")
            self._tell(status)
            with contextlib.suppress(OSError):
                if interrupted and not self.model.exists():
                    with replacing(self.model) as path:
                        model.save(path)
            with contextlib.suppress(OSError, ZooError):
                note(status)
            raise
        status = self._status("trained")
        note(status)
        if status == "diverged":
            self._release()
            raise Diverged(
                f"the loss or its gradient became infinite or NaN in epoch "
                f"{len(self.history())}: try again with a lower --learning-rate. What "
                f"there is of it is in {self.path}"
            )

    def _end_callbacks(self):
        """Have the callbacks close their files, if a `fit` that raised had begun."""
        for callback in self._callbacks:
            if callback.model and callback is not self._resume:
                callback.on_train_end()

    def _status(self, ended):
        """Return `diverged` if it did, else what the training `ended` as."""
        losses = [epoch["loss"] for epoch in self.history()[-1:]]
        stopped = self._monitor and self._monitor.epochs and self._monitor.stopped
        return "diverged" if stopped or not all(map(math.isfinite, losses)) else ended

    def _tell(self, status):
        if not self.chief:
            return
        if status == "interrupted":
            epochs = len(self.history())
            say(
                f"\nInterrupted after {epochs} epoch{'s' * (epochs != 1)}. "
                f"Best so far: {self.model}"
            )
        if status in ("interrupted", "failed"):
            say(f"Go on with: {self._command()}")

    def _note(self, metrics, status, seconds, num_train):
        """Write down how the training ended, and the report of it."""
        history = self.history()
        if self._monitor and self._monitor.epochs:
            self._monitor.save(self.path / "gradients.json")
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
        if self.chief:  # whatever comes after, there is one
            page = report.write(self.path)
            if status in ("interrupted", "diverged"):
                say(f"Report: {page}")

    def finish(self, metrics: dict) -> None:
        """Write `metrics.json` and the report; print the result, and where all lies.

        The chief's work: the other workers wait for its end, as TensorFlow's servers
        take one that ends early for lost.
        """
        if not self.chief:
            replicas.wait_for_all(self._strategy)
            return
        self._show(metrics)
        # In this order: a run that is killed in between shows its results once more.
        metrics["status"] = "complete"
        self.write("metrics.json", metrics)
        self._release()
        report.write(self.path)
        replicas.wait_for_all(self._strategy)

    def _show(self, metrics):
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
            f"Report       {self.path / 'report.html'}\n"
            f"Record       {self.path}\n"
            f"SavedModel   {metrics['saved_model']} (reloaded: the same answers)\n"
            f"Curves       tensorboard --logdir {self.path / 'tensorboard'}\n"
            f"Run again    {metrics['command']}",
            flush=True,
        )

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
        lines = path.read_text(encoding="utf8").splitlines(keepends=True)
        # A full disk may have cut the last one off.
        rows = csv.DictReader(line for line in lines if line.endswith("\n"))
        return [{key: float(value) for key, value in row.items()} for row in rows]


def new_directory(parent: Path, seed: int) -> Path:
    """Create the directory of a run that begins now, and return it."""
    name, number = f"{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}", 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:  # another run of the same second
            number += 1
        else:
            return path
