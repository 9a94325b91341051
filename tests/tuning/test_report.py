import dataclasses
import shutil
import subprocess

import keras_tuner
import pytest

from tests.report.test_browser import CHROMIUM, seen
from tests.report.test_page import Page, check_markup
from tests.tuning import searches
from zoo import ZooError
from zoo.tuning import report
from zoo.tuning.records import Trial

BOXES = [
    {"round": 1, "first_trial": 0, "box": {}},
    {
        "round": 2,
        "first_trial": 8,
        "box": {
            "learning_rate": [0.0001, 0.01],
            "width": [100, 400],
            "normalize": {"values": [True]},
            "regularization": {"values": ["none", "dropout"]},
        },
    },
]
RESULT = {
    "seeds": [3, 4],
    "final_scores": [0.89, 0.91],
    "gap": 0.0123,
    "test_accuracies": [0.88, 0.88],
    "command": "zoo train fashion_mnist --learning-rate 0.001 --seed 4",
}


def page_of(path, made, *args, **facts):
    """Return the page of a search, which is as every page must be."""
    facts = {"trials": len(made)} | facts
    searches.write(path / "a_search", made, *args, facts=facts)
    page = Page(report.write(path / "a_search"))
    check_markup(page)
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    made = searches.trials(24, retrains=3, failed=(4, 9))
    return page_of(tmp_path_factory.mktemp("page"), made, None, BOXES, RESULT)


def test_the_conclusion(page):
    """Of the random values of seed 0, trial 6 has the best learning rate."""
    for sentence in (
        "The best of 22 completed trials is trial 6: val_accuracy 92.11% ± 0.40%, "
        "mean and standard deviation of 3 trainings.",
        "Trained anew on 2 other seeds, it has val_accuracy 90.00% ± 1.41%, 1.23 "
        "points worse than in the search, and a test accuracy of 88.00% ± 0.00%.",
        "2 trials failed.",
        "What moved the score most: learning_rate.",
    ):
        assert sentence in page.text
    assert "fashion_mnist mlp random complete a_search" in page.text
    assert "22 completed, 2 failed, 0 running; 12 min of training" in page.text


def test_the_commands(page):
    assert "zoo tune fashion_mnist --model mlp" in page.text
    assert RESULT["command"] in page.text


def test_every_figure_is_there(page):
    beginnings = ["Best val_accuracy", "Parallel coordinates of 22", "Importance"]
    names = ["learning_rate, log", "width", "normalize", "regularization", "rate"]
    beginnings += [f"val_accuracy against {name}" for name in names]
    for beginning in beginnings:
        assert page.figure(beginning)
    assert len(page.all("svg")) == len(beginnings)
    assert "trained anew" in page.text  # in the first one's legend


def test_the_method_of_the_importance_is_stated(page):
    for words in ("A random forest", "explains R² = 0.", "out of bag, 22 trials"):
        assert words in page.text


def test_the_table_has_every_trial_the_best_first(page):
    start = page.text.index("All trials, the best first")
    header = "Trial val_accuracy learning_rate width normalize regularization rate "
    header += "Parameters Seconds Status"
    table = page.text[start:]
    assert header in table
    assert (
        "6 92.11% ± 0.40% best 0.00102 437 no dropout 0.244 6,000 15.0 completed"
        in (table)
    )
    assert table.index(" 6 92.11%") < table.index(" 10 91.23%")
    assert "2 83.88% ± 0.40% 6.1e-05 220 no none – 2,000 5.0 completed" in table
    assert "4 – 0.000889 207 no dropout 0.121 – 10.0 failed" in table
    assert [th for th in page.all("th") if th.get("aria-sort") == "descending"]
    assert page.all("th").count({"scope": "row"}) >= 24
    assert len(page.all("caption")) == 2


def test_the_failures_are_told_once_with_their_traceback(page):
    failures = page.text[page.text.index("Failures Trials 4, 9") :]
    assert failures.count("ValueError: <no> & never") == 2
    assert "Traceback of trial 4" in failures and "Traceback <of> 4" in failures
    assert len(page.all("details")) == 1
    assert "<no>" not in page.html  # it is escaped


