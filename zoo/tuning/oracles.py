"""Keras Tuner's oracles, which choose what to try, made to go on exactly."""

import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import keras_tuner
import numpy as np
import threadpoolctl
from keras_tuner import oracles, synchronized
from keras_tuner.engine import trial as trials
from keras_tuner.src.engine import conditions

from zoo.errors import ZooError, unknown
from zoo.files import write_json
from zoo.tuning import TunerName, space
from zoo.tuning.bayesian import Bayesian
from zoo.tuning.coarse_to_fine import CoarseToFine

NAMES = get_args(TunerName)
BY_TRIALS = ("grid", "coarse-to-fine")  # those that lay out all trials before
_FEW = 5  # trials that all fail, from the first on, are enough to give up
_ENDED = (trials.TrialStatus.COMPLETED, trials.TrialStatus.FAILED)
_Status = trials.TrialStatus
conditions.print = lambda *words: None  # it prints each condition that it sends


class Kept:
    """What an oracle of Keras Tuner lacks to be killed at any time and go on.

    Its files are written whole. What was running is run again, what had ended is not.
    The first trial is that of the defaults: a search that finds nothing better says so.

    Attributes:
        most_seconds: no trial begins after the search has run so long, over all its
            parts; `None` for no limit.
        ended: called with the Keras Tuner trial whenever one ends.
    """

    most_seconds: float | None = None
    ended: Callable = staticmethod(lambda trial: None)
    _before = 0.0  # seconds of the parts of the search before this one
    _began = None

    def begin(self) -> None:
        """Start the clock of `seconds`."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the search has run, over all its parts."""
        if self._began is None:
            return self._before
        return self._before + time.monotonic() - self._began

    @property
    def hopeless(self) -> bool:
        """Whether the first few trials have all failed."""
        ended = [self.trials[name] for name in self.end_order]
        few = min(_FEW, self.max_trials)
        failed = [trial for trial in ended if trial.status == _Status.FAILED]
        return len(ended) >= few and len(failed) == len(ended)

    @property
    def out_of_time(self) -> bool:
        """Whether no further trial may begin."""
        return self.most_seconds is not None and self.seconds >= self.most_seconds

    @property
    def finished(self) -> bool:
        """Whether no trial is left, neither to begin nor to go on with."""
        if self.ongoing_trials or self._retry_queue:
            return False
        return len(self.trials) >= self.max_trials or self.out_of_time or self.hopeless

    def number_of(self, trial_id: str) -> int:
        """Return which trial it is, in the order in which they began, from 1."""
        return 1 + self.start_order.index(trial_id)

    @synchronized
    def create_trial(self, tuner_id):
        """Return the next trial; `STOPPED` at the end, `IDLE` before it is known."""
        is_going_on = tuner_id in self.ongoing_trials or self._retry_queue
        if not is_going_on and (self.out_of_time or self.hopeless):
            trial = trials.Trial(self.get_space(), "none", _Status.STOPPED)
            self.tuner_ids.discard(tuner_id)
        else:
            trial = super().create_trial(tuner_id)
        if trial.status == _Status.STOPPED and self.ongoing_trials:
            # Its worker may be lost, and then somebody must be there for it.
            self.tuner_ids.add(tuner_id)
            trial.status = _Status.IDLE
        return trial

    @synchronized
    def end_trial(self, trial):
        """End a trial, and save that it has ended."""
        # The protocol of workers has 32 bits for a float, and another order.
        trial.hyperparameters = self.trials[trial.trial_id].hyperparameters
        super().end_trial(trial)
        self.end_order = list(dict.fromkeys(self.end_order))
        self.save()  # Keras Tuner's own saves it as if it were still running
        self.ended(self.trials[trial.trial_id])

    def save(self):
        """Write the state, whole or not at all."""
        write_json(Path(self._get_oracle_fname()), self.get_state(), durable=True)

    def _save_trial(self, trial):
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_json(path, trial.get_state(), durable=True)

    def reload(self):
        """Read the state; what was killed between two files is put right."""
        try:
            super().reload()
        except (ValueError, LookupError, TypeError, RuntimeError) as error:
            raise ZooError(
                f"{self._get_oracle_fname()} is damaged: begin a new search beside it "
                "with --fork."
            ) from error
        # The order decides what the Bayesian one sees first; one that began and was
        # not noted down begins anew.
        self.trials = {name: self.trials[name] for name in self.start_order}
        queue, self._retry_queue = self._retry_queue, []
        for name in queue:
            if self.trials[name].status in _ENDED:
                self.end_trial(self.trials[name])
            else:
                self._retry_queue.append(name)

    def get_state(self):
        """Return the state: Keras Tuner's, and for how long the search has run."""
        return super().get_state() | {"seconds": self.seconds}

    def set_state(self, state):
        """Take the state back."""
        super().set_state(state)
        self._before = state["seconds"]

    def _random_values(self):
        if not self.start_order:
            return dict(space.defaults(self.hyperparameters).values)
        return super()._random_values()


