"""Row 4: counts of neurons, weights and parameters by hand."""

import keras
import pytest

from tests.course.rows import check
from zoo.recipes import counting as row


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("counting", tmp_path, monkeypatch, capsys)["numbers"]
    share = 785 * 256 / (785 * 256 + 257 * 128 + 129 * 10)
    assert numbers["fashion_first"]["mean"] == pytest.approx(share)


@pytest.mark.parametrize(
    "sizes, neurons, weights, parameters",
    [
        ((3, 4, 2), 4 + 2, 3 * 4 + 4 * 2, 26),
        ((3, 4, 4, 1), 9, 12 + 16 + 4, 41),
        ((784, 256, 128, 10), 394, 234_752, 235_146),
    ],
)
def test_both_counts_are_those_by_hand(sizes, neurons, weights, parameters):
    assert row.counted(sizes) == (neurons, weights, parameters)
    assert row.by_formula(sizes) == (neurons, weights, parameters)


def test_keras_counts_the_same():
    twin = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    twin.add(keras.layers.Dense(2))
    assert twin.count_params() == row.counted((3, 4, 2))[2]
    assert row.network((3, 4, 2)).count_params() == 26
