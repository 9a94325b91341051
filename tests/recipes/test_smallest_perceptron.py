"""Row 5: the update by hand, least squares, and the factors by which errors grow."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import smallest_perceptron as row


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("smallest_perceptron", tmp_path, monkeypatch, capsys)["numbers"]
    best = (10 * 10.1 + 2 * 1.9 + 3.5 * 3.4 + 1 * 1.1) / (100 + 4 + 12.25 + 1)
    assert numbers["least_squares"]["mean"] == pytest.approx(best, rel=1e-12)
    assert numbers["learned"]["mean"] == pytest.approx(best, abs=1e-5)


def test_the_first_updates_are_those_by_hand():
    first = 0.001 * 10.1 * 10
    second = first + 0.001 * (1.9 - first * 2) * 2
    path = row.loop(row.X, row.Y, 0.001, 1)[:, 0]
    np.testing.assert_allclose(path[:3], [0, first, second])
    assert len(path) == 5


def test_keras_takes_the_same_steps_with_two_inputs_as_well():
    theirs = row.keras_path(row.X2, row.Y2, 0.002, 3)
    assert theirs.shape == (13, 2)
    np.testing.assert_allclose(
        row.loop(row.X2, row.Y2, 0.002, 3), theirs, rtol=1e-5, atol=1e-7
    )


def test_with_eta_1_the_last_point_takes_the_weight_to_its_own_slope():
    path = row.loop(row.X, row.Y, 1.0, 3)[:, 0]
    np.testing.assert_allclose(path[4::4], 1.1)  # x = 1: the factor is 1 - 1
    assert path[7] == pytest.approx(-297.475)


@pytest.mark.parametrize("eta, converges", [(0.0168, True), (0.0172, False)])
def test_all_points_together_need_a_step_below_2_over_the_sum_of_squares(
    eta, converges
):
    path = row.together(row.X, row.Y, eta, 3000)[:, 0]
    assert bool(abs(path[-1] - 117.8 / 117.25) < 1e-6) is converges
