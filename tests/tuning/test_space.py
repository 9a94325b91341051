"""The whole space of a function, and grids over it."""

import keras_tuner
import pytest

from zoo.recipes import fashion_mnist
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
    assert set(names(found)) == {"kind", "more", "depth", "rate", "oddity"}
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


def test_what_exists_for_some_values_only_is_found():
    def declare(hp):
        for layer in range(hp.Int("layers", 1, 3)):
            hp.Int(f"units_{layer}", 4, 8)
        if hp.Choice("kind", ["plain", "odd", "even"]) == "even":
            hp.Float("evenness", 0, 1)

    found = space.explore(declare)
    assert names(found) == ["layers", "units_0", "kind", "units_1", "units_2"] + [
        "evenness"
    ]
    assert found.values["layers"] == 1 and found.values["units_2"] == 4


@pytest.fixture
def cube():
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1, sampling="log", default=0.1)
    hp.Boolean("bias")
    hp.Int("width", 1, 9, default=5)
    return hp


@pytest.mark.parametrize(
    ("most", "points"),
    # In turn, in order: 2, 2x2, 2x2x2, 3x2x2 (bias has no third), 3x2x3.
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
def test_a_grid_has_no_more_points_than_it_may(cube, most, points):
    grid = space.grid(cube, most)
    values = [{each[name] for each in grid} for name in ("rate", "bias", "width")]
    assert tuple(map(len, values)) == points
    assert len(grid) == points[0] * points[1] * points[2] <= most
    assert len({tuple(each.items()) for each in grid}) == len(grid)
    assert all(isinstance(each["bias"], bool) for each in grid)


def test_the_points_of_a_grid_are_spread_as_the_range_is_sampled(cube):
    grid = space.grid(cube, 12)
    rates = sorted({each["rate"] for each in grid})
    assert rates == pytest.approx([1e-4 * 10 ** (4 * k / 6) for k in (1, 3, 5)])
    assert {each["width"] for each in grid} == {3, 7}
    assert space.grid(cube, 1) == [{"rate": 0.1, "bias": False, "width": 5}]


def test_what_is_active_nowhere_yet_waits():
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["plain", "deep"])
    with hp.conditional_scope("kind", ["deep"]):
        hp.Int("depth", 1, 4)
    assert space.grid(hp, 1) == [{"kind": "plain"}]
    deep = [{"kind": "deep", "depth": depth} for depth in (2, 4)]
    assert space.grid(hp, 3) == [{"kind": "plain"}, *deep]


@pytest.mark.parametrize("model", fashion_mnist.PRESETS)
def test_a_grid_over_the_recipe(model):
    preset = fashion_mnist.PRESETS[model]
    whole = space.explore(lambda hp: fashion_mnist.space(hp, preset))
    sizes = [len(space.grid(whole, most)) for most in range(1, 41)]
    assert all(size <= most for most, size in enumerate(sizes, start=1))
    assert sizes[0] == 1 and sizes[-1] > 20
