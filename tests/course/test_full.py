"""Every row at its whole setting: `pytest -m full`, some minutes."""

import pytest

from tests.course.rows import check
from zoo.course import syllabus


@pytest.mark.full
@pytest.mark.parametrize("row", syllabus.ROWS, ids=lambda row: row.recipe)
def test_the_published_numbers_are_measured_again(row, tmp_path, monkeypatch, capsys):
    metrics = check(row.recipe, tmp_path, monkeypatch, capsys, "--seed", "0")
    assert metrics["holds"] is True
    for claim in metrics["claims"]:
        assert claim["agrees"] or "seconds" in claim["number"], claim