class _Random(Kept, oracles.RandomSearchOracle):
    pass


class _Hyperband(Kept, oracles.HyperbandOracle):
    pass


class _Grid(Kept, keras_tuner.Oracle):
    """Goes through a grid; Keras Tuner's own cannot go on after it was reloaded."""

    def populate_space(self, trial_id):
        done = len(self.start_order)
        if not done:
            return {"status": _Status.RUNNING, "values": self._random_values()}
        if done > len(self._points):
            return {"status": _Status.STOPPED}
        return {"status": _Status.RUNNING, "values": self._points[done - 1]}

    @functools.cached_property
    def _points(self):
        points = space.grid(self.hyperparameters, self.max_trials - 1)
        first = space.defaults(self.hyperparameters).values
        return [values for values in points if values != first]


class _CoarseToFine(Kept, CoarseToFine):
    pass


class _Bayesian(Kept, Bayesian):
    def populate_space(self, trial_id):
        # Its generator is not part of its state: each trial gets one of its own.
        state = (self.seed + len(self.trials)) % 2**32
        self._random_state = np.random.RandomState(state)
        # Of numbers this small, several threads spend their time waiting.
        with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
            # scikit-learn's, that a fit did not converge.
            warnings.simplefilter("ignore")
            return super().populate_space(trial_id)


def make(
    tuner: str,
    *,
    objective: keras_tuner.Objective,
    trials: int,
    seed: int,
    hyperparameters: keras_tuner.HyperParameters,
    epochs: int,
) -> keras_tuner.Oracle:
    """Return what chooses the configurations to try.

    Args:
        tuner: one of `NAMES`.
        objective: what it goes by.
        trials: how many it may try.
        seed: decides what is random; any integer.
        hyperparameters: the whole space.
        epochs: the most that Hyperband trains one for.

    Raises:
        ZooError: there is no such tuner.
    """
    if tuner not in NAMES:
        raise unknown("tuner", tuner, NAMES)
    arguments = {
        "objective": objective,
        "hyperparameters": hyperparameters,
        # Keras Tuner takes 0 for none, and draws seed, seed + 1, ...: of neighbours
        # most draws would be the same.
        "seed": int(np.random.SeedSequence(seed).generate_state(1)[0]) or 1,
        "max_consecutive_failed_trials": trials + 1,  # `hopeless` decides that
    }
    if tuner == "hyperband":
        oracle = _Hyperband(max_epochs=epochs, hyperband_iterations=0, **arguments)
        oracle.max_trials = trials
    elif tuner == "grid":
        oracle = _Grid(max_trials=trials, **arguments)
    else:
        if tuner == "coarse-to-fine":
            arguments["rounds"] = min(3, trials)
        kinds = {"random": _Random, "bayesian": _Bayesian}
        kind = kinds.get(tuner, _CoarseToFine)
        oracle = kind(max_trials=trials, **arguments)
    oracle.verbose = 0
    oracle._max_collisions = 200  # draws without a new one: the space is exhausted
    return oracle
