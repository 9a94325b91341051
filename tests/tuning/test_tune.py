"""`zoo tune` of a recipe: its options, its trials, and what it ends with."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import no_source, run_python
from zoo import ZooError, cli
from zoo.errors import Diverged
from zoo.recipes import fashion_mnist
from zoo.tuning import tune
from zoo.tuning.records import Search

SHORT = ["--model", "mlp", "--limit", "300", "--epochs", "2", "--batch-size", "100"]
FEW = ["--trials", "2", "--final-seeds", "2", "--tuner", "random"]


def run(folder, *words):
    places = ["--saved-models-dir", f"{folder}/saved", "--directory", f"{folder}/it"]
    return tune.run(fashion_mnist, [*SHORT, *FEW, *places, *words])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Return the folder of a search that was made once, and its result."""
    folder = tmp_path_factory.mktemp("tune")
    with pytest.MonkeyPatch.context() as patch, no_source(folder / "data"):
        patch.setattr("zoo.report.evaluation._MOST_POINTS", 40)
        return folder, run(folder)


def test_what_is_left_of_it(searched):
    folder, result = searched
    search = Search(folder / "it")
    assert len(search.trials) == 2 and search.facts["over"]
    assert json.loads((folder / "it/result.json").read_text()) == result
    assert result["score"] == search.best.score and result["trial"] in (1, 2)
    assert result["seeds"] == [1, 2]  # not 0, which the search has used
    mean = sum(result["final_scores"]) / 2
    assert result["gap"] == pytest.approx(result["score"] - mean)
    assert len(result["test_accuracies"]) == 2
    assert (folder / "it/report.html").is_file()
    assert list((folder / "it/tensorboard").rglob("events*"))
    versions = [p.name for p in (folder / "saved/fashion_mnist_mlp").iterdir()]
    assert versions == ["1"] and result["saved_model"].endswith("mlp/1")


def test_the_model_is_of_the_seed_best_on_validation(searched):
    _, result = searched
    best = result["seeds"][result["final_scores"].index(max(result["final_scores"]))]
    metrics = json.loads((Path(result["path"]) / "metrics.json").read_text())
    assert metrics["seed"] == result["seed"] == best
    assert metrics["status"] == "complete" and Path(result["model"]).is_file()


def test_the_commands_give_the_same_numbers(searched, tmp_path, few_points):
    folder, result = searched
    best = Search(folder / "it").best
    places = ["--runs-dir", f"{tmp_path}/runs", "--saved-models-dir", f"{tmp_path}/s"]
    for command, expected in (
        (best.command, best.score),
        (result["command"], max(result["final_scores"])),
    ):
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "zoo.recipes.fashion_mnist"]
        with no_source(folder / "data"):
            metrics = fashion_mnist.main([*words[3:], *places])
        assert metrics["validation_accuracy"] == expected


def test_what_is_given_is_not_searched(searched):
    folder, _ = searched
    search = Search(folder / "it")
    names = {hp.name for hp in search.space}
    assert names >= {"learning_rate", "width", "depth", "regularization", "activation"}
    assert not names & {"epochs", "batch_size"}
    for trial in search.trials:
        assert "--epochs 2" in trial.command and "--batch-size 100" in trial.command
    assert search.facts["command"][:4] == ["-m", "zoo", "tune", "fashion_mnist"]
    assert search.facts["command"][-2:] == ["--directory", str(folder / "it")]
    assert search.facts["command"].count("--directory") == 1


def test_the_same_command_again_only_tells_the_result(searched, monkeypatch, capsys):
    folder, result = searched
    monkeypatch.setattr(fashion_mnist, "main", None)  # nothing is trained
    with no_source(folder / "data"):
        assert run(folder) == result
    assert "test accuracy" in capsys.readouterr().out
    assert [p.name for p in (folder / "saved/fashion_mnist_mlp").iterdir()] == ["1"]


def test_other_options_of_the_recipe_are_another_search(searched):
    folder, _ = searched
    with no_source(folder / "data"):
        with pytest.raises(ZooError, match="another search: --limit was 300, is 400"):
            run(folder, "--limit", "400")
        with pytest.raises(ZooError, match="--learning-rate was 0.002, is 0.01"):
            run(folder, "--learning-rate", "0.01")


