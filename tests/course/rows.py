"""One harness for every row of the course: what a run of it leaves behind."""

import json
from xml.etree import ElementTree

import pytest

from zoo import recipes
from zoo.course import figure


def run(name, tmp_path, *words):
    """Run a recipe in this process; return what `metrics.json` holds."""
    words = [*words, "--runs-dir", tmp_path / "runs"]
    return recipes.module(name).main([str(word) for word in words])


def check(name, tmp_path, monkeypatch, capsys, *words, on_sample=False):
    """Run a row, quick unless words are given, and check all that it must leave.

    A test that is not meant for the sample is skipped where that is all there is: no
    claim was looked at.

    Returns:
        What `metrics.json` holds.
    """
    unlabelled = []

    def watch(stem, paint):
        def painted(empty):
            paint(empty)
            empty.draw_without_rendering()
            unlabelled.extend(axes for axes in empty.axes if not labelled(axes))

        return save(stem, painted)

    save = figure.save
    monkeypatch.setattr(figure, "save", watch)
    metrics = run(name, tmp_path, *(words or ["--quick"]))
    shown = capsys.readouterr()
    (path,) = (tmp_path / "runs" / name).iterdir()
    assert json.loads((path / "metrics.json").read_text()) == metrics
    assert metrics["status"] == "complete"
    assert {"config.json", "environment.json"} < {p.name for p in path.iterdir()}
    ElementTree.parse(path / "figure.svg")
    assert (path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert unlabelled == []
    sentence = metrics["conclusion"]
    assert " ".join(shown.out.split()).count(sentence) == 1
    sampled = metrics["data"] and metrics["data"]["source"].startswith("SAMPLE")
    if sampled:
        assert metrics["holds"] is None and "not the claim's" in sentence
        assert "WARNING" in shown.err
        if not on_sample:
            pytest.skip(f"the whole {metrics['data']['name']} cannot be had here")
    else:
        assert not on_sample
        broken = [claim for claim in metrics["claims"] if not claim["holds"]]
        assert metrics["holds"] is True and broken == []
        module = recipes.module(name)
        claims = {c["number"]: c for c in metrics["claims"]}
        means = {name: number["mean"] for name, number in metrics["numbers"].items()}
        assert sentence == " ".join(module.conclude(means).split())
        assert any(c["bound"] != "-" for c in claims.values())
        # The sentence is made of the numbers: others give another one.
        others = {name: mean + 3 for name, mean in means.items()}
        assert module.conclude(others) != module.conclude(means)
    return metrics


def labelled(axes):
    """Return whether axes that show numbers say what they are."""
    if not axes.axison:
        return True
    x, y = axes.get_xlabel(), axes.get_ylabel()
    if axes.get_label() == "<colorbar>":
        return bool(x or y)
    return all(
        text or not any(t.get_visible() and t.get_text() for t in ticks)
        for text, ticks in ((x, axes.get_xticklabels()), (y, axes.get_yticklabels()))
    )
