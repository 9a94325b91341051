import os
import re
from html.parser import HTMLParser

import keras
import numpy as np
import pytest

from tests.conftest import run_python
from tests.report import runs
from zoo import ZooError, report
from zoo.callbacks import GradientMonitor
from zoo.report.record import read

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a page holds; reading it checks that its tags are balanced."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.html = path.read_text(encoding="utf8")
        self.feed(self.html)
        self.close()
        self.text = " ".join(self.text.split())
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "title"):
            self.text += f"{data} "

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def figure(self, beginning):
        """Return the one figure whose label begins so."""
        labels = [svg["aria-label"] for svg in self.all("svg")]
        (found,) = [label for label in labels if label.startswith(beginning)]
        return found


def check_markup(page):
    """What every page must be: one file, in order, readable without seeing."""
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("href", "xlink:href", "src"):
            if name in attrs:
                assert attrs[name].startswith(("#", "data:image/png;base64,"))
            if attrs.get(name, "").startswith("#"):
                assert attrs[name][1:] in ids
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe"} == set()
    assert "@import" not in page.html and "@font-face" not in page.html
    assert all(img["alt"] for img in page.all("img"))
    assert all(
        svg["role"] == "img" and svg["aria-label"].endswith(".")
        for svg in page.all("svg")
    )
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("nav")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert viewport in page.all("meta")
    assert len(page.html.encode()) < 5_000_000


def page_of(path, **files):
    page = Page(report.write(runs.make(path / "a_run", **files)))
    check_markup(page)
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("page"))


def test_the_result(page):
    for text in ("80.0%", "85.0%", "93.0%", "4.2 s", "80,730 parameters", "complete"):
        assert text in page.text
    assert "12 of 60 images are wrong" in page.text
    assert "of epoch 2 of 3, the best" in page.text
    assert "What is missing" not in page.text


def test_the_diagnosis(page):
    assert "High bias and high variance" in page.text
    assert "bias 3.7 points high" in page.text
    assert "variance 8.0 points high" in page.text
    assert "Against variance" in page.text


def test_the_figures_say_what_they_show(page):
    assert page.figure("Accuracy") == (
        "Accuracy by epoch: training from 70.0% to 95.0%; validation from 75.0% to "
        "84.0%."
    )
    assert page.figure("Loss").endswith("validation from 0.8 to 0.6.")
    assert page.figure("Learning rate") == (
        "Learning rate after each epoch: from 0.005 to 0.0001."
    )
    # Every fifth of 60 is read as the next class: 4 of each class.
    assert page.figure("Confusion matrix") == (
        "Confusion matrix: 20.0% of 60 are wrong; most confused: T-shirt/top read as "
        "Trouser, 4 times."
    )
    assert page.figure("Reliability") == (
        "Reliability: mean confidence 90.0%, accuracy 80.0%; expected calibration "
        "error 10.0%."
    )
    assert "hold 75% of the variance" in page.figure("PCA")
    assert "of 30 images" in page.figure("t-SNE")
    assert page.figure("Gradient norm").endswith("from 0.01 to 1.")
    assert "kept: epoch 2" in page.text


def test_the_classes(page):
    assert re.search(r"Trouser 80\.0% 80\.0% 80\.0% 20 ", page.text)


def test_the_pictures(page):
    """All 12 mistakes, and 4 of each of the 3 pairs; and the kernels."""
    images = page.all("img")
    assert len(images) == 12 + 12 + 1
    assert images[0]["alt"] == "Test image 4: Trouser, read as Bag <b>"
    assert re.search(r"T-shirt/top read as Trouser , 4 times", page.text)
    assert images[-1]["alt"] == "The first layer's kernels: 10 of 3x3 pixels."


