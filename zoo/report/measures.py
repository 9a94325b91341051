"""The numbers of a report, from test labels and predicted probabilities alone."""

from typing import NamedTuple

import numpy as np


class PerClass(NamedTuple):
    """Arrays with an entry a class; NaN where there is nothing to divide by."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class Calibration(NamedTuple):
    """How far confidence can be believed.

    Attributes:
        count: images in each bin of confidence.
        confidence: their mean confidence; NaN in an empty bin.
        accuracy: the share of them that is right; NaN in an empty bin.
        error: the expected calibration error, 0 to 1.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def confusion(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """Count the images of each class (row) that were read as each class (column)."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def per_class(matrix: np.ndarray) -> PerClass:
    """Return precision, recall, F1 and support from a confusion matrix."""
    right, support, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    return PerClass(
        _ratio(right, predicted),
        _ratio(right, support),
        _ratio(2 * right, support + predicted),
        support,
    )


def calibration(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 15
) -> Calibration:
    """Compare the confidence of the predictions with how often they are right.

    Args:
        labels: int `(n,)`.
        probabilities: float `(n, classes)`.
        bins: of equal width, each with its upper edge, over confidences 0 to 1.

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    confidences = np.bincount(index, confidence, bins)
    rights = np.bincount(index, right, bins)
    error = np.abs(confidences - rights).sum() / len(labels)
    return Calibration(
        count, _ratio(confidences, count), _ratio(rights, count), float(error)
    )


def worst_mistakes(
    labels: np.ndarray, probabilities: np.ndarray, most: int
) -> np.ndarray:
    """Return the indices of wrong predictions, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    order = np.argsort(-probabilities[wrong].max(1), kind="stable")
    return wrong[order[:most]]


def confused_pairs(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Return `(true, predicted, count)`, the most frequent mistake first."""
    mistakes = matrix - np.diag(matrix.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    pairs = np.column_stack([*np.unravel_index(order, matrix.shape)]).tolist()
    return [(t, p, int(mistakes[t, p])) for t, p in pairs if mistakes[t, p]]


def pair_examples(
    labels: np.ndarray, probabilities: np.ndarray, true: int, predicted: int, most: int
) -> np.ndarray:
    """Return the indices of images of `true` that were read as `predicted`."""
    confused = (labels == true) & (probabilities.argmax(1) == predicted)
    return np.flatnonzero(confused)[:most]


def nearest_neighbour_accuracy(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of points whose nearest other point has the same label.

    Args:
        points: float `(n, 2)`, n at least 2.
        labels: int `(n,)`.
    """
    distances = ((points[:, None] - points[None]) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(1)] == labels).mean())


def _ratio(numerator, denominator):
    nan = np.full(len(denominator), np.nan)
    return np.divide(numerator, denominator, out=nan, where=denominator > 0)
