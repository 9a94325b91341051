"""Row 1: threshold neurons against truth tables and a sum by hand."""

import numpy as np

from tests.course.rows import check
from zoo.recipes import neuron


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("neuron", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["all_three"]["mean"] == 5


def test_the_flu_is_the_second_and_third_symptom_without_the_first():
    fires = np.array(neuron.neuron(*neuron.FLU)(neuron.inputs(3)))[:, 0]
    expected = [-a + 3 * b + 3 * c > 5 for a, b, c in neuron.inputs(3)]
    assert fires.tolist() == expected
    assert neuron.inputs(3)[fires == 1].tolist() == [[0, 1, 1]]
