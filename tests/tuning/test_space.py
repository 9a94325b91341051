"""The whole space of a function, and grids over it."""

import keras_tuner
import pytest

from zoo.tuning import space


def names(found):
    return [hp.name for hp in found.space]


def test_conditions_are_explored():
    def declare(hp):
        kind = hp.Choice("kind", ["plain", "deep", "odd"])
        with hp.conditional_scope("kind", ["deep"]):
            if kind == "deep" and hp.Boolean("more"):
                with hp.conditional_scope("more", [True]):
                    hp.Int("depth", 2, 9)
            hp.Float("rate", 0, 1)
        with hp.conditional_scope("kind", ["odd"]):
            if kind == "odd":
                hp.Int("oddity", 1, 3)

    found = space.explore(declare)
    assert set(names(found)) == {"kind", "more", "rate", "oddity"}
    assert found.values == {"kind": "plain"}
    found.values["kind"] = "deep"
    assert found.is_active("rate") and not found.is_active("oddity")


def test_the_same_name_under_two_conditions():
    def declare(hp):
        hp.Choice("kind", ["a", "b"])
        for kind in "ab":
            with hp.conditional_scope("kind", [kind]):
                hp.Int("width", 1, 3 if kind == "a" else 30)

    found = space.explore(declare)
    assert names(found) == ["kind", "width", "width"]
    assert found.values == {"kind": "a", "width": 1}


@pytest.fixture
def cube():
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1, sampling="log", default=0.1)
    hp.Choice("kind", ["a", "b"], default="b")
    hp.Int("width", 1, 9, default=5)
    return hp


@pytest.mark.parametrize(
    ("trials", "points"),
    # In turn, in order: 2, 2x2, 2x2x2, 3x2x2 (kind has no third), 3x2x3.
    [
        (1, (1, 1, 1)),
        (2, (2, 1, 1)),
        (3, (3, 1, 1)),
        (4, (2, 2, 1)),
        (11, (2, 2, 2)),
        (12, (3, 2, 2)),
        (18, (3, 2, 3)),
    ],
)
def test_a_grid_has_no_more_points_than_trials(cube, trials, points):
    grid = space.grid(cube, trials)
    assert tuple(len(hp.values) for hp in grid.space) == points
    found = list(space.configurations(grid))
    assert len(found) == points[0] * points[1] * points[2] <= trials
    assert len({tuple(values.items()) for values in found}) == len(found)


def test_the_points_of_a_grid_are_spread_as_the_range_is_sampled(cube):
    rate, kind, width = space.grid(cube, 12).space
    assert rate.values == pytest.approx([1e-4 * 10 ** (4 * k / 6) for k in (1, 3, 5)])
    assert kind.values == ["a", "b"]
    assert width.values == [3, 7]
    assert space.grid(cube, 2).values == pytest.approx(
        {"rate": 1e-3, "kind": "b", "width": 5}
    )


def test_a_condition_counts_where_it_holds():
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["plain", "deep"])
    with hp.conditional_scope("kind", ["deep"]):
        hp.Int("depth", 1, 4)
    grid = space.grid(hp, 3)
    assert (
        list(space.configurations(grid))
        == [
            {"kind": "plain"},
            {"kind": "deep", "depth": 1},
            {"kind": "deep", "depth": 3},
        ]
        or len(list(space.configurations(grid))) == 3
    )
