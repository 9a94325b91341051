"""Row 24: what searches find in a table, and how much each hyper-parameter matters."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import random_search


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("random_search", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["grid_rates"]["mean"] < numbers["random_rates"]["mean"]
    assert numbers["random_best"]["mean"] <= numbers["best"]["mean"]


def test_shares_of_a_sum_are_those_of_its_terms():
    a, b = np.array([0.0, 3.0, 6.0]), np.array([0.0, 1.0])  # variances 6 and 1/4
    shares = random_search.shares(a[:, None] + b)
    np.testing.assert_allclose(shares, [6 / 6.25, 0.25 / 6.25])


@pytest.mark.parametrize("tuner", random_search.TUNERS)
def test_a_search_looks_up_its_trials(tuner):
    values = {"learning rate": tuple(range(1, 10)), "width": (8, 16, 32)}
    results = np.arange(27).reshape(9, 3) / 27
    scores, rates = random_search.search(tuner, results, values, trials=6, seed=1)
    assert len(scores) == len(rates) <= 6
    assert all(
        score in results[rate - 1] for score, rate in zip(scores, rates, strict=True)
    )
    assert len(set(scores)) == len(scores)  # none is tried twice
