"""Where values and scores lie in a figure."""

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

from zoo.report.page import short
from zoo.tuning.records import EPOCHS, Search, Trial

MOST_LEVELS = 12  # named on an axis, or in a sentence
MOST = 44  # characters: of all the labels of an axis, of a name
_APART = (0.18, 0.3, 0.5)  # two tick labels, in lengths of the axis
_DIGITS = range(3, 16)  # with 16 a float is no longer what was typed


@dataclass(frozen=True)
class Axis:
    """The scale of one hyper-parameter, as it was sampled; it goes from 0 to 1.

    Attributes:
        name: of the hyper-parameter.
        low: the lowest value; of numbers.
        high: the highest value; of numbers.
        sampling: `"linear"`, `"log"` or `"reverse_log"`, as Keras Tuner has it.
        levels: all values, of what is no range; they lie side by side.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    sampling: str = "linear"
    levels: tuple = ()

    @property
    def varies(self) -> bool:
        """Whether there is a second value."""
        return len(self.levels) > 1 or self.low < self.high

    def place(self, value: object) -> float:
        """Return where a value lies; NaN if it is none, or not on the axis."""
        if self.levels:
            if value not in self.levels:
                return math.nan
            return (self.levels.index(value) + 0.5) / len(self.levels)
        if value is None or not self.low <= value <= self.high:
            return math.nan
        low, high = self.low, self.high
        if self.sampling == "log":
            return math.log(value / low) / math.log(high / low)
        if self.sampling == "reverse_log":
            return 1 - math.log((high + low - value) / low) / math.log(high / low)
        return (value - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and their labels: both ends, and round values between."""
        if self.levels:
            some = self.levels[:: -(-len(self.levels) // MOST_LEVELS)]
            return [(self.place(level), self.text(level)) for level in some]
        return self.labels(self.text)

    def labels(self, text: Callable[[float], str]) -> list[tuple[float, str]]:
        """Return places and labels of a range: fewer than there may be if long.

        Args:
            text: writes a value.
        """
        for apart in _APART:
            values = self.round_values(apart)
            texts = [text(value) for value in values]
            if max(map(len, texts)) <= room(len(texts)):
                break
        else:
            values, texts = [self.low, self.high], [texts[0], texts[-1]]
        return [*zip(map(self.place, values), texts, strict=True)]

    def round_values(self, apart: float = _APART[0]) -> list[float]:
        """Return both ends of a range, and round values between them, not too near."""
        chosen: list[float] = []
        for value in (self.low, self.high, *self._round()):
            place = self.place(value)
            if all(abs(place - self.place(other)) >= apart for other in chosen):
                chosen.append(value)
        return sorted(chosen)

    def text(self, value: object) -> str:
        """Write a value with the digits of the axis."""
        write = short if self.levels else number
        return write(value, self.digits)

    @functools.cached_property
    def digits(self) -> int:
        """The fewest digits that tell levels apart, or write all ticks as they are."""
        if self.levels:
            return digits_for(self.levels)
        values = self.round_values()
        enough = (d for d in _DIGITS if all(self._is_written(v, d) for v in values))
        return next(enough, _DIGITS[-1])

    def _is_written(self, value, digits):
        """Return whether digits are enough for a value: to a thousandth of the axis."""
        written = float(number(value, digits).replace(",", ""))
        if math.isclose(written, value, rel_tol=1e-14):  # 0.1 + 0.2
            return True
        # Beyond an end there is no place: NaN, which is near to nothing.
        return abs(self.place(written) - self.place(value)) <= 1e-3

    def _round(self):
        if self.sampling != "log":
            whole = isinstance(self.low, int) and isinstance(self.high, int)
            locator = MaxNLocator(4, integer=whole)
            return locator.tick_values(self.low, self.high)
        subs = [(1.0,), (1.0, 2.0, 5.0)]
        locators = [LogLocator(subs=some, numticks=99) for some in subs]
        return [v for at in locators for v in at.tick_values(self.low, self.high)]

    def spans(self, box: Sequence[float] | dict) -> list[tuple[float, float]]:
        """Return from where to where a box of coarse-to-fine reaches."""
        if self.levels:
            half = 0.5 / len(self.levels)
            places = [self.place(v) for v in self.levels if holds(box, v)]
            return [(place - half, place + half) for place in places]
        low, high = (min(max(end, self.low), self.high) for end in box)
        return [(self.place(low), self.place(high))]


@dataclass(frozen=True)
class Objective:
    """What is scored, and from where to where it is drawn.

    Scores much worse than the median are not: they would press all others together.

    Args:
        name: such as `"val_accuracy"`.
        direction: `"max"` or `"min"`.
        scores: of the completed trials; may be empty.
    """

    name: str
    direction: str
    scores: tuple[float, ...]

    @property
    def percent(self) -> bool:
        """Whether the scores are shares."""
        inside = all(0 <= score <= 1 for score in self.scores)
        return self.name.endswith("accuracy") and inside

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest score that are drawn where they are."""
        if not self.scores:
            return 0.0, 1.0
        best = max(self.scores, key=lambda score: self.sign * score)
        middle = statistics.median(self.scores)
        reach = 4 * abs(best - middle) or math.inf
        drawn = [score for score in self.scores if abs(score - middle) <= reach]
        return min(drawn), max(drawn)

    @property
    def sign(self) -> int:
        """What scores are multiplied by, so that more is better."""
        return 1 if self.direction == "max" else -1

    def text(self, score: float | None, spread: float | None = None) -> str:
        """Write a score as the page has it, with its spread if there is one."""
        if score is None:
            return "–"
        if self.percent:
            return f"{score:.2%}" + (
                "" if spread is None else f"\u00a0±\u00a0{spread:.2%}"
            )
        return f"{score:.4g}" + ("" if spread is None else f"\u00a0±\u00a0{spread:.2g}")

    def difference(self, score: float) -> str:
        """Write how far two scores are apart."""
        return f"{abs(score) * 100:.2f} points" if self.percent else f"{abs(score):.3g}"


def holds(box: Sequence[float] | dict, value: object) -> bool:
    """Return whether a box of coarse-to-fine, of one hyper-parameter, has a value."""
    if isinstance(box, dict):
        return value in box["values"]
    return box[0] <= value <= box[1]


def number(value: float, digits: int = 3) -> str:
    """Write a number as the label of a tick."""
    whole = float(value).is_integer() and abs(value) < 1e6
    return f"{value:,.0f}" if whole else short(float(value), digits)


def digits_for(values: Sequence, digits: int = _DIGITS[0]) -> int:
    """Return the fewest digits, so many at least, that tell different values apart."""
    different = len(set(values))
    enough = (
        some
        for some in range(digits, _DIGITS.stop)
        if len({short(value, some) for value in values}) == different
    )
    return next(enough, _DIGITS[-1])


def room(count: int) -> int:
    """Return how many characters each of so many labels of an axis may have."""
    return max(3, MOST // count - 1)


def axes(search: Search) -> list[Axis]:
    """Return the axes of what varies in a search, in the order of its space."""
    made = [
        _axis(name, search.space, _seen(search.trials, name))
        for name in dict.fromkeys(hp.name for hp in search.space)
    ]
    # How long Hyperband trained a configuration moves the score like the rest.
    epochs = _seen(search.trials, EPOCHS)
    if epochs:
        made.append(Axis(EPOCHS, min(epochs), max(epochs)))
    return [axis for axis in made if axis.varies]


def _seen(trials: list[Trial], name):
    """Return the distinct values that a hyper-parameter had."""
    return list(dict.fromkeys(t.values[name] for t in trials if name in t.values))


def _axis(name, space, seen):
    """Return the axis of a name, which may stand under several conditions."""
    same = [hp for hp in space if hp.name == name]
    if not all(hasattr(hp, "sampling") for hp in same):
        levels = dict.fromkeys(v for hp in same for v in hp.values)
        levels |= dict.fromkeys(seen)
        words = any(isinstance(level, str) for level in levels)
        return Axis(name, levels=tuple(levels if words else sorted(levels)))
    low = min([hp.min_value for hp in same] + seen)
    high = max([hp.max_value for hp in same] + seen)
    return Axis(name, low, high, same[0].sampling)
