"""Figures as inline SVG that takes its colours from the page, light or dark.

Text and axes are drawn in `currentColor`; data in colours that differ for the
colour-blind and from both backgrounds. Every figure carries a sentence that says what
it shows.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from zoo.callbacks import heat_map
from zoo.report.measures import Calibration

# Stand for the page's colours until the SVG is text.
INK, PAPER = "#010203", "#010204"
# What is drawn in the colour of the text.
INKED = ["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color"]
INKED += ["ytick.color", "grid.color"]
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "zoo",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "grid.alpha": 0.15,
}
# After Okabe and Ito, the light ones darkened, then four more: 3:1 on both papers.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#B57BA0", "#A87B00", "#808080", "#3A8FC0"]
COLOURS += ["#C43C5E", "#6F8F1D", "#7B61C9"]
DASHES = ["-", "--", "-.", ":"]
MARKERS = "os^DvPX*<>h"  # one more than colours: 110 pairs before one comes again
PANEL = (4.6, 3.1)  # inches; the width of a phone, so that text keeps its size there
_MOST_WRITTEN, _MOST_NAMED = 12, 40  # classes of a confusion matrix


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        svg: markup to be put into a page.
        label: what it shows, a sentence.
    """

    svg: str
    label: str


def lines(
    name: str,
    label: str,
    series: Mapping[str, Sequence[float]],
    title: str,
    *,
    percent: bool = False,
    best_epoch: int | None = None,
) -> Drawing:
    """Draw a number for each epoch, a line a series; NaN leaves a gap.

    Args:
        name: makes the ids of this figure unique in the page.
        label: what it shows.
        series: name -> values of epochs 1, 2, ...
        title: is written above.
        percent: the values are shares.
        best_epoch: is marked.
    """

    def paint(figure):
        axes = figure.subplots()
        for index, (what, values) in enumerate(series.items()):
            epochs = range(1, len(values) + 1)
            axes.plot(
                epochs,
                values,
                label=what,
                color=COLOURS[index % len(COLOURS)],
                linestyle=DASHES[index % len(DASHES)],
                marker=MARKERS[index % len(MARKERS)] if len(values) <= 30 else None,
            )
        if best_epoch:
            axes.axvline(
                best_epoch, color=INK, alpha=0.5, linewidth=1, linestyle=":",
                label=f"kept: epoch {best_epoch}",
            )  # fmt: skip
        axes.set_title(title, loc="left", weight="bold")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y")
        if len(series) > 1:
            axes.legend(fontsize=9)

    return draw(name, label, PANEL, paint)


def confusion(name: str, label: str, matrix: np.ndarray, names: list[str]) -> Drawing:
    """Draw a confusion matrix: blue is right, orange wrong.

    Args:
        name: makes the ids of this figure unique in the page.
        label: what it shows.
        matrix: counts, true class by predicted class.
        names: of the classes.
    """
    size, names = len(names), [*map(_plain, names)]
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # Half transparent at most, so that the page's ink is legible on it; the root lets
    # a mistake of 1 % be seen, and a third is as strong as it gets.
    cells = np.zeros((size, size, 4))
    cells[..., :3] = to_rgb(COLOURS[1])
    cells[..., 3] = 0.5 * np.sqrt(np.minimum(3 * share, 1))
    diagonal = np.arange(size)
    cells[diagonal, diagonal, :3] = to_rgb(COLOURS[0])
    cells[diagonal, diagonal, 3] = 0.5 * share.diagonal()

    def paint(figure):
        axes = figure.subplots()
        axes.imshow(cells, interpolation="none")
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if size <= _MOST_NAMED:
            fontsize = 10 if size <= _MOST_WRITTEN else 7
            axes.set_xticks(
                range(size), names, rotation=45, ha="right", rotation_mode="anchor",
                fontsize=fontsize,
            )  # fmt: skip
            axes.set_yticks(range(size), names, fontsize=fontsize)
        if size <= _MOST_WRITTEN:
            for (true, read), count in np.ndenumerate(matrix):
                if count:
                    _write_cell(axes, read, true, count, share[true, read])

    return draw(name, label, (7.2, 6.6), paint)


