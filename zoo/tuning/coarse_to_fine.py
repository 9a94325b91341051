"""Coarse-to-fine search: random, then random inside the box of the best, and again."""

import bisect
import itertools
import math
import random
from collections.abc import Sequence

import keras_tuner
from keras_tuner.engine.hyperparameters import (
    Boolean,
    Choice,
    Fixed,
    Float,
    HyperParameter,
    Int,
)
from keras_tuner.engine.trial import TrialStatus

from zoo.errors import ZooError, integer, number

Span = list | dict  # [lowest, highest], or {"values": [...]}


class CoarseToFine(keras_tuner.Oracle):
    """Random search in rounds, each inside the box of the best trials so far.

    The first round is Keras Tuner's random search over the whole space. Each further
    one draws from the box around the best trials of all rounds before it, uniformly on
    the scale that each hyper-parameter has (`sampling`). A box has for each

    - `Float`, `Int` and ordered `Choice` (in the order of its values): the range of
      the best, each end moved half way to the next trial beyond it, or to the end of
      the range if there is none. A range of one integer, step or choice gets its two
      neighbours too.
    - `Boolean` and unordered `Choice`: the values that the best have.
    - one under a condition: the same over those of the best where it is active; its
      whole range if there is none.

    Where the good ones lie together the rounds close in on them; where they lie in
    several places the box spans them all, and gains little over random search.

    A round begins when all trials before it have ended, so that one worker and many
    try the same trials. A failed trial counts for its round, not for a box; with
    fewer than two completed ones the box is the whole space. Where a box holds nothing
    that was not tried, the whole space is drawn from, and the search ends when that
    holds nothing new either.

    Args:
        objective: as in `keras_tuner.Oracle`.
        max_trials: of all rounds together; at least one a round.
        rounds: how many, the first one over the whole space included.
        share: of the completed trials, those that make a box; at least two do.
        shares: of `max_trials`, those of each round; equal parts if `None`.
        **kwargs: the rest of `keras_tuner.Oracle`: `seed`, `hyperparameters` and so on.
            Keras Tuner takes the seed 0 for none.

    Attributes:
        boxes: of the rounds that have begun, `{"round": number from 1, "first_trial":
            number from 0, "box": {name: [lowest, highest] or {"values": [...]}}}`; a
            name that is not there has its whole range. Kept in `oracle.json`.

    Raises:
        ZooError: (a `ValueError`) an argument is out of range.

    Example:
        >>> space = keras_tuner.HyperParameters()
        >>> _ = space.Float("learning_rate", 1e-4, 1.0, sampling="log")
        >>> objective = keras_tuner.Objective("val_accuracy", "max")
        >>> oracle = CoarseToFine(objective, 60, hyperparameters=space, seed=20261120)
        >>> tuner = keras_tuner.Tuner(oracle, build)  # doctest: +SKIP

    Reference:
        Goodfellow, Bengio and Courville, "Deep Learning", 2016, section 11.4.3: a grid
        search is best repeated, the next grid zoomed in on the best of the last.
        Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR
        2012: random trials, because few of the hyper-parameters matter.
    """

    def __init__(
        self,
        objective=None,
        max_trials: int = 60,
        *,
        rounds: int = 3,
        share: float = 0.25,
        shares: Sequence[float] | None = None,
        **kwargs,
    ):
        self.rounds = integer("rounds", rounds, least=1)
        integer("max_trials", max_trials, least=rounds)
        super().__init__(objective=objective, max_trials=max_trials, **kwargs)
        self.share = number("share", share, above=0, below=1)
        self.shares = _checked(shares, rounds)
        # 1e-9: a sum of shares is not exact, and the last must not end too early.
        totals = itertools.accumulate(self.shares)
        self._ends = [math.ceil(max_trials * total - 1e-9) for total in totals]
        if len(set(self._ends)) < rounds:
            raise ZooError(
                f"shares must leave each round a trial of max_trials={max_trials}. "
                f"Received: shares={self.shares}"
            )
        self.boxes = []

    def populate_space(self, trial_id: str) -> dict:
        """Return the next trial's `"values"` and `"status"`, for Keras Tuner."""
        number_of_round = bisect.bisect_right(self._ends, len(self.start_order)) + 1
        if len(self.boxes) < number_of_round:
            if self.ongoing_trials or self._retry_queue:
                return {"status": TrialStatus.IDLE, "values": None}
            self.boxes.append(
                {
                    "round": number_of_round,
                    "first_trial": len(self.start_order),
                    "box": self._box() if number_of_round > 1 else {},
                }
            )
        seed_state = self._seed_state
        box = self.boxes[-1]["box"]
        values = (self._values_in(box) if box else None) or self._random_values()
        if values is None:
            self._seed_state = seed_state  # who asks again is told the same
            return {"status": TrialStatus.STOPPED, "values": None}
        return {"status": TrialStatus.RUNNING, "values": values}

    def get_state(self) -> dict:
        """Return what `set_state` needs to go on."""
        return super().get_state() | {"boxes": self.boxes}

    def set_state(self, state: dict) -> None:
        """Go on from what `get_state` returned."""
        super().set_state(state)
        self.boxes = state["boxes"]

    def _box(self):
        """Return the box of the best trials so far; empty if it is the whole space."""
        trials = [self.trials[name] for name in self.start_order]
        trials = [trial for trial in trials if trial.status == TrialStatus.COMPLETED]
        # The first of equals is better, whichever worker ended first.
        trials.sort(
            key=lambda trial: trial.score, reverse=self.objective.direction == "max"
        )
        if len(trials) < 2:
            return {}
        tried = [trial.hyperparameters.values for trial in trials]
        best = tried[: max(2, round(self.share * len(tried)))]
        return {
            hp.name: _span(hp, _values_of(hp, best), _values_of(hp, tried))
            for hp in self.hyperparameters.space
            if not isinstance(hp, Fixed) and _values_of(hp, best)
        }

    def _values_in(self, box):
        """Return values from the box that no trial has; `None` if none turn up."""
        for _ in range(self._max_collisions + 1):
            drawn = keras_tuner.HyperParameters()
            for hp in self.hyperparameters.space:
                drawn.merge([hp])
                if drawn.is_active(hp):
                    drawn.values[hp.name] = _draw(
                        hp, box.get(hp.name), self._seed_state
                    )
                    self._seed_state += 1
            if not self._duplicate(drawn.values):
                return drawn.values
        return None


