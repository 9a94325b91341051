"""Row 12: the drawn students against their rule, the losses against scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tests.course.rows import check
from zoo import ZooError
from zoo.data import toys
from zoo.recipes import exam


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("exam", tmp_path, monkeypatch, capsys)["numbers"]
    truth = stats.norm.cdf((100 * (1 - np.exp(-10 / 12)) - 50) / 6)
    assert truth == pytest.approx(0.86, abs=0.005)
    assert numbers["trained"]["mean"] == pytest.approx(truth, abs=0.1)


def test_the_truth_by_hand():
    chance, grade = toys.exam_truth([[4, 5], [0, 0], [12 * np.log(2), 0]])
    np.testing.assert_allclose(grade, [100 * (1 - np.exp(-10 / 12)), 0, 50])
    np.testing.assert_allclose(chance, stats.norm.cdf((grade - 50) / 6), atol=1e-12)
    assert chance[2] == pytest.approx(0.5)


def test_students_follow_the_truth_give_or_take_luck():
    students = toys.exam(20_000, seed=1)
    assert students.x.shape == (20_000, 2) and students.x.dtype == np.float32
    assert 0 <= students.x.min() and students.x.max() <= 10
    np.testing.assert_array_equal(students.y, students.grade >= 50)
    chance, grade = toys.exam_truth(students.x)
    luck = students.grade - grade
    assert abs(luck.mean()) < 0.2 and luck.std() == pytest.approx(6, rel=0.02)
    assert students.y.mean() == pytest.approx(chance.mean(), abs=0.01)
    for part, again in zip(students, toys.exam(20_000, seed=1), strict=True):
        np.testing.assert_array_equal(part, again)
    assert not np.array_equal(students.x, toys.exam(20_000, seed=2).x)
    with pytest.raises(ZooError, match="n must be a positive integer"):
        toys.exam(0, seed=0)


def test_classes_are_side_by_side():
    known = exam.classes(30, [4, 9])
    assert known.x.shape == (30, 2, 2) and known.y.shape == (30, 2)
    np.testing.assert_array_equal(known.grade[:, 1], toys.exam(30, 9).grade)


def test_cross_entropy_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, (50, 2)), rng.uniform(0.01, 0.99, (50, 2))
    expected = [metrics.log_loss(y[:, i], p[:, i]) for i in (0, 1)]
    np.testing.assert_allclose(exam.cross_entropy(y, p), expected)


@pytest.mark.parametrize("passes", [True, False])
def test_the_networks_answer_by_hand(passes):
    model = exam.network(2, passes)
    kernel, bias = np.zeros((2, 2, 16)), np.zeros((2, 16))
    kernel[0, 0, 0] = kernel[1, 1, 0] = 5  # the member's own feature, less 5
    top, shift = np.zeros((2, 16, 1)), np.array([[0], [1]])
    top[:, 0] = 0.5
    model.set_weights([kernel, bias, top, shift])
    # Features of 7 and 3 are 0.4 and -0.4: ReLU of 5 times that, halved: 1 and 0.
    z = np.array([[1.0, 0 + 1], [0, 1 + 1]])
    expected = 1 / (1 + np.exp(-z)) if passes else 50 + 20 * z
    answers = exam.ask(model, [[7, 3], [3, 7]])
    np.testing.assert_allclose(answers, expected, rtol=1e-5)
