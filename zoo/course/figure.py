"""Pictures for a slide: SVG and PNG, legible from the last row."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from zoo.files import replacing
from zoo.report import figures

SIZE = (10.0, 5.6)  # inches: the shape of a slide
DOTS = 100  # an inch, in the PNG
STYLE = figures.STYLE | {
    **dict.fromkeys(figures.INKED, "#1c2226"),
    "font.size": 15,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 15,
    "legend.fontsize": 13,
    "lines.linewidth": 2.4,
    "lines.markersize": 7,
    "image.cmap": "cividis",
    "axes.prop_cycle": matplotlib.cycler(color=figures.COLOURS),
}


def save(stem: Path, paint: Callable[[Figure], None]) -> Path:
    """Draw a figure and write `STEM.svg` and `STEM.png`; return the PNG's path.

    The same drawing gives the same bytes.

    Args:
        stem: the path without suffix.
        paint: draws on the empty figure that it is given. Every pair of axes with
            numbers on it has labels.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, dpi=DOTS, layout="constrained", facecolor="white")
        paint(figure)
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {})):
            with replacing(stem.with_suffix(suffix)) as beside:
                figure.savefig(beside, metadata=metadata)
    return stem.with_suffix(".png")