def test_pictures_that_were_not_kept_are_left_out(tmp_path):
    arrays = runs.evaluation()
    arrays["picture_index"] = arrays["picture_index"][1:]
    arrays["pictures"] = arrays["pictures"][1:]
    page = page_of(tmp_path, evaluation=arrays)
    assert len(page.all("img")) == 11 + 11 + 1
    assert "Test image 4:" not in page.html and "Test image 9:" in page.html


def test_the_gradients(page):
    assert "Vanishing: conv_1 <= 0 in epoch 3." in page.text
    assert "conv_1 0 0 – predictions 0.5 1.5 0.001" in page.text
    assert "activation_1 dead 12.5% 25.0%" in page.text


def test_reads_what_the_gradient_monitor_writes(tmp_path):
    path = runs.make(tmp_path / "a", gradients=None)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="only")])
    model.compile("sgd", "mse")
    monitor = GradientMonitor(probe=np.ones((3, 4)), verbose=0)
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0, callbacks=[monitor])
    monitor.save(path / "gradients.json")
    page = Page(report.write(path))
    norm = monitor.epochs[0]["layers"]["only"]["gradient_norm"]
    assert f"only {norm:.3g} " in page.text
    assert all(str(finding) in page.text for finding in monitor.findings)


def test_the_record(page):
    assert runs.COMMAND in page.text
    assert "widths 16 64" in page.text and "flip no" in page.text
    assert "python 3.11" in page.text and "digest 5027f0" in page.text


def test_names_are_text_not_markup(page):
    assert "Bag <b>" in page.text and "Bag <b>" not in page.html


def test_the_same_run_gives_the_same_page(tmp_path):
    path = runs.make(tmp_path / "a")
    once = report.write(path).read_bytes()
    assert report.write(path, tmp_path / "b.html").read_bytes() == once


def test_a_hundred_classes_in_colour_fit(tmp_path):
    arrays = runs.evaluation(num_classes=100, side=64, channels=3)
    page = page_of(tmp_path, evaluation=arrays)
    assert page.figure("Confusion matrix")


EPOCH, *_ = runs.gradients()["epochs"]
DATA = runs.metrics()["data"]
HEADER, *ROWS = runs.HISTORY.splitlines()


