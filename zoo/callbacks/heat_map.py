"""The gradients of a training as a picture: layers by epochs."""

import numpy as np


def size(epochs: list[dict]) -> tuple[float, float]:
    """Return the width and height in inches of a figure with room for all labels."""
    return 6.4, 1.2 + 0.25 * min(len(epochs[0]["layers"]), 50)


def norms(epochs: list[dict]) -> np.ndarray:
    """Return each layer's mean gradient norm, `(layers, epochs)`; NaN if none."""
    table = [[v["gradient_norm"] for v in e["layers"].values()] for e in epochs]
    return np.array(table, float).T  # None becomes NaN


def draw(figure, epochs: list[dict]) -> None:
    """Draw the mean gradient norms, a row a layer, the first on top, by logarithm.

    A layer without gradient, or without a finite one, is left blank.

    Args:
        figure: an empty Matplotlib figure of this `size`.
        epochs: those of a `GradientMonitor`, one at least.
    """
    values = norms(epochs)
    logs = np.ma.log10(np.ma.masked_less_equal(np.ma.masked_invalid(values), 0))
    axes = figure.subplots()
    image = axes.imshow(logs, "cividis", aspect="auto", interpolation="none")
    layers = list(epochs[0]["layers"])
    step = -(-len(layers) // 50)
    axes.set_yticks(range(0, len(layers), step), layers[::step])
    step = -(-len(epochs) // 12)
    numbers = [record["epoch"] for record in epochs]
    axes.set_xticks(range(0, len(epochs), step), numbers[::step])
    axes.set_xlabel("epoch")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if logs.count():
        figure.colorbar(
            image, label="gradient norm", format=lambda power, _: f"{10**power:.2g}"
        )
