"""Row 3: the lecture's network, neuron by neuron."""

from math import exp

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import network_by_hand as row


def sigmoid(z):
    return 1 / (1 + exp(-z))


def by_hand(a, b):
    """The sums of the lecture, written out."""
    a, b = sigmoid(a - 2 * b + 1), sigmoid(-a + b)
    a, b = sigmoid(2 * a - b), sigmoid(-2 * a - b)
    return sigmoid(3 * a - b - 2), sigmoid(-a + 4 * b + 2)


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("network_by_hand", tmp_path, monkeypatch, capsys)["numbers"]
    assert [round(n["mean"], 2) for n in list(numbers.values())[:4]] == [
        0.62, 0.83, 0.51, 0.85,
    ]  # fmt: skip


@pytest.mark.parametrize("x", [(1, -1), (0, 0), (0.3, 2.0)])
def test_the_layers_compute_what_the_pen_does(x):
    passed = row.activations(x)
    assert passed.shape == (4, 2)
    np.testing.assert_allclose(passed[-1], by_hand(*x), rtol=1e-6)
    np.testing.assert_allclose(row.by_numpy(x)[-1], by_hand(*x), rtol=1e-12)


def test_the_first_layer_of_the_lecture_has_the_sums_4_and_minus_2():
    np.testing.assert_allclose(
        row.activations((1, -1))[1], [sigmoid(4), sigmoid(-2)], rtol=1e-6
    )