@pytest.mark.parametrize(
    "files, texts",
    [
        (
            {"metrics": None, "evaluation": None, "gradients": None},
            [
                "killed, or still running", "No result: the run was killed",
                "The test set was not evaluated", "no record of the test set",
                "The gradient monitor was off",
                "The command was not recorded", "Training accuracy 90.0% is",
            ],
        ),
        (
            {
                "metrics": runs.metrics(
                    status="interrupted", test_accuracy=None, training_accuracy=None
                ),
                "evaluation": None,
            },
            ["interrupted", "the run did not finish", "High bias and high variance"],
        ),
        (
            {"metrics": None, "history": None, "evaluation": None},
            ["No epoch was finished", "No diagnosis", "No learning curves"],
        ),
        (
            {"history": HEADER + "\n"},  # killed in the first epoch
            ["No epoch was finished"],
        ),
        (
            {
                "history": "epoch,accuracy,loss\n0,0.5,1.0\n",
                "metrics": runs.metrics(validation_accuracy=None),
            },
            ["No validation: the run was trained without it", "No diagnosis",
             "The learning rate was not recorded", "training from 50.0% to 50.0%"],
        ),
        (
            {"history": f"{HEADER}\n{ROWS[0]}\n"},
            ["of epoch 1 of 1, the best", "training from 70.0% to 70.0%"],
        ),
        (
            {
                "history": f"{HEADER}\n{ROWS[0]}\n1,0.1,nan,0.1,nan,0.001\n",
                "metrics": runs.metrics(status="diverged", training_accuracy=None),
                "evaluation": None,
            },
            ["diverged: the loss became infinite or NaN", "No diagnosis",
             "training from 0.9 to 0.9, not a finite number in epoch 2",
             "of epoch 1 of 2, the best"],
        ),
        (
            {"history": f"{HEADER}\n0,0.1,inf,0.1,NA,\n", "evaluation": None},
            ["training nowhere: no number is finite", "no epoch to choose"],
        ),
        (
            {"history": f"{HEADER}\n{ROWS[0]}\n1,0.9,0."},  # cut short
            ["validation from 75.0% to 75.0%, not a finite number in epoch 2"],
        ),
        ({"config": "{"}, ["config.json is damaged", "80.0%"]),
        ({"metrics": "[]"}, ["metrics.json is damaged"]),
        ({"gradients": "{"}, ["gradients.json is damaged"]),
        ({"gradients": runs.gradients(epochs=[])}, ["gradients.json holds no epoch"]),
        (
            {"gradients": runs.gradients(findings=[])},
            ["The gradient monitor found nothing wrong"],
        ),
        (
            {"evaluation": {"labels": np.zeros(3)}},  # of another version
            ["evaluation.npz is damaged"],
        ),
        (
            {"evaluation": {**runs.evaluation(), "kernels": np.zeros((0, 1, 1, 1)),
                            "pca": np.zeros((0, 2)), "tsne": np.zeros((0, 2))}},
            ["does not see pixels", "too few features"],
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(files, texts, tmp_path):
    page = page_of(tmp_path, **files)
    for text in texts:
        assert text in page.text + str([s["aria-label"] for s in page.all("svg")])


@pytest.mark.parametrize("cut", [0, 10, 3000, -1])
def test_a_damaged_evaluation_is_named(cut, tmp_path):
    path = runs.make(tmp_path / "a_run")
    whole = (path / "evaluation.npz").read_bytes()
    (path / "evaluation.npz").write_bytes(whole[:cut])
    assert "evaluation.npz is damaged" in Page(report.write(path)).text


@pytest.mark.parametrize(
    "changes",
    [
        {"data": None},
        {"data": "fashion_mnist"},
        {"data": {"name": "fashion_mnist", "validation": 600, "test": 60}},
        {"data": {**DATA, "test": [60]}},
        {"test_accuracy": "0.8"},
        {"train_seconds": "4"},
        {"parameters": [1]},
        {"status": ["complete"]},
        {"recipe": {}},
    ],
)
def test_a_damaged_metric_is_named_and_the_others_are_shown(changes, tmp_path):
    run = runs.make(tmp_path / "a", metrics=runs.metrics(**changes))
    (key,) = changes
    sentence = f"metrics.json: {key} is damaged or of another version."
    page = Page(report.write(run))
    assert sentence in page.text and "85.0%" in page.text
    page = Page(report.compare([run, run], tmp_path / "two.html"))
    assert page.text.count(sentence) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": [{}]},
        {"epochs": None},
        {"epochs": [{**EPOCH, "layers": {}}]},
        {"epochs": [{**EPOCH, "layers": {"conv_1": {"gradient_norm": 1}}}]},
        {"epochs": [{**EPOCH, "layers": {"conv_1": runs.layer("1", 1, 1)}}]},
        {"epochs": [EPOCH, {**EPOCH, "layers": {"other": runs.layer(1, 1, 1)}}]},
        {"epochs": [EPOCH, {**EPOCH, "dead": {}}]},
        {"epochs": [{**EPOCH, "dead": {"activation_1": None}}]},
        {"findings": None},
        {"findings": [1]},
    ],
)
def test_gradients_of_another_shape_are_named(changes, tmp_path):
    run = runs.make(tmp_path / "a", gradients=runs.gradients(**changes))
    page = Page(report.write(run))
    assert "gradients.json is damaged or of another version." in page.text
    assert "its record cannot be read" in page.text and "80.0%" in page.text
    assert "80.0%" in Page(report.compare([run, run], tmp_path / "b.html")).text


ARRAYS = runs.evaluation()


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ARRAYS["class_names"][:2]},
        {"labels": ARRAYS["labels"] + 1},
        {"labels": ARRAYS["labels"][1:]},
        {"labels": ARRAYS["labels"] - 0.5},
        {"probabilities": ARRAYS["probabilities"] * np.nan},
        {"picture_index": ARRAYS["picture_index"][1:]},
        {"pictures": ARRAYS["pictures"] / 255},
        {"pictures": ARRAYS["pictures"][..., 0]},
        {"kernels": ARRAYS["kernels"][0]},
        {"sample": ARRAYS["sample"] + 60},
        {"pca": ARRAYS["pca"][1:]},
        {"tsne": ARRAYS["tsne"][:, :1]},
    ],
)
def test_an_evaluation_of_another_shape_is_named(changes, tmp_path):
    page = page_of(tmp_path, evaluation={**ARRAYS, **changes})
    assert "evaluation.npz is damaged or of another version" in page.text
    assert "There is no record of the test set." in page.text and "85.0%" in page.text


