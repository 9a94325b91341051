"""One experiment: its options, its record, and an honest sentence."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import run_python
from tests.course.rows import run
from zoo import ZooError, course, recipes
from zoo.course import CourseOptions, DataOptions, figure
from zoo.course import options as course_options

DOC = """Coins: half of them fall on heads.

    number    claim         measured       what
    heads     0.4 to 0.6    0.50 ± 0.02    share of heads
    seconds   -             0.1            on two CPU cores
"""


@dataclass(frozen=True)
class Config(CourseOptions):
    coins: int = 1000
    """How many."""
    seeds: int = 3
    """How often."""


@dataclass(frozen=True)
class WithData(DataOptions):
    pass


def coins(**changes):
    """Return a recipe that takes the place of row 1's."""

    def measure(run):
        config = run.config
        draws = [np.random.default_rng(seed) for seed in run.bar(run.seeds, "Tossing")]
        heads = [(rng.random(config.coins) < 0.5).mean() for rng in draws]
        return {"heads": heads}, heads

    def paint(empty, heads):
        axes = empty.subplots()
        axes.plot(heads)
        axes.set(xlabel="seed", ylabel="share of heads")

    recipe = {
        "NAME": "neuron",
        "Config": Config,
        "QUICK": Config(quick=True, coins=500),
        "measure": measure,
        "conclude": lambda numbers: f"Heads are {numbers['heads']:.0%} of all.",
        "paint": paint,
        "__doc__": DOC,
    }
    return SimpleNamespace(**recipe | changes)


def toss(tmp_path, *words, **changes):
    return course.run(coins(**changes), [*words, "--runs-dir", str(tmp_path)])


def test_numbers_of_several_seeds_get_mean_and_spread(tmp_path, capsys):
    metrics = toss(tmp_path)
    heads = metrics["numbers"]["heads"]
    expected = [(np.random.default_rng(s).random(1000) < 0.5).mean() for s in range(3)]
    assert heads["values"] == pytest.approx(expected)
    assert heads["mean"] == pytest.approx(np.mean(expected))
    assert heads["sd"] == pytest.approx(np.std(expected, ddof=1))
    assert metrics["holds"] is True and metrics["row"] == 1
    shown = capsys.readouterr().out
    assert f"Heads are {heads['mean']:.0%} of all." in shown
    assert "claimed 0.4 to 0.6: holds" in shown


