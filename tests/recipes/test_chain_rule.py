"""Row 7: the gradients of the lectures against pen, autodiff and differences."""

from math import exp

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tests.course.rows import check
from zoo.recipes import chain_rule as row


def test_the_row(tmp_path, monkeypatch, capsys):
    check("chain_rule", tmp_path, monkeypatch, capsys)


def test_a_chain_by_pen():
    """All weights 0: every neuron says 1/2, and only w3 has a slope."""
    zero = {name: np.zeros(1) for name in ("w1", "b1", "w2", "w3")}
    loss, gradients = row.chain(zero, np.ones(1), np.zeros(1))
    assert loss == pytest.approx(1 / 8)
    slopes = {name: float(slope[0]) for name, slope in gradients.items()}
    # (F - y) F (1 - F) a2 = 1/2 * 1/4 * 1/2
    assert slopes == {"w1": 0, "b1": 0, "w2": 0, "w3": 1 / 16}


def test_a_chain_against_scipy():
    names, x, y = ("w1", "b1", "w2", "w3"), 0.7, 0.2
    at = np.array([0.5, -1.0, 2.0, -1.5])

    def loss(p):
        a = 1 / (1 + exp(-(p[0] * x + p[1])))
        for weight in p[2:]:
            a = 1 / (1 + exp(-weight * a))
        return (a - y) ** 2 / 2

    w = {name: np.array([value]) for name, value in zip(names, at, strict=True)}
    losses, gradients = row.chain(w, np.array([x]), np.array([y]))
    assert losses[0] == pytest.approx(loss(at))
    found = [gradients[name][0] for name in names]
    np.testing.assert_allclose(found, approx_fprime(at, loss, 1e-7), rtol=1e-4)


@pytest.mark.parametrize("bias, slope", [(0.5, 2 * 3 * (4.5 - 1)), (-7.0, 0.0)])
def test_the_slope_of_w11_by_pen(bias, slope):
    """z1 = 2 w11 + b1 with w11 = 1/2, v1 = 3, y = 1; the other neurons say nothing."""
    w = {"W": np.zeros((1, 3, 2)), "b": np.zeros((1, 3)), "v": np.zeros((1, 3))}
    w["W"][0, 0, 0], w["b"][0, 0], w["v"][0, 0] = 0.5, bias, 3.0
    networks = w, np.array([[2.0, -1.0]]), np.array([1.0])
    for gradients in (
        row.relu(*networks)[1],
        row.by_autodiff(*networks)[1],
        row.by_differences(row.relu, *networks),
    ):
        assert gradients["W"][0, 0, 0] == pytest.approx(slope, rel=1e-6)


def test_a_wrong_gradient_is_seen():
    networks = row.draw(row.chain, 5, 0)
    _, hand = row.chain(*networks)
    _, auto = row.by_autodiff(*networks)
    assert row.gaps(hand, auto).max() < 1e-10
    assert row.gaps(hand | {"w2": 1.01 * hand["w2"]}, auto).max() > 1e-4
