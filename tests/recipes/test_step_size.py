"""Row 17: steps on a bowl and schedules, against their closed forms."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import step_size


def test_the_row(tmp_path, monkeypatch, capsys):
    check("step_size", tmp_path, monkeypatch, capsys)


def test_two_steps_on_the_bowl_by_hand():
    path = step_size.descend([0.1, 0.25], steps=2)
    # From (9, 1): times 0.9 and 0, then 0.75 and -1.5.
    np.testing.assert_allclose(path[0], [[9, 1], [8.1, 0], [7.29, 0]], atol=1e-12)
    np.testing.assert_allclose(path[1], [[9, 1], [6.75, -1.5], [5.0625, 2.25]])


@pytest.mark.parametrize(("rate", "grows"), [(0.199, False), (0.201, True)])
def test_two_over_the_largest_curvature_is_the_limit(rate, grows):
    (path,) = step_size.descend([rate])
    assert (np.linalg.norm(path[-1]) > np.linalg.norm(path[-2])) is np.bool_(grows)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.3, 0.3, 0.3]),
        ("hyperbola", [0.3, 0.2, 0.15]),
        ("power", [0.3, 0.27, 0.243]),
    ],
)
def test_schedules(name, expected):
    rates = [step_size.rate(name, epoch) for epoch in range(3)]
    np.testing.assert_allclose(rates, expected)
