import dataclasses

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from zoo.tuning.importance import Importance, _ranks, _shuffled, importance
from zoo.tuning.records import Trial
from zoo.tuning.scales import Axis

AXES = [Axis("noise", 0, 1), Axis("slope", 0, 1), Axis("step", levels=("a", "b"))]


def trials(count, score, seed=0):
    random, made = np.random.default_rng(seed), []
    for number in range(1, count + 1):
        values = {"noise": random.random(), "slope": random.random()}
        values["step"] = str(random.choice(["a", "b"]))
        made.append(Trial(number, "", values, "completed", (score(values, random),)))
    return made


def both(values, random):
    return values["slope"] + 0.5 * (values["step"] == "b")


def test_what_moves_the_score_is_told_from_what_does_not():
    found = importance(AXES, trials(60, both))
    assert set(found.names[:2]) == {"slope", "step"} and found.names[2] == "noise"
    assert found.notable == found.names[:2]
    assert found.trials == 60 and found.r2 > 0.7
    assert abs(found.mean[2]) < 0.05 and (found.spread > 0).all()


def test_the_same_trials_have_the_same_importance():
    one, other = (importance(AXES, trials(20, both)) for _ in range(2))
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.spread, other.spread)


def test_r2_is_that_of_scikit_learn_out_of_bag():
    random = np.random.default_rng(0)
    table = random.random((30, 3))
    target = table[:, 0] + 0.1 * random.random(30)
    forest = RandomForestRegressor(
        200, max_features=1 / 3, oob_score=True, random_state=0
    ).fit(table, target)
    r2, losses = _shuffled(table, target)
    assert r2 == pytest.approx(forest.oob_score_)
    assert losses.shape == (3, 10)


def test_a_column_that_no_tree_uses_costs_nothing():
    table = np.random.default_rng(0).random((30, 2))
    table[:, 1] = 7
    _, losses = _shuffled(table, table[:, 0])
    assert (losses[1] == 0).all() and (losses[0] > 0.5).all()


def test_one_diverged_loss_does_not_hide_the_rest():
    made = trials(40, both)
    diverged = dataclasses.replace(made[0], scores=(1e12,))
    assert importance(AXES, [diverged, *made[1:]]).notable


def test_ranks_of_equals_are_shared():
    np.testing.assert_array_equal(_ranks([0.5, 0.1, 0.5, 0.9]), [2.5, 1, 2.5, 4])


def test_an_inactive_value_is_a_value_of_its_own():
    """Whether it is active is all that matters: the values where it is do not."""
    made = trials(40, lambda values, random: random.random())
    for trial in made:
        if trial.number % 2:
            del trial.values["slope"]
    made = [dataclasses.replace(t, scores=(float(t.number % 2),)) for t in made]
    assert importance(AXES, made).notable == ["slope"]


@pytest.mark.parametrize(
    "made, words",
    [
        (trials(9, both), "at least 10 completed trials, and here are 9."),
        (trials(20, lambda *_: 0.5), "nothing varied"),
        (
            trials(30, lambda _, random: random.random()),
            "does not predict the score from them (out-of-bag R² -",
        ),
    ],
)
def test_what_cannot_be_told_is_said(made, words):
    found = importance(AXES, made)
    assert isinstance(found, str) and words in found
    failed = [Trial(n, "", {}, "failed") for n in range(30)]
    assert "here are 0" in importance(AXES, failed)


def test_what_stands_out_is_large_and_larger_than_twice_its_deviation():
    mean, spread = np.array([0.5, 0.5, 0.04]), np.array([0.1, 0.3, 0.001])
    assert Importance(["a", "b", "c"], mean, spread, 0.5, 20).notable == ["a"]
