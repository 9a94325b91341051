"""The generated sets are what their names say."""

import numpy as np
import pytest

from zoo import ZooError
from zoo.data import toys

SETS = [toys.blobs, toys.quadrants, toys.ring, toys.three_modes, toys.spirals]


@pytest.mark.parametrize("make", SETS)
def test_points_are_of_two_equal_classes_and_repeatable(make):
    x, y = make(401, seed=3)
    assert x.shape == (401, 2) and x.dtype == np.float32 and y.dtype == np.int64
    assert np.bincount(y).tolist() == [201, 200] and np.isfinite(x).all()
    np.testing.assert_array_equal(make(401, seed=3).x, x)
    assert not np.array_equal(make(401, seed=4).x, x)
    with pytest.raises(ZooError, match="n must be a positive integer"):
        make(0, seed=0)


@pytest.mark.parametrize(
    "name, outputs",
    [("and", [0, 0, 0, 1]), ("or", [0, 1, 1, 1]), ("xor", [0, 1, 1, 0])],
)
def test_gates_are_truth_tables(name, outputs):
    x, y = toys.gate(name)
    assert x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] and y.tolist() == outputs


def test_opposite_quadrants_are_one_class():
    x, y = toys.quadrants(1000, 0)
    assert np.array_equal(y == 1, x[:, 0] * x[:, 1] < 0)
    for signs in np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]):
        assert (np.sign(x) == signs).all(1).sum() > 150


def test_the_ring_lies_between_norm_1_and_2():
    x, y = toys.ring(4000, 0)
    norm = np.linalg.norm(x, axis=1)
    assert np.array_equal(y == 1, (norm >= 1) & (norm <= 2)) and norm.max() < 3
    # Uniform over the area: a sixth of the others are within the ring (1 of 1 + 5).
    assert (norm[y == 0] < 1).mean() == pytest.approx(1 / 6, abs=0.02)


def test_a_line_nearly_separates_the_blobs():
    from scipy.stats import norm

    x, y = toys.blobs(20_000, 0, distance=2.0)
    right = ((x @ [0.8, 0.6] > 0) == y).mean()
    assert right == pytest.approx(norm.cdf(1), abs=0.01)  # half the distance, in sds


def test_three_modes_have_their_class_around_three_corners():
    from sklearn.neighbors import KNeighborsClassifier

    x, y = toys.three_modes(2000, 0)
    angles = np.arctan2(x[y == 1, 1], x[y == 1, 0])
    thirds = np.floor((angles - np.pi / 6) % (2 * np.pi) / (2 * np.pi / 3))
    assert np.bincount(thirds.astype(int), minlength=3).min() > 250
    assert KNeighborsClassifier(5).fit(x[::2], y[::2]).score(x[1::2], y[1::2]) > 0.97


def test_spirals_are_arms_half_a_turn_apart():
    x, y = toys.spirals(2000, 0)
    flipped = np.where(y[:, None] == 1, -x, x)  # half a turn: one arm on the other
    angle = np.arctan2(flipped[:, 1], flipped[:, 0])
    along = 2 * np.pi * 1.5 * np.linalg.norm(flipped, axis=1) / 2
    apart = np.abs((along - angle + np.pi) % (2 * np.pi) - np.pi)
    assert np.median(apart) < 0.3


def test_a_gate_that_is_none_is_named():
    with pytest.raises(ValueError, match="Did you mean 'and'"):
        toys.gate("nand")


def test_three_modes_of_one_point_have_a_point():
    points = toys.three_modes(1, seed=136)  # whose first draw has none of its class
    assert points.x.shape == (1, 2) and points.y.shape == (1,)
