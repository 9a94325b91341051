"""Row 6: the perceptron rule by hand, Novikoff's bound by an optimizer, XOR by hand."""

import itertools

import numpy as np
import pytest
from scipy import optimize

from tests.course.rows import check
from zoo.data import toys
from zoo.recipes import perceptron


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("perceptron", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["stuck_2"]["mean"] > numbers["stuck_4"]["mean"]
    assert numbers["relu_2"]["mean"] > numbers["relu_4"]["mean"]


def test_the_rule_on_or_by_hand():
    # (bias, w1, w2), the inputs in the order 00, 01, 10, 11; it fires above 0.
    # Pass 1: 01 is missed, (1, 0, 1). Pass 2: 00 fires, (0, 0, 1); 10 is missed,
    # (1, 1, 1). Pass 3: 00 fires, (0, 1, 1). Pass 4: no mistake.
    weights, mistakes = perceptron.learn(*toys.gate("or"), 10)
    assert mistakes == [1, 2, 1, 0]
    assert weights.tolist() == [[1, 0, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1]]


def test_the_rule_on_xor_is_back_at_its_weights_after_four_mistakes():
    # From (1, -1, 0): 00 fires, (0, -1, 0); 01 is missed, (1, -1, 1); 10 is missed,
    # (2, 0, 1); 11 fires, (1, -1, 0): where it began.
    weights, mistakes = perceptron.learn(*toys.gate("xor"), 50)
    assert weights[-1].tolist() == weights[-2].tolist() == [1, -1, 0]
    assert mistakes[-1] == 4 and len(mistakes) == 50
    assert perceptron.cycle(weights) == 1


def test_cycle():
    states = np.array([[0, 1], [2, 2], [3, 4], [5, 5], [2, 2]])
    assert perceptron.cycle(states) == 3
    assert perceptron.cycle(states[:4]) == 0


@pytest.mark.parametrize("name, bound", [("and", 51), ("or", 27)])
def test_the_bound_is_that_of_novikoff(name, bound):
    x, y = toys.gate(name)
    x, signs = np.insert(x, 0, 1, axis=1), 2 * y - 1
    best = optimize.minimize(
        lambda w: w @ w,
        np.array([-2.0, 3, 3]),
        constraints={"type": "ineq", "fun": lambda w: signs * (x @ w) - 1},
    )
    assert (x**2).sum(1).max() * best.fun == pytest.approx(bound, rel=1e-4)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        assert sum(perceptron.learn(x[:, 1:], y, 100, rng)[1]) <= bound


def test_no_line_separates_xor():
    x, y = toys.gate("xor")
    steps = np.arange(-2, 2.1, 0.25)
    lines = np.array(list(itertools.product(steps, steps, steps)))
    fires = np.insert(x, 0, 1, axis=1) @ lines.T > 0
    assert (fires == y[:, None]).sum(0).max() == 3


def test_the_networks_can_hold_the_answer_that_is_known_by_hand():
    model = perceptron.networks("sigmoid", 1)
    members = len(perceptron.WIDTHS)
    kernel, bias = np.zeros((members, 2, 8)), np.zeros((members, 8))
    kernel[:, :, :2], bias[:, :2] = 20, (-10, -30)  # OR, AND
    top = np.zeros((members, 8, 1))
    top[:, 0], top[:, 1] = 20, -20
    model.set_weights([kernel, bias, top, np.full((members, 1), -10)])
    outputs = np.array(model(toys.gate("xor").x))[..., 0].round()
    width_two = perceptron.WIDTHS.index(2)
    assert outputs[:, width_two].tolist() == [0, 1, 1, 0]
    # One unit alone is OR: the others of its member are padding.
    assert outputs[:, perceptron.WIDTHS.index(1)].tolist() == [0, 1, 1, 1]