def test_a_changed_recipe_is_another_search(searched, monkeypatch):
    folder, _ = searched
    monkeypatch.setattr("zoo.tuning.recipe._code", lambda recipe: "another")
    with no_source(folder / "data"), pytest.raises(ZooError, match="code of the model"):
        run(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tuner", "bayes"], "invalid choice 'bayes'.*Did you mean 'bayesian'"),
        (["--trials", "0"], "trials must be a positive integer"),
        (["--final-seeds", "0"], "final_seeds must be a positive integer"),
        (["--max-minutes", "-1"], "max_minutes must be above 0"),
        (["--workers", "0"], "workers must be a positive integer"),
        (["--trails", "3"], "Did you mean --trials"),
        (["--widths", "64"], "--widths is what the search chooses"),
        (["--widths", "256", "128"], "^--widths is what the search chooses"),
        (["--dropout", "0.3"], "^--dropout is what the search chooses"),
        (["--seed", str(2**32 - 2)], "seed must be an integer"),
        (["--objective", "val_acuracy"], "Did you mean 'val_accuracy'"),
        (["--objective", "accuracy"], "invalid choice 'accuracy'"),
    ],
)
def test_bad_options_give_one_line(words, message, tmp_path, only_the_sample):
    with pytest.raises(ZooError, match=message) as error:
        run(tmp_path, *words)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "it").exists()


def test_the_help_lists_the_options_of_both(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["tune", "fashion_mnist", "--model", "tiny", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.index("--tuner") < shown.index("--activation") < shown.index("--seed")
    assert "(default: 16 24 16)" in shown
    assert "--resume" not in shown and "--runs-dir" not in shown


def test_a_seed_that_diverges_is_left_out(searched, monkeypatch, capsys):
    folder, result = searched
    original = fashion_mnist.main

    def main(words):
        if words[words.index("--seed") + 1] == "1":
            raise Diverged("the loss became infinite")
        return original(words)

    monkeypatch.setattr(fashion_mnist, "main", main)
    monkeypatch.setattr("zoo.report.evaluation._MOST_POINTS", 40)
    copy = folder / "diverging"
    shutil.copytree(folder / "it", copy)
    shutil.rmtree(copy / "final")
    with no_source(folder / "data"):
        left = run(folder, "--directory", str(copy), "--saved-models-dir", f"{copy}/s")
    assert left["seeds"] == [2] and left["final_scores"] == result["final_scores"][1:]
    assert "seed 1   diverged: it is left out" in capsys.readouterr().out


def test_without_a_recipe_it_names_them(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["tune"])
    assert not end.value.code and "fashion_mnist" in capsys.readouterr().out


def test_a_report_of_no_search_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["tune", "report", str(tmp_path)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "is not a search" in error


def test_hyperband_sets_the_epochs(tmp_path, only_the_sample):
    asked, config, given = tune._parse(fashion_mnist, ["--tuner", "hyperband"])
    assert "epochs" in given and config.epochs == 5 and asked.trials == 30


def test_under_a_strategy_in_the_terminal(tmp_path):
    places = [f"--data-dir={tmp_path}/data", f"--saved-models-dir={tmp_path}/saved"]
    words = [*SHORT, "--trials=1", "--final-seeds=1", "--strategy=mirrored", *places]
    ended = run_python(
        *["-m", "zoo", "tune", "fashion_mnist", *words, "--virtual-devices=2"],
        f"--directory={tmp_path}/it",
        env={"ZOO_MIRROR": ""},
    )
    assert ended.returncode == 0, ended.stderr
    assert "Strategy: mirrored" in ended.stdout and "trial 1/1" in ended.stdout
    assert "Traceback" not in ended.stderr and "WARNING" not in ended.stderr
    search = Search(tmp_path / "it")
    assert "--virtual-devices 2" in search.best.command
    final = json.loads((Path(search.result["path"]) / "metrics.json").read_text())
    assert final["replicas"] == 2
