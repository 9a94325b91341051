import dataclasses
import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest

from tests.tuning import searches
from zoo.report import figures as house
from zoo.tuning import figures
from zoo.tuning.importance import Importance
from zoo.tuning.parallel import parallel
from zoo.tuning.records import Trial
from zoo.tuning.scales import Axis, Objective

RATE = Axis("rate", 1e-4, 1e-2, "log")
KIND = Axis("kind", levels=("a", "b", "c"))
SIZE = Axis("size", 0, 4)  # active for kind b only
BOXES = [
    {"round": 1, "first_trial": 0, "box": {}},
    {"round": 2, "first_trial": 2, "box": {"rate": [1e-3, 1e-2]}},
    {
        "round": 3,
        "first_trial": 3,
        "box": {"rate": [1e-3, 1e-2], "kind": {"values": ["b"]}},
    },
]


def trial(number, rate, kind, *scores, **more):
    values = {"rate": rate, "kind": kind} | more
    status = "completed" if scores else "failed"
    return Trial(number, str(number), values, status, scores)


TRIALS = [
    trial(1, 1e-4, "a", 0.5, 0.7),
    trial(2, 1e-3, "a"),
    trial(3, 1e-3, "b", 0.9, 0.7, size=1),
    trial(4, 1e-2, "a", 0.7, 0.7),
]


def objective(trials, direction="max", name="val_accuracy"):
    scores = tuple(t.score for t in trials if t.score is not None)
    return Objective(name, direction, scores)


