"""Row 2: the perceptron of the lecture against sums by hand and SciPy."""

import math

import numpy as np
import pytest
from scipy.special import expit

from tests.course.rows import check
from zoo.recipes import perceptron_by_hand as row


def test_the_row(tmp_path, monkeypatch, capsys):
    check("perceptron_by_hand", tmp_path, monkeypatch, capsys)


def test_the_answer_at_the_point_of_the_lecture():
    z = 1 + 3 * -1 - 2 * 2
    assert row.weighted(np.array([-1.0, 2.0])) == z == -6
    answer = row.perceptron()(np.array([[-1.0, 2.0]]))[0, 0]
    assert float(answer) == pytest.approx(1 / (1 + math.exp(6)), rel=1e-5)
    assert round(float(answer), 4) == 0.0025


def test_its_answers_are_the_sigmoid_of_the_sum():
    x = np.random.default_rng(0).normal(size=(50, 2))
    answers = np.array(row.perceptron(2.0)(x))[:, 0]
    np.testing.assert_allclose(answers, expit(2 + 6 * x[:, 0] - 4 * x[:, 1]), 1e-4)


def test_the_nearest_point_is_on_the_line_and_at_the_closed_form_distance():
    point = np.array([-1.0, 2.0])
    foot = row.nearest(point)
    assert 1 + 3 * foot[0] - 2 * foot[1] == pytest.approx(0, abs=1e-12)
    assert row.line(foot[0]) == pytest.approx(foot[1])
    assert np.linalg.norm(foot - point) == pytest.approx(6 / math.sqrt(13))
