import math

import keras_tuner
import pytest

from tests.tuning import searches
from zoo.tuning.records import Search, Trial
from zoo.tuning.scales import Axis, Objective, axes, digits_for, holds

LOG = Axis("learning_rate", 1e-4, 1e-2, "log")
REVERSED = Axis("momentum", 1.0, 100.0, "reverse_log")
LINEAR = Axis("width", 10, 50)
WORDS = Axis("activation", levels=("relu", "tanh"))


@pytest.mark.parametrize(
    "axis, value, place",
    [
        (LINEAR, 10, 0),
        (LINEAR, 20, 0.25),
        (LINEAR, 50, 1),
        (LINEAR, 51, math.nan),
        (LINEAR, None, math.nan),  # inactive
        (LOG, 1e-4, 0),
        (LOG, 1e-3, 0.5),
        (LOG, 1e-2, 1),
        (REVERSED, 1, 0),
        (REVERSED, 91, 0.5),  # 100 + 1 - 10: the distance from the end is what is log
        (REVERSED, 100, 1),
        (WORDS, "relu", 0.25),
        (WORDS, "tanh", 0.75),
        (WORDS, None, math.nan),
    ],
)
def test_where_a_value_lies(axis, value, place):
    assert axis.place(value) == pytest.approx(place, nan_ok=True)


def test_keras_tuner_puts_values_at_the_same_places():
    hp = keras_tuner.HyperParameters()
    for sampling in ("linear", "log", "reverse_log"):
        hp.Float(sampling, 0.5, 40, sampling=sampling)
    for one in hp.space:
        axis = Axis(one.name, one.min_value, one.max_value, one.sampling)
        for value in (0.5, 0.7, 3.0, 39.0):
            assert axis.place(value) == pytest.approx(one.value_to_prob(value))


@pytest.mark.parametrize(
    "axis, labels",
    [
        (LOG, ["0.0001", "0.001", "0.01"]),
        (Axis("a", 16, 512, "log"), ["16", "50", "100", "200", "512"]),
        (Axis("a", 1, 4), ["1", "2", "3", "4"]),
        (Axis("a", 0.0, 0.37), ["0", "0.1", "0.2", "0.3", "0.37"]),
        (Axis("a", 0.99, 0.9999), ["0.99", "0.9925", "0.995", "0.9975", "0.9999"]),
        (Axis("a", 1000000, 1999999), ["1,000,000", "1,500,000", "1,999,999"]),
        (Axis("a", 1, 10**7), ["1", "2.5e+06", "5e+06", "7.5e+06", "1e+07"]),
        (Axis("a", 0.1 + 0.2, 0.7), ["0.3", "0.4", "0.5", "0.6", "0.7"]),
        (Axis("a", levels=(0.9, 0.9999)), ["0.9", "0.9999"]),
        (Axis("a", levels=(1.0001, 1.0002)), ["1.0001", "1.0002"]),
        (WORDS, ["relu", "tanh"]),
        (Axis("a", levels=(False, True)), ["no", "yes"]),
        (Axis("a", levels=tuple(range(30))), [str(n) for n in range(0, 30, 3)]),
    ],
)
def test_both_ends_and_round_values_are_named(axis, labels):
    ticks = axis.ticks()
    assert [text for _, text in ticks] == labels
    assert [place for place, _ in ticks] == sorted(place for place, _ in ticks)


def test_all_ticks_of_a_narrow_range_differ():
    """Four labels of ten characters have room, five of nine have not."""
    texts = [text for _, text in Axis("seed", 10000000, 10000050).ticks()]
    assert texts == ["10,000,000", "10,000,015", "10,000,030", "10,000,050"]
    assert Axis("rate", 1e-3, 1e-3 + 1e-9).ticks()[-1] == (1, "0.001000001")


def test_a_value_has_the_digits_of_its_axis():
    assert Axis("a", 0.99, 0.9999).text(0.99684) == "0.9968"
    assert Axis("a", 0.5, 0.99).text(0.99684) == "0.997"
    assert digits_for((0.5, 0.5)) == 3 and digits_for((0.5001, 0.5002)) == 4


def test_the_axes_of_a_search_are_what_varies(tmp_path):
    hp = searches.space()
    hp.Fixed("optimizer", "adam")
    hp.Choice("batch_size", [128, 32])
    trials = searches.trials(2, hp)
    found = axes(Search(searches.write(tmp_path / "a", trials, hp)))
    assert found == [
        Axis("learning_rate", 1e-5, 1e-1, "log"),
        Axis("width", 16, 512),
        Axis("normalize", levels=(False, True)),
        Axis("regularization", levels=("none", "dropout")),
        Axis("rate", 0.1, 0.5),
        Axis("batch_size", levels=(32, 128)),
    ]


def test_one_name_under_two_conditions_is_one_axis(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        hp.Int("size", 1, 4)
    with hp.conditional_scope("kind", ["b"]):
        hp.Int("size", 3, 9)
    search = Search(searches.write(tmp_path / "a", [], hp))
    assert axes(search)[1:] == [Axis("size", 1, 9)]


def test_the_epochs_of_hyperband_are_an_axis_where_they_differ(tmp_path):
    trials = [Trial(n, str(n), {"tuner/epochs": 3 * n}) for n in (1, 2)]
    (axis,) = axes(Search(searches.write(tmp_path / "a", trials, no_space())))
    assert axis == Axis("tuner/epochs", 3, 6)
    assert not axes(Search(searches.write(tmp_path / "b", trials[:1], no_space())))


def no_space():
    hp = keras_tuner.HyperParameters()
    hp.Fixed("optimizer", "adam")
    return hp


def test_boxes_as_coarse_to_fine_has_them():
    assert LOG.spans([1e-3, 1e-2]) == [(pytest.approx(0.5), pytest.approx(1))]
    assert LINEAR.spans([0, 30]) == [(0, 0.5)]  # no further than the axis
    assert WORDS.spans({"values": ["tanh"]}) == [(0.5, 1.0)]
    numbers = Axis("batch_size", levels=(32, 64, 128, 256))
    assert numbers.spans([64, 128]) == [(0.25, 0.5), (0.5, 0.75)]
    assert holds([1, 3], 2) and not holds([1, 3], 4)


@pytest.mark.parametrize(
    "direction, scores, drawn",
    [
        ("max", (0.80, 0.88, 0.90), (0.80, 0.90)),
        ("max", (0.10, 0.85, 0.88, 0.89, 0.90), (0.85, 0.90)),  # 0.1 is far off
        ("min", (0.3, 0.4, 0.5, 1e6), (0.3, 0.5)),
        ("min", (0.3, 0.3, 0.3), (0.3, 0.3)),
        ("max", (), (0, 1)),
    ],
)
def test_what_is_far_off_does_not_press_the_rest_together(direction, scores, drawn):
    assert Objective("val_loss", direction, scores).range == drawn


def test_how_scores_are_written():
    shares = Objective("val_accuracy", "max", (0.5,))
    assert shares.text(0.91234).split() == ["91.23%"]
    assert shares.text(0.91234, 0.005).split() == ["91.23%", "±", "0.50%"]
    assert shares.difference(-0.005) == "0.50 points"
    losses = Objective("val_loss", "min", (0.5,))
    assert losses.text(0.43218, 0.0123).split() == ["0.4322", "±", "0.012"]
    assert losses.text(None) == "–"
    percents = Objective("accuracy", "max", (91.0,))  # of somebody's own metric
    assert percents.text(91.0) == "91"
