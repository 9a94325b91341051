"""Row 23: shapes with equal parameters."""

import pytest

from tests.course.rows import check
from zoo.recipes import depth_width


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("depth_width", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["spirals_fat"]["mean"] < 0.9


@pytest.mark.parametrize(
    ("task", "inputs", "classes"), [("spirals", 2, 2), ("clothes", 49, 10)]
)
def test_the_shapes_have_equal_parameters(task, inputs, classes):
    shapes = depth_width.SHAPES[task]
    members = 2
    model = depth_width.network(inputs, shapes, classes, members)
    counts = depth_width.counts(task)
    assert model.count_params() == members * sum(counts)
    assert max(counts) / min(counts) < 1.02


def test_parameters_by_hand():
    # 2 inputs, layers of 3 and 3, 2 classes: 9 + 12 + 8.
    assert depth_width.parameters(2, 3, 2, 2) == 29