def reliability(name: str, label: str, calibration: Calibration) -> Drawing:
    """Draw accuracy over confidence, and how many images have which confidence."""
    bins = len(calibration.count)
    centres = (np.arange(bins) + 0.5) / bins

    def paint(figure):
        above, below = figure.subplots(2, sharex=True, height_ratios=[3, 1])
        above.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", alpha=0.6)
        above.bar(centres, calibration.accuracy, 0.9 / bins, color=COLOURS[0])
        above.plot(calibration.confidence, calibration.accuracy, "o", color=COLOURS[1])
        above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03))
        below.bar(centres, calibration.count, 0.9 / bins, color=COLOURS[5])
        below.set(ylabel="images", xlabel="confidence")
        for axis in (above.xaxis, above.yaxis):
            axis.set_major_formatter(PercentFormatter(1))

    return draw(name, label, (4.6, 4.2), paint)


def scatter(
    name: str, label: str, points: np.ndarray, classes: np.ndarray, names: list[str]
) -> Drawing:
    """Draw points on a plane, a colour and a mark for each class.

    Args:
        name: makes the ids of this figure unique in the page.
        label: what it shows.
        points: float `(n, 2)`.
        classes: int `(n,)`.
        names: of the classes; up to 20 are named in a legend.
    """
    named = len(names) <= 20
    columns = max(1, min(3, 60 // (max(map(len, names)) + 6)))
    height = 4.2 + (0.24 * -(-len(names) // columns) if named else 0)

    def paint(figure):
        axes = figure.subplots()
        for index, class_name in enumerate(names):
            own = points[classes == index].round(2)
            axes.scatter(
                *own.T, 14, COLOURS[index % len(COLOURS)], label=_plain(class_name),
                marker=MARKERS[index % len(MARKERS)], alpha=0.9, linewidths=0,
            )  # fmt: skip
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if named:
            figure.legend(
                loc="outside lower center", ncols=columns, markerscale=1.8,
                handletextpad=0.2,
            )  # fmt: skip

    return draw(name, label, (4.6, height), paint)


def gradients(name: str, label: str, epochs: list[dict]) -> Drawing:
    """Draw the epochs of a `GradientMonitor`, layers by epochs."""
    return draw(
        name, label, heat_map.size(epochs), lambda figure: heat_map.draw(figure, epochs)
    )


def _write_cell(axes, x, y, count, share):
    percent = f"{share:.0%}" if share >= 0.01 else "<1%"
    axes.text(x, y, f"{count:,}", ha="center", va="bottom", fontsize=9.5)
    axes.text(x, y + 0.06, percent, ha="center", va="top", fontsize=7.5)


def draw(
    name: str, label: str, size: tuple[float, float], paint: Callable[[Figure], None]
) -> Drawing:
    """Draw a figure in the style of the page.

    Args:
        name: makes the ids of this figure unique in the page.
        label: what it shows.
        size: width and height in inches.
        paint: draws on the empty figure that it is given.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE | dict.fromkeys(INKED, INK)):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        nothing = dict.fromkeys(["Creator", "Date", "Format", "Type"])
        with warnings.catch_warnings():
            # The SVG keeps text as text: the browser has the letters of any script.
            for ours in ("Glyph .* missing", "Matplotlib currently does not support"):
                warnings.filterwarnings("ignore", ours, UserWarning)
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = svg.replace(PAPER, "var(--paper)")
    # Its style sheet is for all of the page: ours has its one rule.
    svg = re.sub(r"<defs>\s*<style.*?</defs>", "", svg, count=1, flags=re.DOTALL)
    # Ids are the page's: every figure has its own. Its size is the page's too.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    attributes = f'role="img" aria-label="{html.escape(label)}"'
    return Drawing(svg.replace("<svg", f"<svg {attributes}", 1), label)


def _plain(name: str) -> str:
    """Return a class name as Matplotlib writes it: no TeX, nor hidden for its "_"."""
    name = name.replace("$", r"\$")
    return f"\u200b{name}" if name.startswith("_") else name