def _checked(shares, rounds):
    """Return the share of the trials that each round has, as floats."""
    if shares is None:
        return [1 / rounds] * rounds
    try:
        checked = [number("shares", share, above=0) for share in shares]
    except (TypeError, ZooError):
        checked = []
    if len(checked) != rounds or not math.isclose(sum(checked), 1):
        raise ZooError(
            f"shares must be {rounds} positive numbers that sum to 1, one a round. "
            f"Received: shares={shares!r}"
        )
    return checked


def _values_of(hp, trials):
    """Return a hyper-parameter's values in those trials where it is active."""
    return [values[hp.name] for values in trials if hp.name in values]


def _grid(hp: HyperParameter) -> Sequence | None:
    """Return the values that differ by a step, in order; `None` without steps."""
    if isinstance(hp, Choice):
        return sorted(hp.values)
    if hp.step is None:
        return None
    if isinstance(hp, Int) and hp.sampling == "linear":
        return range(hp.min_value, hp.max_value + 1, hp.step)
    return sorted(map(int if isinstance(hp, Int) else float, hp.values))


def _span(hp: HyperParameter, best: list, tried: list) -> Span:
    """Return what a box has of a hyper-parameter.

    Args:
        hp: the hyper-parameter.
        best: its values in the best trials; at least one.
        tried: its values in all trials.
    """
    if isinstance(hp, Boolean) or isinstance(hp, Choice) and not hp.ordered:
        return {"values": [value for value in hp.values if value in best]}
    grid = _grid(hp)

    def place(value):
        # Not value_to_prob on a grid: it is a step off where a division rounds down.
        return hp.value_to_prob(value) if grid is None else bisect.bisect(grid, value)

    low, high = min(map(place, best)), max(map(place, best))
    below = max((p for p in map(place, tried) if p < low), default=None)
    above = min((p for p in map(place, tried) if p > high), default=None)
    if grid is None:
        low = hp.min_value if below is None else hp.prob_to_value((low + below) / 2)
        high = hp.max_value if above is None else hp.prob_to_value((high + above) / 2)
        if low == high:  # of an Int
            low, high = max(hp.min_value, low - 1), min(hp.max_value, high + 1)
        return [low, high]
    low = 1 if below is None else low - (low - below) // 2
    high = len(grid) if above is None else high + (above - high) // 2
    if low == high:
        low, high = max(1, low - 1), min(len(grid), high + 1)
    return [grid[low - 1], grid[high - 1]]


def _draw(hp: HyperParameter, span: Span | None, seed: int):
    """Return a random value from the span; from the whole range if it is `None`."""
    if span is None:
        return hp.random_sample(seed)
    chance = random.Random(seed).random()
    if isinstance(span, dict):
        return span["values"][int(chance * len(span["values"]))]
    low, high = span
    grid = _grid(hp)
    if grid is not None:
        first = bisect.bisect_left(grid, low)
        return grid[first + int(chance * (bisect.bisect(grid, high) - first))]
    # An integer stands for all that is rounded to it.
    half = 0 if isinstance(hp, Float) else 0.5
    start, end = hp.value_to_prob(low - half), hp.value_to_prob(high + half)
    return min(max(hp.prob_to_value(start + chance * (end - start)), low), high)