def test_the_same_command_gives_the_same_numbers_and_picture(tmp_path):
    first, again = (toss(tmp_path / name, "--seed", "5") for name in "ab")
    assert first["numbers"]["heads"] == again["numbers"]["heads"]
    for suffix in (".png", ".svg"):
        files = [next(tmp_path.glob(f"{n}/neuron/*/figure{suffix}")) for n in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert toss(tmp_path / "c")["numbers"]["heads"] != first["numbers"]["heads"]


def test_training_gives_the_same_numbers_again(tmp_path):
    words = ["--quick", "--seed", "3"]
    numbers = [
        run("smallest_perceptron", tmp_path / name, *words)["numbers"]
        for name in ("a", "b")
    ]
    for each in numbers:
        del each["seconds"]
    assert numbers[0] == numbers[1]


def test_quick_has_defaults_of_its_own_and_the_command_is_the_shortest(tmp_path):
    metrics = toss(tmp_path, "--quick", "--seeds", "2")
    config = json.loads(next(tmp_path.glob("neuron/*/config.json")).read_text())
    assert (config["coins"], config["seeds"], config["quick"]) == (500, 2, True)
    assert metrics["quick"] is True
    command = metrics["command"]
    assert command.startswith("python -m zoo.recipes.neuron --quick --seeds 2 --runs")
    words = command.split()[3:]
    recipe = coins()
    parsed = course_options.parse("neuron", Config, recipe.QUICK, words, DOC)
    assert course_options.command("neuron", parsed, recipe.QUICK) == command


def test_an_effect_that_does_not_show_is_said(tmp_path, capsys):
    biased = DOC.replace("0.4 to 0.6", "> 0.9")
    metrics = toss(tmp_path, __doc__=biased)
    assert metrics["holds"] is False and metrics["claims"][0]["holds"] is False
    value = f"{metrics['numbers']['heads']['mean']:.2f}"
    assert metrics["conclusion"].startswith("The effect does not show here")
    assert value in metrics["conclusion"] and "> 0.9" in metrics["conclusion"]
    assert "DOES NOT HOLD" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_on_the_sample_the_numbers_are_not_the_claim_s(
    name, tmp_path, only_the_sample, capsys
):
    def measure(run):
        splits = run.load(name)
        assert splits.is_sample and splits.test.x.shape == (1000, 28, 28, 1)
        return {"heads": 0.5}, [0.5]

    metrics = toss(tmp_path, measure=measure, Config=WithData, QUICK=WithData())
    assert metrics["holds"] is None and "not the claim's" in metrics["conclusion"]
    assert metrics["data"]["source"].startswith("SAMPLE")
    shown = capsys.readouterr()
    assert "WARNING" in shown.err and ": holds" not in shown.out


@pytest.mark.parametrize(
    "error, status", [(KeyboardInterrupt, "interrupted"), (OSError, "failed")]
)
def test_what_ends_early_is_recorded_as_such(error, status, tmp_path, capsys):
    def measure(run):
        raise error("away")

    with pytest.raises(error):
        toss(tmp_path, measure=measure)
    (path,) = (tmp_path / "neuron").iterdir()
    recorded = json.loads((path / "metrics.json").read_text())
    assert recorded["status"] == status and "numbers" not in recorded
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, part",
    [
        (["--coin", "3"], "Did you mean --coins"),
        (["--seeds", "0"], "seeds must be a positive integer"),
        (["--coins", "0"], "coins must be a positive integer"),
        (["--seed", "-1"], "seed must be an integer"),
        (["--quick", "yes"], "yes"),
        (["--runs-dir", "/dev/null/x"], "--runs-dir"),
    ],
)
def test_mistakes_are_one_line(words, part):
    with pytest.raises(ZooError, match=part) as error:
        course.run(coins(), words)
    assert "\n" not in str(error.value)


def test_a_figure_that_cannot_be_written_leaves_no_half(tmp_path):
    def paint(empty):
        raise RuntimeError("no colours")

    with pytest.raises(RuntimeError):
        figure.save(tmp_path / "figure", paint)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_runs_quietly_as_a_program(tmp_path):
    words = ["-m", "zoo.recipes.neuron", "--runs-dir", str(tmp_path)]
    done = run_python(*words)
    assert done.returncode == 0 and done.stderr == "Loading TensorFlow ...\n"
    assert done.stdout.startswith("Row 1 of the course: Threshold neuron")


def test_importing_the_rows_imports_no_heavy_library():
    code = (
        "import sys; from zoo import recipes; from zoo.course import syllabus\n"
        "modules = [recipes.module(row.recipe) for row in syllabus.ROWS]\n"
        "print(sorted({'keras', 'tensorflow', 'matplotlib', 'sklearn', 'scipy'}\n"
        "  & set(sys.modules)), len(modules))"
    )
    # Without Keras they cannot define a class of its, which could not be loaded again.
    assert run_python("-c", code).stdout == "[] 32\n"


def test_every_row_has_a_test_of_its_own():
    from tests.conftest import ROOT
    from zoo.course import syllabus

    for row in syllabus.ROWS:
        text = (ROOT / "tests" / "recipes" / f"test_{row.recipe}.py").read_text()
        assert f'check("{row.recipe}", ' in text, row.recipe
    assert [row.number for row in syllabus.ROWS] == list(range(1, 33))
    assert len(syllabus.RECIPES) == 32 and set(syllabus.RECIPES) < set(recipes.names())