@pytest.fixture
def axes_of(monkeypatch):
    """Return a function that draws, and gives the Matplotlib axes that were drawn."""
    made = []

    class Kept(house.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    def draw(function, *args, **kwargs):
        function("a", *args, **kwargs)
        return made[-1].axes[0]

    monkeypatch.setattr(house, "Figure", Kept)
    return draw


def points(axes, look, of=house.COLOURS[6]):
    """Return the drawn points of a marker and a colour."""
    found = [
        line.get_xydata()
        for line in axes.lines
        if line.get_marker() == look and line.get_color() == of
    ]
    return [tuple(map(float, point)) for line in found for point in line]


def test_progress_shows_each_trial_and_the_best_so_far(axes_of):
    axes = axes_of(figures.progress, TRIALS, objective(TRIALS))
    assert points(axes, "o") == [
        (1, pytest.approx(0.6)), (3, pytest.approx(0.8)), (4, pytest.approx(0.7))
    ]  # fmt: skip
    (best,) = [line for line in axes.lines if line.get_color() == house.COLOURS[1]]
    np.testing.assert_allclose(best.get_xdata(), [1, 3, 4, 4])
    np.testing.assert_allclose(best.get_ydata(), [0.6, 0.8, 0.8, 0.8])
    assert best.get_drawstyle() == "steps-post"
    (bars,) = axes.collections
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    deviation = np.std([0.5, 0.7], ddof=1)
    np.testing.assert_allclose(lengths, [2 * deviation, 2 * deviation, 0], atol=1e-9)
    assert [x for x, _ in points(axes, "x", house.COLOURS[7])] == [2]


def test_the_best_loss_so_far_is_the_lowest(axes_of):
    losses = [trial(n, 1e-3, "a", loss) for n, loss in enumerate([3, 4, 1, 2], 1)]
    scored = objective(losses, "min", "val_loss")
    axes = axes_of(figures.progress, losses, scored, final=1.5)
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(lines["best so far"], [3, 3, 1, 1, 1])
    np.testing.assert_array_equal(lines["trained anew"], [1.5, 1.5])
    assert figures.progress("a", losses, scored).label == (
        "Best val_loss so far: 3 after trial 1; 1 after trial 3."
    )
    assert not axes.collections  # one training each: there is no spread


def test_what_is_beyond_the_axis_is_at_its_end(axes_of):
    scores = [0.1, 0.88, 0.89, 0.9, 0.9]
    made = [trial(n, 1e-3, "a", score) for n, score in enumerate(scores, 1)]
    axes = axes_of(figures.progress, made, objective(made))
    ((x, y),) = points(axes, "v")
    assert x == 1 and 0.85 < axes.get_ylim()[0] < y < 0.88
    assert len(points(axes, "o")) == 4


def test_an_effect_is_drawn_on_the_scale_that_was_sampled(axes_of):
    axes = axes_of(figures.effect, RATE, TRIALS, objective(TRIALS), BOXES)
    assert points(axes, "o") == [
        (0, pytest.approx(0.6)), (pytest.approx(0.5), pytest.approx(0.8)),
        (1, pytest.approx(0.7)),
    ]  # fmt: skip
    best = points(axes, "D", house.COLOURS[1])
    assert best == [(pytest.approx(0.5), pytest.approx(0.8))]
    assert [x for x, _ in points(axes, "x", house.COLOURS[7])] == [pytest.approx(0.5)]
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["0.0001", "0.001", "0.01"]
    bands = [(band.get_x(), band.get_width()) for band in axes.patches]
    assert bands == [(pytest.approx(0.5), pytest.approx(0.5))] * 2  # rounds 2 and 3


def test_levels_lie_side_by_side_with_their_medians(axes_of):
    axes = axes_of(figures.effect, KIND, TRIALS, objective(TRIALS), BOXES)
    assert [x for x, _ in points(axes, "o")] == pytest.approx([1 / 6, 1 / 2, 1 / 6])
    medians = [lines.get_segments()[0] for lines in axes.collections]
    np.testing.assert_allclose([m[:, 1] for m in medians], [[0.65] * 2, [0.8] * 2])
    np.testing.assert_allclose([m[:, 0].mean() for m in medians], [1 / 6, 1 / 2])
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((1 / 3, 1 / 3))


def test_only_trials_that_have_a_hyper_parameter_are_in_its_effect(axes_of):
    axes = axes_of(figures.effect, SIZE, TRIALS, objective(TRIALS), [])
    assert points(axes, "o") == [(0.25, pytest.approx(0.8))]
    worse = [*TRIALS, trial(5, 1e-3, "c", 0.95)]
    axes = axes_of(figures.effect, SIZE, worse, objective(worse), [])
    assert not points(axes, "D", house.COLOURS[1])  # the best does not have it


def test_an_effect_says_what_it_shows():
    scored = objective(TRIALS)
    rate = figures.effect("a", RATE, TRIALS, scored, []).label
    assert rate == (
        "val_accuracy against rate, log scale: best at 0.001; the best quarter lies "
        "from 0.001 to 0.001."
    )
    kind = figures.effect("a", KIND, TRIALS, scored, []).label
    assert kind == "val_accuracy against kind: medians a 65.00%, b 80.00%."
    beta = Axis("beta", 0.9, 0.9999)
    made = [trial(1, 1e-3, "a", 0.5, beta=0.9999)]
    assert "best at 0.9999;" in figures.effect("a", beta, made, scored, []).label
    none = figures.effect("a", SIZE, TRIALS[:2], objective(TRIALS[:2]), []).label
    assert none.endswith("no trial that has it is completed.")


def test_of_many_levels_the_best_are_named():
    """40 levels; in each the accuracy is a hundredth of it."""
    made = [trial(n, 1e-3, "a", n / 100, depth=n) for n in range(1, 41)]
    axis = Axis("depth", levels=tuple(range(1, 41)))
    for direction, best in (
        ("max", "40 40.00%, 39 39.00%, 38 38.00%"),
        ("min", "1 1.00%, 2 2.00%, 3 3.00%"),
    ):
        label = figures.effect("a", axis, made, objective(made, direction), []).label
        assert label == (
            f"val_accuracy against depth: the best medians of 40 levels: {best}."
        )
    made = made[:12]
    assert "medians 1 1.00%, 2 2.00%" in (
        figures.effect("a", axis, made, objective(made), []).label
    )


@pytest.mark.parametrize("name", ["val_loss", "n" * 200, "val_of_a_long_name" * 3])
def test_the_name_of_the_objective_is_no_longer_than_its_axis(name, axes_of):
    axes = axes_of(figures.progress, TRIALS, objective(TRIALS, name=name), final=0.7)
    height = axes.yaxis.label.get_window_extent().height
    assert height <= axes.get_window_extent().height


def test_parallel_coordinates_go_through_all_values(axes_of):
    """From rate through kind and size to the score; worst first, the best on top."""
    axes = axes_of(parallel, [RATE, KIND, SIZE], TRIALS, objective(TRIALS))
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    off = -0.13
    wanted = [[0, 1 / 6, off, 0], [1, 1 / 6, off, 0.5], [0.5, 0.5, 0.25, 1]]
    for line, x in zip(lines, wanted, strict=True):
        np.testing.assert_allclose(line.get_xdata(), x, atol=1e-9)
        np.testing.assert_array_equal(line.get_ydata(), range(4))
    assert lines[-1].get_color() == house.COLOURS[1]
    assert lines[-1].get_linewidth() > 2 * lines[0].get_linewidth()
    assert lines[0].get_alpha() < lines[1].get_alpha()
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("unused") == 1  # below size
    for text in ("rate", "0.001", "kind", "b", "size", "val_accuracy", "60%", "80%"):
        assert text in texts


def test_parallel_coordinates_of_a_loss_end_where_it_is_low(axes_of):
    losses = [trial(n, 1e-3, "a", loss) for n, loss in enumerate([3, 1, 2], 1)]
    axes = axes_of(parallel, [RATE], losses, objective(losses, "min", "val_loss"))
    ends = [line.get_xdata()[-1] for line in axes.lines if line.get_linewidth() != 1]
    assert ends[-1] == 0 and sorted(ends[:-1]) == [0.5, 1]


def test_what_ends_at_an_axis_but_lies_beyond_it_is_counted():
    scores = [0.3, 0.4, 0.5, 1e6, 9]  # up to 0.5 + 4 * (0.5 - 0.3)
    losses = [trial(n, 1e-3, "a", score) for n, score in enumerate(scores, 1)]
    scored = objective(losses, "min", "val_loss")
    label = parallel("a", [RATE], losses, scored).label
    assert label.endswith("trial 1, the best; 2 beyond the axis end at it.")
    within = parallel("a", [RATE], TRIALS, objective(TRIALS)).label
    assert within.endswith("trial 3, the best.")


@pytest.mark.parametrize(
    "name, scores, ticks",
    [
        ("val_accuracy", [0.9, 0.99994], ["90%", "92.5%", "95%", "97.5%", "99.99%"]),
        ("val_accuracy", [0.9999, 0.99991], ["99.99%", "99.9905%", "99.991%"]),
        (
            "val_loss",
            [0.004322, 0.0087654],
            ["0.004322", "0.006", "0.0075", "0.008765"],
        ),
    ],
)
def test_the_ends_of_the_score_axis_are_written_as_in_the_page(
    axes_of, name, scores, ticks
):
    made = [trial(n, 1e-3, "a", score) for n, score in enumerate(scores, 1)]
    axes = axes_of(parallel, [RATE], made, objective(made, name=name))
    texts = [text.get_text() for text in axes.texts]
    assert texts[texts.index(name) + 1 :] == ticks


FOUND = Importance(["b", "a"], np.array([0.5, -0.1]), np.array([0.1, 0.2]), 0.7, 20)


def test_importances_are_bars_with_their_deviation(axes_of):
    axes = axes_of(figures.importances, FOUND)
    assert [bar.get_width() for bar in axes.patches] == [0.5, -0.1]
    (bars,) = axes.collections
    np.testing.assert_allclose(bars.get_segments()[0][:, 0], [0.4, 0.6])
    assert [text.get_text() for text in axes.texts] == ["b", "a"]
    assert figures.importances("a", FOUND).label == (
        "Importance of each hyper-parameter: b 0.50 ± 0.10; a -0.10 ± 0.20."
    )


@pytest.mark.parametrize("name", ["$a_b$ <i>&", "n" * 200, "a\nb"])
def test_any_name_can_be_written(name):
    axis = dataclasses.replace(RATE, name=name)
    made = [dataclasses.replace(t, values={name: 1e-3}) for t in TRIALS]
    scored = objective(made)
    drawn = [
        figures.progress("p", made, scored),
        figures.effect("e", axis, made, scored, []),
        parallel("c", [axis], made, scored),
        figures.importances("i", FOUND._replace(names=[name, "b"])),
    ]
    for drawing in drawn:
        root = xml.fromstring(drawing.svg.replace("xlink:", ""))
        texts = ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
        assert all(len(text) <= 44 for text in texts)
        assert house.INK not in drawing.svg and house.PAPER not in drawing.svg
    if len(name) < 44:
        assert " ".join(name.split()) in [t.strip() for t in texts]


def test_long_levels_are_cut_so_that_they_fit():
    cut = figures.fitted(["gaussian_error_linear"] * 6)
    assert cut == ["ga…ar"] * 6 or all(len(text) <= 7 for text in cut)
    assert figures.fitted(["relu", "tanh"]) == ["relu", "tanh"]
    assert figures.plain("beginning_and_end", 10) == "beginn…end"


def test_no_trial_at_all_is_drawn_too():
    drawn = figures.progress("a", [], objective([]))
    assert drawn.label == "Best val_accuracy so far: no trial is completed."
    assert not re.search("nan|inf", re.sub(r"<text.*?</text>", "", drawn.svg))


def test_three_hundred_trials_stay_small():
    made = searches.trials(300)
    scored = objective(made)
    scales = [Axis("learning_rate", 1e-5, 1e-1, "log"), Axis("width", 16, 512)]
    svg = parallel("a", scales, made, scored).svg
    assert len(svg) < 150_000 and "var(--paper)" in svg  # behind the texts
    assert len(figures.effect("a", scales[0], made, scored, []).svg) < 60_000
