"""What runs the trials: each is trained once for every retrain, and written down."""

import contextlib
import dataclasses
import errno
import io
import math
import shutil
import statistics
import time
import traceback
from pathlib import Path
from typing import NamedTuple, Protocol

import keras_tuner
from keras_tuner.engine import trial as tuner_trial
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.errors import FailedTrialError, FatalError

from zoo.console import one_line
from zoo.tuning import hparams, records
from zoo.tuning.records import Trial


class Training(NamedTuple):
    """How a training went.

    Attributes:
        history: what was logged, name -> a value for each epoch.
        parameters: of the model.
        seconds_before: what it took before it was killed, if it was.
    """

    history: dict[str, list[float]]
    parameters: int
    seconds_before: float


class Problem(Protocol):
    """What is searched: a space, and how to train what is in it.

    `hp` is a `keras_tuner.HyperParameters` that holds the values.
    """

    name: str

    def facts(self) -> dict:
        """Return what must be the same for a search to go on, by name."""

    def space(self, hp) -> object:
        """Declare all hyper-parameters."""

    def build(self, hp):
        """Return the compiled model."""

    def batch_size(self, hp) -> int:
        """Return the examples of a step."""

    def one_batch(self, hp, model) -> dict:
        """Train and validate on one batch each; return what is logged."""

    def train(self, hp, seed: int, folder: Path) -> "Training":
        """Train from the beginning, or on from the checkpoints in the folder."""

    def command(self, values: dict) -> str | None:
        """Return the command that trains the same; `None` if there is none."""


class Trials(BaseTuner):
    """A tuner of Keras Tuner that trains each trial several times.

    Args:
        oracle: chooses the values.
        problem: what is searched.
        directory: of the search.
        retrains: trainings of each trial, from different initial weights.
        seed: of the first of them; the next one has the next.
    """

    def __init__(self, oracle, problem: Problem, directory, retrains: int, seed: int):
        self.problem, self.retrains, self.seed = problem, retrains, seed
        directory = Path(directory).absolute()
        with contextlib.redirect_stdout(io.StringIO()):  # that it reloads
            super().__init__(
                oracle, directory=str(directory.parent), project_name=directory.name
            )

    def run_trial(self, trial) -> dict[str, float]:
        """Train a trial; return the objective, the mean over the retrains.

        Raises:
            FailedTrialError: a training failed; it is recorded. All other exceptions
                are not the trial's fault, and end the search, which can go on.
        """
        folder = Path(self.get_trial_dir(trial.trial_id))
        # The values as the oracle chose them: its protocol has 32 bits for a float.
        saved = tuner_trial.Trial.load(str(folder / "trial.json"))
        trial.hyperparameters = saved.hyperparameters
        record = _begun(folder, trial, self.problem.command)
        while record.status == "running" and len(record.scores) < self.retrains:
            record = self._retrain(trial, folder, record)
        self._log(trial, record)
        if record.status == "failed":
            raise FailedTrialError(record.error)
        records.write(folder, dataclasses.replace(record, status="completed"))
        return {self.oracle.objective.name: statistics.mean(record.scores)}

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        # Keras Tuner's own prints a traceback, and takes every exception for failure.
        try:
            self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = tuner_trial.TrialStatus.COMPLETED
        except FailedTrialError as error:
            trial.status = tuner_trial.TrialStatus.FAILED
            trial.message = str(error)

    def _log(self, trial, record):
        failed = record.status == "failed"
        with contextlib.suppress(OSError):  # a view only: what it shows is recorded
            hparams.write(
                Path(self.project_dir) / "tensorboard",
                trial.trial_id,
                trial.hyperparameters.space,
                trial.hyperparameters.values,
                self.oracle.objective.name,
                None if failed else statistics.mean(record.scores),
            )

    def _retrain(self, trial, folder, record):
        number = len(record.scores)
        checkpoints = folder / f"retrain-{number}"
        began = time.monotonic()
        try:
            training = self.problem.train(
                trial.hyperparameters, self.seed + number, checkpoints
            )
            score = best(training.history, self.oracle.objective)
        except FatalError:  # the chief is gone: not the trial's fault
            raise
        except Exception as error:
            if _of_the_disk(error):  # the others would fail as well
                raise
            record = dataclasses.replace(
                record,
                status="failed",
                seconds=record.seconds + time.monotonic() - began,
                error=one_line(error),
                traceback=traceback.format_exc(),
            )
        else:
            seconds = training.seconds_before + time.monotonic() - began
            record = dataclasses.replace(
                record,
                scores=(*record.scores, score),
                seconds=record.seconds + seconds,
                parameters=training.parameters,
            )
        records.write(folder, record)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return record

    # The oracle's state is all there is: Keras Tuner's own second file could be missing
    # when a search was killed, and then it would begin anew.
    def _get_tuner_fname(self):
        return str(Path(self.project_dir) / records.ORACLE)

    def save(self):
        """Have the oracle save its state."""
        if not self._is_worker():
            self.oracle.save()

    def reload(self):
        """Have the oracle read its state."""
        if not self._is_worker():
            self.oracle.reload()


def _of_the_disk(error):
    cause = error if isinstance(error, OSError) else error.__cause__
    return getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def best(history: dict[str, list], objective: keras_tuner.Objective) -> float:
    """Return the best epoch's value of the objective.

    Raises:
        FloatingPointError: a loss, or the objective, became infinite or NaN: such a
            training has no score, however good it was before.
    """
    for name in ("loss", objective.name):
        if not all(map(math.isfinite, history[name])):
            epoch = 1 + [math.isfinite(value) for value in history[name]].index(False)
            raise FloatingPointError(f"{name} became infinite or NaN in epoch {epoch}")
    better = max if objective.direction == "max" else min
    return float(better(history[objective.name]))


def _begun(folder, trial, command):
    """Return the record of a trial that begins, or goes on."""
    values = dict(trial.hyperparameters.values)
    with contextlib.suppress(FileNotFoundError):
        record = records.read(folder)
        if record.values == values and record.status != "failed":
            return record
    return Trial(0, trial.trial_id, values, command=command(values))