@pytest.mark.parametrize(
    "files",
    [
        {"metrics": runs.metrics(training_accuracy=93)},
        {"metrics": None, "history": f"{HEADER}\n0,93,0.9,85,0.8,0.005\n"},
    ],
)
def test_percent_for_a_share_costs_the_diagnosis_alone(files, tmp_path):
    page = page_of(tmp_path, **files)
    assert "No diagnosis: training must be from 0 to 1. Received: training=93" in (
        page.text
    )
    assert "12 of 60 images are wrong" in page.text


def test_seeds_of_any_kind_are_compared(tmp_path):
    page = compared(tmp_path, {"config": {"model": ["cnn"], "seed": [1]}})
    assert "Validation accuracy is of different images" in page.text


def test_a_test_set_without_mistakes(tmp_path):
    arrays = runs.evaluation()
    arrays["labels"] = arrays["probabilities"].argmax(1)
    page = page_of(tmp_path, evaluation=arrays)
    assert "There are none." in page.text
    assert page.figure("Confusion").endswith("0.0% of 60 are wrong.")


def test_what_is_no_run_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match="does not exist.*runs/RECIPE/TIME-seedK"):
        report.write("nowhere")
    made = runs.make(tmp_path / "runs" / "fashion_mnist" / "a")
    with pytest.raises(ZooError, match=f"no config.json and no env.*such as {made}$"):
        report.write(tmp_path / "runs")
    with pytest.raises(ZooError, match="such as runs/fashion_mnist/a"):
        report.write("nowhere")
    with pytest.raises(ZooError, match="such as runs/RECIPE"):
        report.compare([made, "empty"], "out.html")
    with pytest.raises(ZooError, match="--output must be a file"):
        report.write(made, tmp_path)


def refusal(path):
    with pytest.raises(ZooError) as refused:
        report.write(path)
    return str(refused.value)


