import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest

from zoo.callbacks import heat_map
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
    assert "currentColor" in svg and figures.INK not in svg
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


def test_any_script_is_written_without_a_warning():
    """Matplotlib's font lacks the first and cannot set the second; a browser can."""
    drawing = figures.lines("a", "label", {"x": [1]}, "加油 \u0939\u093f")
    assert "加油" in drawing.svg


@pytest.fixture
def axes_of(monkeypatch):
    """Return a function that draws, and gives the Matplotlib axes that were drawn."""
    made = []

    class Kept(figures.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    def draw(function, *args):
        function("a", "label", *args)
        return made[-1].axes

    monkeypatch.setattr(figures, "Figure", Kept)
    return draw


def test_a_row_of_the_confusion_matrix_is_a_true_class(axes_of):
    """Two of three images of class 0 are read as 2, none the other way round."""
    matrix = np.array([[1, 0, 2], [0, 4, 0], [0, 3, 1]])
    (axes,) = axes_of(figures.confusion, matrix, ["a", "b", "c"])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["a", "b", "c"]
    written = {
        (round(y), round(x)): text.get_text()
        for text in axes.texts
        for x, y in [text.get_position()]
        if not text.get_text().endswith("%")
    }
    assert written == {(0, 0): "1", (0, 2): "2", (1, 1): "4", (2, 1): "3", (2, 2): "1"}
    cells = axes.images[0].get_array()
    np.testing.assert_array_equal(cells[..., 3] > 0, matrix > 0)
    assert axes.get_ylim() == (2.5, -0.5)  # row 0 on top
    blue, orange = (figures.to_rgb(colour) for colour in figures.COLOURS[:2])
    np.testing.assert_array_equal(cells[1, 1, :3], blue)
    np.testing.assert_array_equal(cells[0, 2, :3], orange)


def test_reliability_draws_accuracy_over_confidence(axes_of):
    calibration = measures.Calibration(
        count=np.array([0, 10, 30]),
        confidence=np.array([np.nan, 0.5, 0.9]),
        accuracy=np.array([np.nan, 0.2, 0.6]),
        error=0.3,
    )
    above, below = axes_of(figures.reliability, calibration)
    assert [bar.get_height() for bar in above.patches][1:] == [0.2, 0.6]
    assert [bar.get_height() for bar in below.patches] == [0, 10, 30]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in above.patches]
    np.testing.assert_allclose(centres, [1 / 6, 3 / 6, 5 / 6])
    np.testing.assert_array_equal(above.lines[1].get_xdata(), calibration.confidence)
    np.testing.assert_array_equal(above.lines[1].get_ydata(), calibration.accuracy)
    assert (above.get_ylabel(), below.get_xlabel()) == ("accuracy", "confidence")


def test_the_heat_map_has_a_row_a_layer_and_the_logarithm_of_the_norm(axes_of):
    """Two layers in three epochs; the second has no gradient in the last."""
    epochs = [
        gradients(1, first=0.01, second=100),
        gradients(2, first=0.1, second=1000),
        gradients(3, first=1, second=None),
    ]
    norms = [[0.01, 0.1, 1], [100, 1000, np.nan]]
    np.testing.assert_array_equal(heat_map.norms(epochs), norms)
    axes = axes_of(figures.gradients, epochs)[0]
    drawn = axes.images[0].get_array()
    np.testing.assert_allclose(drawn.filled(9), [[-2, -1, 0], [2, 3, 9]])
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert rows == ["first", "second"] and columns == ["1", "2", "3"]


def test_ten_classes_have_ten_colours_and_a_legend(axes_of):
    """Class 9 has no point, and is named all the same."""
    names = [f"class {k}" for k in range(10)]
    points = np.random.default_rng(0).normal(size=(18, 2))
    classes = np.arange(18) % 9
    (axes,) = axes_of(figures.scatter, points, classes, names)
    for number, drawn in enumerate(axes.collections):
        expected = points[classes == number].round(2)
        np.testing.assert_array_equal(drawn.get_offsets(), expected)
    assert len({tuple(drawn.get_facecolor()[0]) for drawn in axes.collections}) == 10
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    assert not axes.texts
    hundred = [f"class {k}" for k in range(100)]
    (axes,) = axes_of(figures.scatter, points, classes, hundred)
    assert not axes.figure.legends
    looks = {
        (*drawn.get_facecolor()[0], drawn.get_paths()[0].vertices.tobytes())
        for drawn in axes.collections
    }
    assert len(looks) == 100


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


def test_names_of_classes_are_no_code():
    names = ["$5", r"a$\foo$", "_silence"]
    points, classes = np.zeros((3, 2)), np.arange(3)
    scatter = figures.scatter("a", "b", points, classes, names)
    confusion = figures.confusion("a", "b", np.eye(3, dtype=int), names)
    for drawing in (scatter, confusion):
        for name in names:
            assert re.search(rf">\u200b?{re.escape(name)}<", drawing.svg), name
