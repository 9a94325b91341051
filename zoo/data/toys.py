"""Generated sets for learners: points in the plane with two classes, and logic.

Each returns `Points`: float32 `(n, 2)` and int64 `(n,)`, class 0 or 1. The same seed
gives the same points.
"""

import math
from typing import NamedTuple

import numpy as np

from zoo.errors import positive_integer, unknown


class Points(NamedTuple):
    """Points and their classes.

    Attributes:
        x: float32 `(n, features)`.
        y: int64 `(n,)`.
    """

    x: np.ndarray
    y: np.ndarray


_CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)


def gate(name: str) -> Points:
    """Return the truth table of `"and"`, `"or"` or `"xor"`, in order of the inputs."""
    a, b = _CORNERS.astype(bool).T
    tables = {"and": a & b, "or": a | b, "xor": a ^ b}
    if name not in tables:
        raise unknown("gate", name, tables)
    return Points(_CORNERS.copy(), tables[name].astype(np.int64))


def blobs(n: int, seed: int, distance: float = 2.0) -> Points:
    """Return two round clouds, green (0) and red (1), that a line nearly separates.

    Args:
        n: number of points, half of each class.
        seed: decides them.
        distance: between the centres, in standard deviations of a cloud.
    """
    rng, y = _begin(n, seed)
    centres = (y[:, None] - 0.5) * distance * np.array([0.8, 0.6])
    return _points(rng.normal(size=(n, 2)) + centres, y)


def quadrants(n: int, seed: int) -> Points:
    """Return points of [-1, 1]²: class 1 where the coordinates have opposite signs."""
    rng, y = _begin(n, seed)
    x = rng.uniform(0, 1, (n, 2)) * rng.choice([-1, 1], (n, 1))
    x[:, 0] *= np.where(y == 1, -1, 1)
    return _points(x, y)


def ring(n: int, seed: int) -> Points:
    """Return points with norm below 3: class 1 is the ring 1 <= norm <= 2."""
    rng, y = _begin(n, seed)
    # Uniform over the area: inside the ring, or in the disc and the rim around it.
    squares = rng.uniform(0, 1, n)
    outside = np.where(squares * 6 < 1, squares * 6, squares * 6 + 3)
    radius = np.sqrt(np.where(y == 1, 1 + 3 * squares, outside))
    angle = rng.uniform(0, 2 * np.pi, n)
    return _points(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), y)


def three_modes(n: int, seed: int) -> Points:
    """Return three clouds of class 1 at the corners of a triangle, class 0 around."""
    rng, y = _begin(n, seed)
    angles = np.array([90, 210, 330]) * np.pi / 180
    corners = 1.5 * np.stack([np.cos(angles), np.sin(angles)], 1)
    red = corners[rng.integers(3, size=n)] + 0.3 * rng.normal(size=(n, 2))
    green = np.empty((0, 2))
    while len(green) < n:  # the first draw is enough but for the smallest n
        more = rng.uniform(-2.5, 2.5, (4 * n, 2))
        near = np.linalg.norm(more[:, None] - corners, axis=-1).min(1) < 0.9
        green = np.concatenate([green, more[~near]])
    return _points(np.where(y[:, None] == 1, red, green[:n]), y)


def spirals(n: int, seed: int, turns: float = 1.5) -> Points:
    """Return two arms of a spiral, one a class.

    Args:
        n: number of points, half of each class.
        seed: decides them.
        turns: of each arm.
    """
    rng, y = _begin(n, seed)
    along = np.sqrt(rng.uniform(0.02, 1, n))
    angle = 2 * np.pi * turns * along + np.pi * y
    x = along[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return _points(2 * x + 0.05 * rng.normal(size=(n, 2)), y)


class Exam(NamedTuple):
    """Students of a class.

    Attributes:
        x: float32 `(n, 2)`: lectures attended and hours on the project, 0 to 10 each.
        y: int64 `(n,)`: 1 where the final grade is 50 or more, which passes.
        grade: float32 `(n,)`: `exam_truth`'s grade and normal noise of `EXAM_NOISE`.
    """

    x: np.ndarray
    y: np.ndarray
    grade: np.ndarray


EXAM_NOISE = 6.0  # standard deviation of a grade around its rule


def exam(n: int, seed: int) -> Exam:
    """Return students whose final grade follows `exam_truth`, give or take luck."""
    positive_integer("n", n)
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, (n, 2))
    grade = exam_truth(x)[1] + EXAM_NOISE * rng.normal(size=n)
    return Exam(*_points(x, grade >= 50), grade.astype(np.float32))


def exam_truth(x) -> tuple[np.ndarray, np.ndarray]:
    """Return the true probability to pass and the mean grade of students of `exam`.

    The mean grade is 100 (1 - exp(-(lectures + 1.2 hours) / 12)).

    Args:
        x: `(..., 2)`, lectures and hours.
    """
    grade = 100 * (1 - np.exp(-(np.asarray(x, float) @ [1, 1.2]) / 12))
    above = (grade - 50) / (EXAM_NOISE * math.sqrt(2))
    return (1 + np.vectorize(math.erf)(above)) / 2, grade


def _begin(n, seed):
    """Return a generator and labels, half of each class."""
    positive_integer("n", n)
    rng = np.random.default_rng(seed)
    return rng, rng.permutation(np.arange(n) % 2)


def _points(x, y):
    return Points(x.astype(np.float32), y.astype(np.int64))
