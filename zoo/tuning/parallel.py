"""Parallel coordinates: all the values of all trials in one figure."""

import math

from matplotlib.colors import LinearSegmentedColormap

from zoo.report.figures import COLOURS, INK, PANEL, PAPER, Drawing, draw
from zoo.tuning.figures import BLUE, ORANGE, completed, fitted, plain
from zoo.tuning.records import Trial
from zoo.tuning.scales import Axis, Objective, number

_BY_RANK = LinearSegmentedColormap.from_list("rank", [COLOURS[5], BLUE])
_ROW = 0.8  # inches from one axis to the next
_UNUSED = -0.13  # where an inactive value is drawn


def parallel(
    name: str, axes: list[Axis], trials: list[Trial], objective: Objective
) -> Drawing:
    """Draw each completed trial as a line through all its values, down to its score.

    The axes lie one below the other, so that long names and a narrow page have room.

    Args:
        name: makes the ids of this figure unique in the page.
        axes: of the hyper-parameters, one at least.
        trials: of the search; one completed at least.
        objective: what is scored.
    """
    low, high = objective.range
    scale = Axis(objective.name, low, high)
    # The best is drawn last; of equals the first one.
    ranked = sorted(
        completed(trials), key=lambda t: (objective.sign * t.score, -t.number)
    )
    best = ranked[-1]
    places = [[axis.place(t.values.get(axis.name)) for axis in axes] for t in ranked]
    ends = [
        scale.place(min(max(t.score, low), high)) if scale.varies else 0.5
        for t in ranked
    ]
    unused = [any(map(math.isnan, column)) for column in zip(*places, strict=True)]
    faint = 1 if len(ranked) <= 60 else 0.5

    def paint(figure):
        canvas = figure.subplots()
        canvas.set_axis_off()
        for rank, line in enumerate(places, start=1):
            x = [_UNUSED if math.isnan(at) else at for at in line] + [ends[rank - 1]]
            good = rank / len(ranked)
            look = {"color": _BY_RANK(good), "alpha": faint * (0.2 + 0.75 * good**3)}
            if rank == len(ranked):
                look = {"color": ORANGE, "linewidth": 2.4, "marker": "o"}
            canvas.plot(x, range(len(x)), **{"linewidth": 1.1, **look})
        for row, axis in enumerate(axes):
            _row(canvas, row, axis.name, axis.ticks(), unused[row])
        _row(canvas, len(axes), objective.name, _score_ticks(scale, objective), False)
        canvas.set_xlim(-0.19 if any(unused) else -0.03, 1.03)
        canvas.set_ylim(len(axes) + 0.4, -0.42)

    label = (
        f"Parallel coordinates of {len(ranked)} completed trials: each line goes from "
        f"a trial's values down to its {objective.name}; the bluer the better; orange: "
        f"trial {best.number}, the best{_beyond(ranked, objective)}."
    )
    return draw(name, label, (PANEL[0], _ROW * (len(axes) + 1)), paint)


def _beyond(trials, objective):
    """Say how many scores are drawn at an end of their axis that lie beyond it."""
    low, high = objective.range
    count = sum(not low <= trial.score <= high for trial in trials)
    return f"; {count} beyond the axis end{'s' * (count == 1)} at it" if count else ""


def _row(canvas, row, title, ticks, unused):
    """Draw one axis of the parallel coordinates, legible over the lines."""
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    canvas.plot([0, 1], [row, row], color=INK, linewidth=1, alpha=0.7, zorder=3)
    canvas.text(
        0, row - 0.1, plain(title), va="bottom", weight="bold", fontsize=9.5,
        bbox=box, zorder=4,
    )  # fmt: skip
    places, texts = zip(*ticks, strict=True)
    labels = [*zip(places, fitted(texts), strict=True)]
    for place, text in [(_UNUSED, "unused")] * unused + labels:
        canvas.plot([place] * 2, [row, row + 0.05], color=INK, linewidth=1, zorder=3)
        canvas.text(
            place, row + 0.09, text, va="top", ha="center", fontsize=8.5, bbox=box,
            zorder=4,
        )  # fmt: skip


def _score_ticks(scale, objective):
    """Return places and labels with as many digits as the page, or as tell them apart.

    A score is no bound that was typed: it is not written in full.
    """
    factor, unit = (100, "%") if objective.percent else (1, "")
    digits = 4
    if scale.varies:
        largest = max(abs(scale.low), abs(scale.high))
        digits = max(4, 2 + math.ceil(math.log10(largest / (scale.high - scale.low))))

    def write(score):
        return number(factor * score, digits) + unit

    return scale.labels(write) if scale.varies else [(0.5, write(scale.low))]