def test_the_boxes_of_coarse_to_fine(page):
    for text in (
        "Hyper-parameter Round 1, from trial 1 Round 2, from trial 9",
        "learning_rate all 0.0001 to 0.01",
        "width all 100 to 400",
        "normalize all yes",
        "regularization all none, dropout",
        "rate all all",
    ):
        assert text in page.text


def test_what_is_nearly_one_is_not_said_to_be(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Float("beta", 0.99, 0.9999)
    hp.Fixed("momentum", 0.9999)
    values = [{"beta": at, "momentum": 0.9999} for at in (0.9999, 0.99123)]
    made = [Trial(n, str(n), v, "completed", (0.5,)) for n, v in enumerate(values, 1)]
    boxes = [{"round": 1, "first_trial": 0, "box": {"beta": [0.99121, 0.99124]}}]
    page = page_of(tmp_path, made, hp, boxes)
    for text in (
        "momentum 0.9999",
        "beta 0.99121 to 0.99124",
        "1 50.00% best 0.9999 0.9999",
        "2 50.00% 0.9912 0.9999",
    ):
        assert text in page.text


def test_without_boxes_there_is_no_word_of_them(tmp_path):
    assert "oarse" not in page_of(tmp_path, searches.trials(2)).text


def test_a_search_that_still_runs(tmp_path):
    begun = dataclasses.replace(searches.trials(4)[3], status="running", scores=())
    page = page_of(tmp_path, [*searches.trials(3), begun], trials=12, over=None)
    assert "running, or stopped" in page.text
    assert "The search still runs, or was stopped: 3 of 12 trials have ended." in (
        page.text
    )
    assert "3 completed, 0 failed, 1 running" in page.text
    assert "how much of that is luck cannot be told" in page.text
    assert "cannot be told: it takes at least 10 completed trials, and here are 3." in (
        page.text
    )


def test_a_search_that_ended_early_says_why(tmp_path):
    why = "the time was up after 3 of 12 trials"
    page = page_of(tmp_path, searches.trials(3), trials=12, over=why)
    assert f"The search ended early: {why}." in page.text


def test_a_search_that_has_just_begun(tmp_path):
    page = page_of(tmp_path, [], trials=12, over=None)
    assert "0 of 12 trials have ended. No trial is completed yet." in page.text
    assert "No trial failed." in page.text


def test_one_trial(tmp_path):
    page = page_of(tmp_path, searches.trials(1))
    assert "The best of 1 completed trial is trial 1: val_accuracy 86.81%" in page.text
    assert "complete a_search" in page.text


def test_all_failed(tmp_path):
    page = page_of(tmp_path, searches.trials(3, failed=(1, 2, 3)))
    assert "all failed a_search" in page.text
    assert "No trial is completed: 3 failed, first with ValueError" in page.text
    assert "Trials 1, 2, 3 ValueError" in page.text


def test_nothing_varied(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Fixed("optimizer", "adam")
    made = [Trial(1, "1", {"optimizer": "adam"}, "completed", (0.5,))]
    page = page_of(tmp_path, made, hp)
    assert "Nothing was varied." in page.text and "optimizer adam" in page.text


def test_the_defaults_are_compared(tmp_path):
    made = searches.trials(3)
    default = {"learning_rate": 1e-5, "width": 16, "normalize": False}
    default |= {"regularization": "none"}
    first = dataclasses.replace(made[0], values=default, scores=(0.7,))
    page = page_of(tmp_path / "a", [first, *made[1:]])
    assert "The defaults, trial 1, are 13.48 points worse." in page.text
    first = dataclasses.replace(first, scores=(0.95,))
    page = page_of(tmp_path / "b", [first, *made[1:]])
    assert "It is that of the defaults: no other is better." in page.text


def test_how_many_are_as_good_is_told(tmp_path):
    made = [
        dataclasses.replace(trial, scores=scores)
        for trial, scores in zip(
            searches.trials(3), [(0.8, 0.9), (0.81, 0.82), (0.1, 0.2)], strict=True
        )
    ]
    page = page_of(tmp_path / "a", made)
    assert "1 other trial is within that deviation of it." in page.text
    page = page_of(tmp_path / "b", [made[0], made[2]])
    assert "No other trial is within that deviation of it." in page.text


def test_a_loss_is_better_when_it_is_lower(tmp_path):
    made = searches.trials(3, score=lambda values: values["width"])
    made = [dataclasses.replace(t, scores=(float(t.number),)) for t in made]
    page = page_of(tmp_path, made, objective="val_loss", direction="min")
    assert "is trial 1: val_loss 1," in page.text
    assert {"scope": "col", "aria-sort": "ascending"} in page.all("th")


def test_what_the_tuner_adds_has_its_column(tmp_path):
    made = searches.trials(2)
    for trial in made:
        trial.values["tuner/epochs"] = 3 * trial.number
    page = page_of(tmp_path, made)
    assert "rate tuner/epochs Parameters" in page.text
    assert page.figure("val_accuracy against tuner/epochs")


def test_a_search_of_no_recipe_is_not_trained_anew(tmp_path):
    page = page_of(tmp_path, searches.trials(1), command=None)
    assert "Trained anew" not in page.text and "Search again" not in page.text


def test_a_search_of_a_script_is_gone_on_with_by_it(tmp_path):
    page = page_of(tmp_path, searches.trials(1), command=["mine.py", "a b"])
    assert "python mine.py 'a b'" in page.text


def test_the_file_that_is_asked_for(tmp_path):
    search = searches.write(tmp_path / "a", searches.trials(1))
    path = tmp_path / "b" / "page.html"
    assert report.write(str(search), str(path)) == path and path.exists()
    with pytest.raises(ZooError, match="--output must be a file"):
        report.write(search, tmp_path)


def test_a_directory_that_is_no_search(tmp_path):
    with pytest.raises(ZooError, match="is not a search: it holds no search.json"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def large_space():
    """Return twelve hyper-parameters of long names."""
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-5, 1e-1, sampling="log")
    hp.Int("width", 16, 512, step=2, sampling="log")
    for number in range(8):
        hp.Float(f"a_hyper_parameter_with_a_very_long_name_number_{number}", 0, 1)
    hp.Choice("activation_function_of_every_layer", [f"function_{n}" for n in range(8)])
    hp.Float("momentum", 0.5, 0.99, sampling="reverse_log")
    return hp


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    hp = large_space()
    made = searches.trials(300, hp, failed=range(7, 300, 30))
    return page_of(tmp_path_factory.mktemp("large"), made, hp)


def test_three_hundred_trials_of_twelve_hyper_parameters(large):
    assert len(large.html) < 1_500_000
    assert len(large.all("svg")) == 1 + 1 + 12 + 1


in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@in_a_browser
def test_a_phone_does_not_scroll_sideways(page, large, tmp_path):
    for name, each in (("a", page), ("b", large)):
        phone = seen(each.html, tmp_path / name, 360)
        assert phone["viewport"] == phone["width"] == 360
        assert phone["rightmost"] <= 360 and phone["overlong"] > 0
        assert len(phone["figures"]) == len(each.all("svg"))
        assert min(phone["figures"]) > 150


@in_a_browser
def test_it_is_legible_in_the_dark_and_in_the_light(page, tmp_path):
    light = seen(page.html, tmp_path / "a", 1280)
    dark = seen(
        page.html, tmp_path / "b", 1280, "--blink-settings=preferredColorScheme=0"
    )
    assert light["paper"] != dark["paper"] and light["ink"] != dark["ink"]
    for each in (light, dark):  # WCAG 2.2, 1.4.3
        assert each["texts"] > 100 and each["contrast"] >= 4.5
        assert each["viewport"] == each["width"]


@in_a_browser
def test_the_console_stays_empty(page, tmp_path):
    assert "CONSOLE" not in console(page.html, tmp_path / "a")
    broken = page.html.replace("</body>", "<script>none()</script></body>")
    assert "CONSOLE" in console(broken, tmp_path / "b")


def console(html, folder):
    """Return what the browser logs of a page."""
    folder.mkdir()
    (folder / "page.html").write_text(html, encoding="utf8")
    words = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
        "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    shutil.rmtree(folder / "profile", ignore_errors=True)
    return done.stderr
