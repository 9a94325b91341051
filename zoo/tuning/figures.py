"""The figures of a search, in the style of the run report.

Blue is a trial, orange the best one; what failed is a cross at the lower edge, and what
scored beyond the axis a triangle at its end.
"""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from zoo.report.figures import COLOURS, INK, PANEL, Drawing, draw
from zoo.tuning.importance import Importance
from zoo.tuning.records import Trial
from zoo.tuning.scales import MOST, MOST_LEVELS, Axis, Objective, room

BLUE, ORANGE, _GREEN, _RED = COLOURS[6], COLOURS[1], COLOURS[2], COLOURS[7]
_MOST_BESIDE = 24  # characters: as long as the axis of the scores is high


def progress(
    name: str, trials: list[Trial], objective: Objective, final: float | None = None
) -> Drawing:
    """Draw the score of each trial in order, and the best so far.

    Args:
        name: makes the ids of this figure unique in the page.
        trials: of the search, in the order in which they were begun.
        objective: what is scored.
        final: the mean score when the best was trained anew.
    """
    done = completed(trials)
    numbers = [trial.number for trial in done]
    scores = [trial.score for trial in done]
    spreads = [trial.spread for trial in done]
    best = objective.sign * np.maximum.accumulate(objective.sign * np.array(scores))

    def paint(figure):
        axes = figure.subplots()
        _score_axis(axes.yaxis, objective)
        if any(spreads):
            spreads_drawn = [spread or 0 for spread in spreads]
            _, _, (bars,) = axes.errorbar(
                numbers, scores, spreads_drawn, ecolor=BLUE, fmt="none", elinewidth=1
            )
            bars.set_alpha(0.5)
        # After the last improvement the line goes on to the last trial.
        ends = trials[-1].number if trials else 1
        axes.step(
            [*numbers, ends], [*best, *best[-1:]] or [math.nan], where="post",
            color=ORANGE, label="best so far",
        )  # fmt: skip
        _dots(axes, numbers, scores, objective, label="a trial")
        if final is not None:
            axes.axhline(
                final, color=_GREEN, linestyle="--", linewidth=1.4, label="trained anew"
            )
        _crosses(axes, [trial.number for trial in trials if trial.status == "failed"])
        axes.set_xlabel("trial")
        axes.set_xlim(0.5, max(ends, 2) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        figure.legend(
            loc="outside upper left", fontsize=9, ncols=3, handletextpad=0.4,
            columnspacing=1,
        )  # fmt: skip

    steps = [at for at in range(len(best)) if at == 0 or best[at] != best[at - 1]]
    course = "; ".join(
        f"{objective.text(best[at])} after trial {numbers[at]}"
        for at in dict.fromkeys([*steps[:1], *steps[-4:]])
    )
    spread = " Bars: the spread over the trainings of a trial." if any(spreads) else ""
    label = f"Best {objective.name} so far: {course or 'no trial is completed'}."
    return draw(name, label + spread, PANEL, paint)


def effect(
    name: str,
    axis: Axis,
    trials: list[Trial],
    objective: Objective,
    boxes: list[dict],
) -> Drawing:
    """Draw the score against one hyper-parameter.

    Args:
        name: makes the ids of this figure unique in the page.
        axis: of the hyper-parameter.
        trials: of the search.
        objective: what is scored.
        boxes: the rounds of coarse-to-fine, drawn as bands one over the other.
    """
    active = [t for t in trials if not math.isnan(axis.place(t.values.get(axis.name)))]
    done = completed(active)
    best = _best(active, objective)

    def at(trial):
        return axis.place(trial.values[axis.name])

    def paint(figure):
        axes = figure.subplots()
        _score_axis(axes.yaxis, objective)
        for box in boxes:
            spans = axis.spans(box["box"][axis.name]) if axis.name in box["box"] else []
            for low, high in spans:
                axes.axvspan(low, high, color=_GREEN, alpha=0.14, linewidth=0)
        x = [at(trial) for trial in done]
        _dots(axes, x, [trial.score for trial in done], objective)
        if best is _best(trials, objective) and best is not None:
            axes.plot(at(best), best.score, "D", color=ORANGE, markersize=7)
        for level, median in _medians(axis, done).items():
            axes.hlines(
                median, axis.place(level) - 0.3 / len(axis.levels),
                axis.place(level) + 0.3 / len(axis.levels), color=INK, linewidth=1.2,
            )  # fmt: skip
        _crosses(axes, [at(trial) for trial in active if trial.status == "failed"])
        axes.set_xlim(-0.04, 1.04)
        places, texts = zip(*axis.ticks(), strict=True)
        axes.set_xticks(places, fitted(texts))
        axes.set_title(plain(axis.name, 38), loc="left", weight="bold")
        axes.grid(axis="y")

    return draw(name, _effect_label(axis, done, objective), PANEL, paint)


def importances(name: str, found: Importance) -> Drawing:
    """Draw what shuffling each hyper-parameter costs, with its standard deviation.

    Args:
        name: makes the ids of this figure unique in the page.
        found: the importances.
    """

    def paint(figure):
        axes = figure.subplots()
        rows = range(len(found.names))
        axes.barh(rows, found.mean, 0.3, color=BLUE)
        axes.errorbar(
            found.mean, rows, xerr=found.spread, fmt="none", ecolor=INK, elinewidth=1.2,
            capsize=3,
        )  # fmt: skip
        for row, of in enumerate(found.names):
            axes.annotate(
                plain(of), (0, row - 0.24), (3, 0), textcoords="offset points",
                va="bottom",
            )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=1, alpha=0.6)
        axes.set_ylim(len(rows) - 0.6, -0.85)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("loss of R² when it is shuffled")

    parts = [
        f"{of} {mean:.2f} ± {spread:.2f}"
        for of, mean, spread in zip(found.names, found.mean, found.spread, strict=True)
    ]
    label = f"Importance of each hyper-parameter: {'; '.join(parts)}."
    size = (PANEL[0], 0.75 + 0.48 * len(found.names))
    return draw(name, label, size, paint)


