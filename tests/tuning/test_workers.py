"""Whole searches of a chief and its workers, which are killed."""

import os
import signal
import subprocess
import sys
import time

from tests.conftest import ROOT, run_python
from tests.training.test_launch import gone
from tests.tuning import slow_search
from zoo.recipes import fashion_mnist
from zoo.training import distribute
from zoo.tuning import space, tune
from zoo.tuning.recipe import RecipeProblem
from zoo.tuning.records import Search


def start(directory):
    words = [*slow_search.WORDS, "--workers=1", f"--directory={directory}"]
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, process):
    until = time.monotonic() + 120
    while not (found := condition()):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def pids(directory, trial):
    """Return the processes that have begun a trial."""
    found = (directory / f"trial_{trial}").glob("began-*")
    return {path.name.removeprefix("began-") for path in found}


def test_a_search_outlives_its_processes(tmp_path):
    directory = tmp_path / "search"
    directory.mkdir()
    hold = directory / "hold"
    with start(directory) as chief:
        wait_for(lambda: (directory / "workers").exists(), chief)
        hold.touch()
        (lost,) = wait_for(lambda: pids(directory, 0), chief)
        os.kill(int(lost), signal.SIGKILL)
        again = wait_for(lambda: pids(directory, 0) - {lost}, chief)
        chief.kill()
        printed = chief.stdout.read()
    assert "Worker tuner0 was killed by SIGKILL; it is started again." in printed
    assert gone(again)
    hold.unlink()
    with start(directory) as chief:
        printed, _ = chief.communicate(timeout=120)
    assert chief.returncode == 0, printed
    found, alone = Search(directory), slow_search.search(tmp_path / "alone")
    assert [trial.values for trial in found.trials] == [t.values for t in alone.trials]
    assert [trial.scores for trial in found.trials] == [t.scores for t in alone.trials]
    assert all(trial.status == "completed" for trial in found.trials)
    begun = [pids(directory, number) for number in range(4)]
    assert [len(processes) for processes in begun] == [3, 1, 1, 1]
    assert gone(set.union(*begun))


def test_the_command_with_workers_finds_what_one_process_does(tmp_path):
    directory = tmp_path / "search"
    words = "--model mlp --limit 600 --epochs 1 --seed 2".split()
    searching = "--tuner random --trials 2 --final-seeds 1 --workers 2".split()
    done = run_python(
        *("-m", "zoo", "tune", "fashion_mnist", *words, *searching),
        *(f"--directory={directory}", f"--saved-models-dir={tmp_path / 'models'}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = Search(directory)
    for number in (0, 1):  # which of them ran it is chance
        assert (directory / "workers" / f"{number}.log").exists()
    _, config, given = tune._parse(fashion_mnist, words)
    splits = fashion_mnist.load(config)
    strategy = distribute.of_recipe(config)
    problem = RecipeProblem(fashion_mnist, config, given, strategy, splits)
    for trial in found.trials:
        hp = space.explore(problem.space)
        hp.values = dict(trial.values)
        training = problem.train(hp, config.seed, tmp_path / trial.id)
        assert trial.scores == (max(training.history["val_accuracy"]),)
    assert len(found.trials) == 2 and found.result
