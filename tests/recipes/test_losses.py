"""Row 9: losses against sums by hand, NumPy, SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from tests.course.rows import check
from zoo.recipes import losses

P = np.array([0.1, 0.4, 0.7, 0.95])


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("losses", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["binary"]["mean"] == pytest.approx(np.log(10), rel=1e-5)


@pytest.mark.parametrize(
    "name, values",
    [
        ("squared", [0.81, 0.36, 0.09, 0.0025]),
        ("absolute", [0.9, 0.6, 0.3, 0.05]),
        ("zero_one", [1, 1, 0, 0]),
        ("hinge", [1.8, 1.2, 0.6, 0.1]),
        ("binary", -np.log(P)),
        ("categorical", -np.log(P)),
    ],
)
def test_losses_by_hand(name, values):
    np.testing.assert_allclose(losses.losses(P)[name], values, rtol=1e-4)


def test_losses_are_those_of_scikit_learn():
    found = {name: np.array(value) for name, value in losses.losses(P).items()}
    two = {"labels": [0, 1]}
    for i, p in enumerate(P):
        expected = {
            "squared": metrics.mean_squared_error([1], [p]),
            "absolute": metrics.mean_absolute_error([1], [p]),
            "zero_one": metrics.zero_one_loss([1], [int(p > 0.5)]),
            "hinge": 2 * metrics.hinge_loss([0, 1], [-1, 2 * p - 1]),
            "binary": metrics.log_loss([1], [[1 - p, p]], **two),
            "categorical": metrics.log_loss([1], [[1 - p, p]], **two),
        }
        assert {k: v[i] for k, v in found.items()} == pytest.approx(expected, rel=1e-4)


def test_a_prediction_of_0_costs_what_the_clip_allows():
    worst = float(losses.losses([0.0])["binary"][0])
    assert worst == pytest.approx(-np.log(1e-7), rel=1e-3)


def test_pulls_are_the_closed_forms_and_the_differences():
    pulls = losses.pulls(P)
    np.testing.assert_allclose(pulls["binary"], P - 1, rtol=1e-4)
    np.testing.assert_allclose(pulls["squared"], 2 * (P - 1) * P * (1 - P), rtol=1e-4)
    np.testing.assert_allclose(pulls["hinge"], -2 * P * (1 - P), rtol=1e-4)
    assert pulls["zero_one"].tolist() == [0] * 4
    z, step = special.logit(P), 1e-3
    for name in ("absolute", "categorical"):
        above, below = (
            np.array(losses.losses(special.expit(z + d))[name]) for d in (step, -step)
        )
        np.testing.assert_allclose(pulls[name], (above - below) / 2 / step, atol=1e-3)
