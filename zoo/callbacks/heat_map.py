"""The gradients of a training as a picture: layers by epochs."""

import numpy as np


def size(epochs: list[dict]) -> tuple[float, float]:
    """Return a figure's width and height in inches that leave room for all labels."""
    return 6.4, 1.6 + 0.25 * len(epochs[0]["layers"])


def draw(axes, epochs: list[dict]) -> None:
    """Draw the mean gradient norm of each layer in each epoch, on a logarithmic scale.

    The first layer is at the top. White is a layer without gradient, or without a
    finite one.

    Args:
        axes: Matplotlib axes.
        epochs: those of a `GradientMonitor`, one at least.
    """
    layers = list(epochs[0]["layers"])
    norms = np.array(
        [
            [e["layers"][name]["gradient_norm"] or np.nan for e in epochs]
            for name in layers
        ],
        dtype=float,
    )
    picture = axes.imshow(
        np.log10(norms), aspect="auto", cmap="cividis", interpolation="nearest",
        extent=(epochs[0]["epoch"] - 0.5, epochs[-1]["epoch"] + 0.5, len(layers), 0),
    )  # fmt: skip
    axes.set_yticks(np.arange(len(layers)) + 0.5, layers)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.figure.colorbar(picture, ax=axes, label="gradient norm, log10 of the mean")
