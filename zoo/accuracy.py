"""The accuracy of a classifier on images: as they are, or moved."""

import statistics

import numpy as np


def predict(model, images: np.ndarray) -> np.ndarray:
    """Return the outputs of a model, float `(n, classes)`.

    Unlike `model.predict` it traces no graph, which takes longer than a small network
    does for a whole test set.

    Args:
        model: a `keras.Model`, on any backend.
        images: uint8 `(n, height, width, channels)`.
    """
    from keras import ops

    parts = (images[at : at + 500] for at in range(0, len(images), 500))
    return np.concatenate(
        [ops.convert_to_numpy(model(part, training=False)) for part in parts]
    )


def accuracy(model, examples) -> float:
    """Return the share of examples whose class gets the largest output.

    Args:
        model: a `keras.Model`.
        examples: `(images, labels)`, such as `zoo.data.Examples`.
    """
    images, labels = examples
    return float((predict(model, images).argmax(-1) == labels).mean())


def moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """Return images `(n, height, width, channels)` moved by pixels; zeros come in."""
    height, width = images.shape[1:3]
    margin = max(abs(down), abs(right))
    wide = np.pad(images, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    top, left = margin - down, margin - right
    return wide[:, top : top + height, left : left + width]


def accuracy_moved(model, examples, pixels: int) -> float:
    """Return the accuracy on images that are moved, the mean over four directions."""
    images, labels = examples
    ways = [(0, pixels), (0, -pixels), (pixels, 0), (-pixels, 0)]
    return statistics.fmean(
        accuracy(model, (moved(images, *way), labels))
        for way in (ways if pixels else ways[:1])
    )
