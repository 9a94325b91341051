"""`zoo verify --course` and what it is made of; the lists and the cards."""

import re

import pytest

from tests.conftest import ROOT
from tests.test_cli import call
from zoo import recipes
from zoo.course import claims, listing, syllabus
from zoo.recipes import neuron


def claim_of_three(claimed, monkeypatch):
    """Have row 1 claim something else of the sum of all three symptoms."""
    other, count = re.subn(r"= 5 +5(?=  )", claimed, neuron.__doc__)
    assert count == 1
    monkeypatch.setattr(neuron, "__doc__", other)


def test_a_row_that_holds(capsys, tmp_path):
    words = ["verify", "--course", "--rows", "1", "--runs-dir", str(tmp_path)]
    code, out, _ = call(capsys, *words)
    assert code == 0 and "1 of 1 rows hold" in out
    assert re.search(r"sum of all three symptoms +(= 5) +5 +holds", out)
    (path,) = (tmp_path / "neuron").iterdir()
    assert (path / "metrics.json").exists()


@pytest.mark.parametrize(
    "claimed, words, part",
    [
        ("= 6  6", [], "DOES NOT HOLD"),
        ("-  7", [], "DIFFERS from the published 7"),
        ("= 6  6", ["--quick"], "DOES NOT HOLD"),
    ],
)
def test_a_row_that_does_not_hold(claimed, words, part, capsys, tmp_path, monkeypatch):
    claim_of_three(claimed, monkeypatch)
    words = [*words, "--rows", "1", "--runs-dir", str(tmp_path)]
    code, out, err = call(capsys, "verify", "--course", *words)
    assert code == 2 and part in out and "0 of 1 rows hold" in out
    assert "1 of 1 rows do not hold" in err


def test_quick_numbers_are_not_compared_with_the_published(
    capsys, tmp_path, monkeypatch
):
    claim_of_three("-  7", monkeypatch)
    words = ["--quick", "--rows", "1", "--runs-dir", str(tmp_path)]
    assert call(capsys, "verify", "--course", *words)[0] == 0


def test_a_row_that_fails_does_not_stop_the_others(capsys, tmp_path, monkeypatch):
    def broken(run):
        raise RuntimeError("no electricity")

    monkeypatch.setattr(neuron, "measure", broken)
    words = ["--rows", "1", "4", "--runs-dir", str(tmp_path)]
    code, out, _ = call(capsys, "verify", "--course", *words)
    assert code == 2 and "FAILED: RuntimeError: no electricity" in out
    assert "1 of 2 rows hold" in out


def test_the_sample_proves_no_claim(capsys, tmp_path, only_the_sample):
    words = ["--quick", "--rows", "14", "--runs-dir", str(tmp_path)]
    code, out, _ = call(capsys, "verify", "--course", *words)
    assert code == 2 and "not the claim's data" in out


def test_figures_are_named_by_row(capsys, tmp_path):
    words = ["course", "figures", "--rows", "1", "4", "--output", str(tmp_path)]
    assert call(capsys, *words)[0] == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["01-neuron.png", "04-counting.png"]


@pytest.mark.parametrize(
    "words, part",
    [
        (["verify"], "zoo verify NAME, --all"),
        (["verify", "--course", "--rows", "33"], "must be one of 1, 2"),
        (["verify", "--course", "--row", "1"], "Did you mean --rows?"),
        (["course", "figure"], "Did you mean 'course figures'?"),
        (["train", "0"], "the course's row must be one of"),
        (["tune", "1"], "zoo train neuron"),
        (["lr-find", "neuron"], "experiment of the course"),
        (["launch", "--workers", "2", "neuron"], "experiment of the course"),
    ],
)
def test_mistakes_are_one_line(words, part, capsys):
    code, _, err = call(capsys, *words)
    assert code == 2 and len(err.splitlines()) == 1 and part in err


def test_a_row_is_run_by_its_number(capsys, tmp_path):
    code, out, _ = call(capsys, "train", "1", "--runs-dir", str(tmp_path))
    assert code == 0 and out.startswith("Row 1 of the course: Threshold neuron")
    run = next((tmp_path / "neuron").iterdir())
    page = run / "report.html"
    assert str(page) in out
    made = page.read_text(encoding="utf8")
    page.unlink()
    assert call(capsys, "report", str(run))[0] == 0
    assert page.read_text(encoding="utf8") == made
    assert "Threshold neuron (McCulloch" in made and "data:image/png;base64" in made
    for words in (["report", str(run), str(run)], ["export", str(run)]):
        code, _, err = call(capsys, *words)
        assert code == 2 and f"Its page: zoo report {run}" in err
    (run / "metrics.json").write_text('{"recipe": "neuron", "status": "interrupted"}')
    code, _, err = call(capsys, "report", str(run))
    assert code == 2 and "run it again" in err


def test_the_list_of_the_course(capsys):
    code, out, _ = call(capsys, "list", "--course")
    assert code == 0
    for row in syllabus.ROWS:
        assert re.search(rf"^ ?{row.number}  {re.escape(row.system)} \(L", out, re.M)
        assert f"zoo train {row.recipe}\n" in out
        for claim in claims.read(recipes.module(row.recipe).__doc__):
            assert f"      {claim.what} " in out


def test_the_cards_say_what_the_docstrings_say():
    card = (ROOT / "zoo" / "recipes" / "README.md").read_text(encoding="utf8")
    assert listing.cards() in card, "zoo course cards prints them"


def test_the_document_shows_every_row_in_order():
    text = (ROOT / "docs" / "course.md").read_text(encoding="utf8")
    pictures = re.findall(r"!\[[^\]]{20,}\]\(course/(.*?)\)", text)
    assert sorted(pictures) == [
        f"{row.number:02}-{row.recipe}.png" for row in syllabus.ROWS
    ]
    for row in syllabus.ROWS:
        assert f"zoo train {row.number}`" in text
    files = list((ROOT / "docs" / "course").iterdir())
    assert {file.name for file in files} == set(pictures)
    assert sum(file.stat().st_size for file in files) < 4_000_000