def completed(trials: list[Trial]) -> list[Trial]:
    """Return those of the trials that have a score."""
    return [trial for trial in trials if trial.score is not None]


def _best(trials, objective):
    """Return the first of the best, or `None`."""
    return max(completed(trials), key=lambda t: objective.sign * t.score, default=None)


def _score_axis(axis, objective):
    """Prepare the axis of a figure for the scores."""
    low, high = objective.range
    edge = _edge(objective)
    axis.axes.set_ylim(low - 2 * edge, high + 1.5 * edge)
    axis.set_major_locator(MaxNLocator(6))
    if objective.percent:
        axis.set_major_formatter(PercentFormatter(1))
    axis.axes.set_ylabel(plain(objective.name, _MOST_BESIDE))


def _edge(objective):
    """Return how far beyond the lowest and the highest score an axis reaches."""
    low, high = objective.range
    return 0.06 * (high - low) or 0.05 * abs(high) or 1


def _dots(axes, x, scores, objective, **label):
    """Draw scores as dots, those beyond the axis as triangles at its end."""
    low, high = objective.range
    edge = _edge(objective)
    x, scores = np.array(x), np.array(scores)
    ends = [(scores < low, low - edge, "v"), (scores > high, high + edge, "^")]
    for beyond, y, marker in ends:
        if beyond.any():
            axes.plot(
                x[beyond], np.full(beyond.sum(), y), marker, color=BLUE, alpha=0.85,
                markeredgewidth=0, markersize=6,
                label="beyond the axis" if label else None,
            )  # fmt: skip
    inside = (scores >= low) & (scores <= high)
    look = {"alpha": 0.85, "markeredgewidth": 0, "markersize": 5}
    axes.plot(x[inside], scores[inside], "o", color=BLUE, **look, **label)


def _crosses(axes, x):
    """Mark what failed at the lower edge."""
    if x:
        axes.plot(
            x, np.full(len(x), 0.025), "x", color=_RED, markeredgewidth=1.6,
            markersize=6, transform=axes.get_xaxis_transform(), clip_on=False,
            label="failed",
        )  # fmt: skip


def plain(text: str, most: int = MOST) -> str:
    """Return a text that Matplotlib takes literally, at most so many characters."""
    text = " ".join(str(text).split())
    if len(text) > most:  # the end tells names apart as well
        end = most // 3
        text = f"{text[: most - 1 - end]}…{text[-end:]}"
    return text.replace("$", r"\$")


def fitted(texts: Sequence[str]) -> list[str]:
    """Cut the labels of an axis so that they fit side by side."""
    return [plain(text, room(len(texts))) for text in texts]


def _medians(axis, done):
    """Return the median score of each level that was tried; of levels only."""
    scores = {level: [] for level in axis.levels}
    for trial in done if scores else []:
        scores[trial.values[axis.name]].append(trial.score)
    return {level: statistics.median(of) for level, of in scores.items() if of}


def _effect_label(axis, done, objective):
    scale = {"log": ", log scale", "reverse_log": ", reversed log scale"}
    start = f"{objective.name} against {axis.name}{scale.get(axis.sampling, '')}"
    if not done:
        return f"{start}: no trial that has it is completed."
    if axis.levels:
        return f"{start}: {_told(_medians(axis, done), axis, objective)}."
    ranked = sorted(done, key=lambda trial: -objective.sign * trial.score)
    values = [t.values[axis.name] for t in ranked[: -(-len(ranked) // 4)]]
    return (
        f"{start}: best at {axis.text(values[0])}; the best quarter lies from "
        f"{axis.text(min(values))} to {axis.text(max(values))}."
    )


def _told(medians, axis, objective):
    """Say the medians of levels; of many levels the three best."""
    what = "medians"
    if len(medians) > MOST_LEVELS:
        what = f"the best medians of {len(medians)} levels:"
        ranked = sorted(medians.items(), key=lambda of: -objective.sign * of[1])
        medians = dict(ranked[:3])
    parts = [f"{axis.text(of)} {objective.text(at)}" for of, at in medians.items()]
    return f"{what} {', '.join(parts)}"
