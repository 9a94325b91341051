"""Row 21: the table of bias and variance, and inputs that are scaled or not."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import bias_variance


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("bias_variance", tmp_path, monkeypatch, capsys)["numbers"]
    gaps = np.subtract(
        numbers["large_train"]["values"], numbers["large_validation"]["values"]
    )
    assert (gaps > 0.1).all()  # 500 images are learned by heart


@pytest.mark.parametrize(
    ("training", "validation", "read"),
    [
        (0.99, 0.89, "overfitting"),
        (0.90, 0.89, "underfitting"),
        (0.89, 0.78, "both"),
        (0.99, 0.98, "neither"),
    ],
)
def test_the_table_of_the_lecture(training, validation, read):
    assert bias_variance.cell(training, validation) == read
