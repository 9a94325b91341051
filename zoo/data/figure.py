"""A picture of a data set: labelled examples of each class."""

from pathlib import Path

import numpy as np

from zoo.data.datasets import Splits
from zoo.errors import unknown
from zoo.files import replacing

COLUMNS = 10
MOST_CLASSES = 20


def grid(splits: Splits, path: Path) -> Path:
    """Draw the first training examples of each class, a labelled row a class.

    Args:
        splits: the data set; of more than 20 classes the first 20 are drawn.
        path: the file to write; its suffix says which format, PNG if it has none.

    Returns:
        The path that was written.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    path = path if path.suffix else path.with_suffix(".png")
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:] not in known:
        raise unknown("the picture's suffix", path.suffix[1:], known)
    names = splits.class_names[:MOST_CLASSES]
    x, y = splits.train
    figure_height = len(names) * 0.7 + 0.8  # inches
    figure = Figure(figsize=(COLUMNS * 0.7 + 2, figure_height), dpi=120)
    axes = figure.subplots(len(names), COLUMNS, squeeze=False)
    for label, (row, name) in enumerate(zip(axes, names, strict=True)):
        for axis in row:
            axis.axis("off")
        for axis, index in zip(row, np.flatnonzero(y == label), strict=False):
            axis.imshow(_drawable(x[index]), cmap="gray", vmin=0, vmax=255)
        row[0].text(
            -0.15, 0.5, f"{name} ({label})", ha="right", va="center",
            transform=row[0].transAxes,
        )  # fmt: skip
    height, width, channels = x.shape[1:]
    figure.suptitle(
        f"{splits.name}: {len(splits.class_names)} classes, {height}x{width} pixels, "
        f"{channels} channel{'s' if channels > 1 else ''}",
        fontsize=11,
    )
    top = 1 - 0.5 / figure_height
    figure.subplots_adjust(0.22, 0.02, 0.99, top, wspace=0.05, hspace=0.05)
    with replacing(path) as beside:
        figure.savefig(beside)
    return path


def _drawable(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.shape[-1] == 1 else image
