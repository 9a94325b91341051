import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest

from zoo.report import figures, measures

STYLE = figures.__file__.replace("figures.py", "style.css")


def gradients(epoch, **norms):
    """Return an epoch of a gradient monitor, as far as the picture needs it."""
    layers = {name: {"gradient_norm": norm} for name, norm in norms.items()}
    return {"epoch": epoch, "layers": layers}


def drawings():
    rng = np.random.default_rng(0)
    names = ["one & two", "<three>", "four"]
    matrix = np.array([[9, 1, 0], [0, 5, 5], [0, 0, 0]])
    label = 'what "it" shows'
    calibration = measures.calibration(np.array([0, 1]), np.array([[0.9, 0.1]] * 2))
    wide = rng.integers(0, 9, (100, 100))
    many = [f"class {k}" for k in range(100)]
    epochs = [gradients(1, p=1, q=0, r=None), gradients(2, p=1e-9, q=np.inf, r=2)]
    return {
        "lines": figures.lines("a", label, {"x": [1, np.nan, 2]}, "t", best_epoch=3),
        "one epoch": figures.lines("a", label, {"x": [1], "y": [0]}, "t", percent=True),
        "never finite": figures.lines("a", label, {"x": [np.nan, np.inf]}, "t"),
        "confusion": figures.confusion("a", label, matrix, names),
        "100 classes": figures.confusion("a", label, wide, many),
        "reliability": figures.reliability("a", label, calibration),
        "scatter": figures.scatter(
            "a", label, rng.normal(size=(9, 2)), np.arange(9) % 2, names
        ),
        "heat map": figures.gradients("a", label, epochs),
        "empty": figures.gradients("a", label, [gradients(1, p=None)]),
    }


@pytest.fixture(scope="module")
def drawn():
    return drawings()


NAMES = ["lines", "one epoch", "never finite", "confusion", "100 classes"]
NAMES += ["reliability", "scatter", "heat map", "empty"]


@pytest.mark.parametrize("name", NAMES)
def test_text_and_axes_take_the_page_s_colour(name, drawn):
    svg = drawn[name].svg
    root = xml.fromstring(svg.replace("xlink:", ""))
    assert root.get("role") == "img" and root.get("aria-label") == 'what "it" shows'
    assert root.get("width") is None and root.get("viewBox")
    texts = [e for e in root.iter() if e.tag.endswith("}text")]
    assert texts or name == "empty"
    assert "currentColor" in svg and figures._INK not in svg
    assert not re.search(r"#000000|#ffffff|: (black|white)", svg)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert all(i.startswith("a-") for i in ids) and len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)|url\(#([^)]+)', svg)
    assert {a or b for a, b in used} <= set(ids)


def test_the_same_figure_is_the_same_text(drawn):
    assert drawings() == drawn


def test_a_confusion_matrix_writes_counts_and_shares(drawn):
    texts = re.findall(r">([^<>]+)</text>", drawn["confusion"].svg)
    for text in ("9", "90%", "1", "10%", "5", "50%", "one &amp; two", "&lt;three&gt;"):
        assert text in texts
    assert "0" not in texts
    assert "class 7" not in drawn["100 classes"].svg


def test_a_line_has_a_gap_where_there_is_no_number(drawn):
    """Two markers, and the one in between is missing."""
    svg = drawn["lines"].svg
    assert len(re.findall(r"<use [^>]*fill: #0072b2", svg)) == 2


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


def test_data_stand_out_on_both_backgrounds():
    """WCAG 2.2, 1.4.11: graphical objects need 3:1."""
    with open(STYLE, encoding="utf8") as file:
        papers = re.findall(r"--paper: (#[0-9a-f]{6});", file.read())
    assert len(papers) == 2
    for paper in papers:
        for colour in figures.COLOURS:
            low, high = sorted([luminance(paper), luminance(colour)])
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, paper)