def test_the_config_json_of_others_is_no_run(tmp_path):
    """Neither when it is asked for, nor when a run is looked for."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert "it holds no environment.json." in refusal(tmp_path / "model")
    assert "such as runs/RECIPE/TIME-seedK" in refusal(tmp_path)


def test_the_newest_run_within_three_levels_is_suggested(tmp_path):
    old, new = (runs.make(tmp_path / "runs" / "a" / name) for name in ("z", "b"))
    os.utime(old / "config.json", (1, 1))
    deep = runs.make(tmp_path / "1" / "2" / "3" / "4")
    assert refusal(tmp_path).endswith(f"such as {new}")
    assert refusal(deep.parents[1]).endswith(f"such as {deep}")


def test_what_is_in_a_run_names_the_run(tmp_path):
    run = runs.make(tmp_path / "a" / "b")
    (run / "tensorboard").mkdir()
    runs.make(tmp_path / "a" / "newer")
    message = refusal(run / "metrics.json")
    assert "it is a file." in message and message.endswith(f"such as {run}")
    assert refusal(run / "tensorboard").endswith(f"such as {run}")


@pytest.mark.parametrize(
    "accuracies, losses, best",
    [
        ("0.1 0.3 0.2", "1 1 1", 2),
        ("0.3 0.3", "1 1", 1),  # the first of equals, as KeepBest has it
        ("0.1 0.9", "1 nan", 1),
        ("nan 0.1", "1 1", 2),
        ("nan", "1", None),
    ],
)
def test_the_epoch_that_was_kept(accuracies, losses, best, tmp_path):
    lines = zip(accuracies.split(), losses.split(), strict=True)
    rows = [f"{n},{a},{b}" for n, (a, b) in enumerate(lines)]
    history = "\n".join(["epoch,val_accuracy,loss", *rows])
    assert read(runs.make(tmp_path / "a", history=history)).best_epoch == best


def compared(tmp_path, *of_others):
    paths = [
        runs.make(tmp_path / str(number), **files)
        for number, files in enumerate([{}, *of_others])
    ]
    page = Page(report.compare(paths, tmp_path / "out" / "comparison.html"))
    check_markup(page)
    return page


def test_runs_of_the_same_data_are_ranked(tmp_path):
    better = runs.metrics(test_accuracy=0.9, test_loss=0.6, validation_accuracy=0.84)
    config = {"model": "cnn", "widths": [8], "seed": 0, "flip": False}
    page = compared(tmp_path, {"metrics": better, "config": config})
    assert "Comparison of 2 runs" in page.text
    for value in ("90.0% best", "0.5 best", "85.0% best"):
        assert value in page.text
    assert page.html.count('<b class="best">') == 3
    assert "widths 16 64 8" in page.text and "flip" not in page.text
    assert page.figure("Validation accuracy") == (
        "Validation accuracy by epoch: run 1 ends at 84.0%; run 2 ends at 84.0%."
    )
    assert page.text.count("High bias and high variance") == 2
    assert page.text.count("Vanishing: conv_1") == 2


@pytest.mark.parametrize(
    "files, caveat, num_best",
    [
        ({"metrics": runs.metrics(recipe="mnist")}, "of different recipes.", 6),
        (
            {"metrics": runs.metrics(data={**runs.metrics()["data"], "digest": "1"})},
            "of different data: their accuracies cannot be compared",
            0,
        ),
        (
            {"metrics": runs.metrics(data={**runs.metrics()["data"], "validation": 9})},
            "Validation accuracy is of different images",
            4,
        ),
        (
            {"config": {"model": "cnn", "seed": 1}},
            "Validation accuracy is of different images",
            4,
        ),
    ],
)
def test_what_cannot_be_compared_is_said(files, caveat, num_best, tmp_path):
    """Of two equal runs both are best at all that can be compared."""
    page = compared(tmp_path, files)
    assert caveat in page.text
    assert page.html.count('<b class="best">') == num_best


def test_a_run_without_a_result_is_compared_too(tmp_path):
    killed = {"metrics": None, "history": None, "evaluation": None}
    page = compared(tmp_path, {}, killed)
    assert "killed, or still running" in page.text
    assert "No result: the run was killed" in page.text
    assert page.html.count('<b class="best">') == 6
    page = compared(tmp_path / "two", killed)
    assert page.html.count('<b class="best">') == 0


def test_the_command_needs_no_tensorflow(tmp_path):
    run = str(runs.make(tmp_path / "a"))
    for words in ([run], [run, run, "--output", str(tmp_path / "two.html")]):
        done = run_python("-X", "importtime", "-m", "zoo", "report", *words)
        assert done.returncode == 0
        imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
        assert "matplotlib" in imported
        assert not imported & {"tensorflow", "keras", "sklearn", "matplotlib.pyplot"}
    assert done.stdout == f"Report: {tmp_path / 'two.html'}\n"
    assert (tmp_path / "a" / "report.html").exists()
