"""The search itself: one directory, one fingerprint, from preflight to the best."""

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import keras_tuner

from zoo import console
from zoo.console import say
from zoo.errors import ZooError, unknown
from zoo.files import writable
from zoo.training import resuming
from zoo.tuning import (
    chief,
    guard,
    limits,
    local,
    oracles,
    place,
    preflight,
    progress,
    records,
    worker,
)
from zoo.tuning import space as spaces
from zoo.tuning.records import Search
from zoo.tuning.trials import Problem, Trials


class Options(NamedTuple):
    """How to search.

    Attributes:
        tuner: what chooses the configurations, one of `oracles.NAMES`.
        objective: what is logged of the validation; or a `keras_tuner.Objective` with
            its direction, for a metric of one's own.
        trials: how many configurations to try.
        retrains: trainings of each, from different initial weights.
        epochs: the most that Hyperband trains for.
        seed: decides the configurations, and the first training's initial weights.
        max_minutes: begin no trial after that; `None` for no limit.
    """

    tuner: str = "random"
    objective: str | keras_tuner.Objective = "val_accuracy"
    trials: int = 30
    retrains: int = 1
    epochs: int = 10
    seed: int = 0
    max_minutes: float | None = None

    def check(self) -> None:
        """Raise a `ZooError` if one of them is impossible."""
        if self.tuner not in oracles.NAMES:
            raise unknown("tuner", self.tuner, oracles.NAMES)
        limits.check(self.trials, self.retrains, self.seed, self.max_minutes)


def objective_of(given: str | keras_tuner.Objective) -> keras_tuner.Objective:
    """Return an objective with its direction.

    Raises:
        ZooError: Keras Tuner knows no direction for a metric of this name.
    """
    if isinstance(given, keras_tuner.Objective):
        return given
    try:
        return keras_tuner.Oracle(objective=given).objective
    except (ValueError, TypeError):
        raise ZooError(
            f"whether {given!r} should be high or low is not known: choose val_loss or "
            f"val_accuracy, or pass keras_tuner.Objective({given!r}, direction='max'), "
            "or 'min', for a metric of that name."
        ) from None


@console.errors_only("tensorflow")  # it warns of so many graphs, a search needs them
def run(
    problem: Problem,
    options: Options,
    directory: str | Path,
    fork: bool = False,
    workers: int | None = None,
    command: list[str] | None = None,
) -> Search | None:
    """Search; go on with the search in the directory if it is the same.

    With Keras Tuner's three variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT` this process is the chief of the search, which chooses the
    trials, or a worker, which runs them; all of them see the same directory.

    Args:
        problem: what is searched.
        options: how.
        directory: where all of it is written.
        fork: search beside a directory that holds another search, instead of refusing.
        workers: have so many processes of this machine run the trials.
        command: the words after `python` that start this search, if a command line did;
            for the record, and to start those processes.

    Returns:
        The search, with a trial that is completed; `None` on a worker.

    Raises:
        ZooError: the directory holds something else, the preflight fails, or all
            trials do.
    """
    options.check()
    here = place.from_environment()
    objective = objective_of(options.objective)
    with preflight.blaming("build", {}):
        space = spaces.explore(problem.space)
    facts = guard.facts_of(problem, options, objective, space)
    oracle = oracles.make(
        options.tuner,
        objective=objective,
        trials=options.trials,
        seed=options.seed,
        hyperparameters=space,
        epochs=options.epochs,
    )
    directory = guard.own(Path(directory), facts, fork)
    if here and not here.chief:
        _work(problem, options, oracle, here, facts, directory)
        return None
    if guard.is_over(directory, options):
        return _found(directory, options)
    if here:
        chief.check(here)
    is_new = not directory.exists()
    writable(directory, "--directory")
    if not any(directory.glob("trial_*/trial.json")):
        _try_out(problem, objective, directory, is_new)
    with resuming.lock(directory, "search"):
        tuner = Trials(oracle, problem, directory, options.retrains, options.seed)
        if command:
            words = _without(command, "--directory", "--fork")
            command = [*words, "--directory", str(directory)]
        guard.write(directory, facts, options, command, over=None)
        (directory / records.RESULT).unlink(missing_ok=True)
        _begin(oracle, options, directory)
        tuner.save()
        with interruptible():
            if not oracle.finished:
                _search(tuner, here, facts, workers, command)
        tuner.save()
        over = _why_over(oracle, options)
        guard.write(directory, facts, options, command, over)
        print(f"The search is over: {over}.", flush=True)
        return _found(directory, options)


def _try_out(problem, objective, directory, is_new):
    """Raise what would go wrong later, and leave no new directory then."""
    try:
        say("Trying the smallest and the largest model of the space ...")
        preflight.check(problem, objective.name)
    except BaseException:
        if is_new:
            directory.rmdir()
        raise


@contextlib.contextmanager
def interruptible():
    """Say what goes on with what Ctrl-C or SIGTERM ends."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say("\nThe same command goes on with the search where it stopped.")
        raise


def _search(tuner, here, facts, workers, command):
    """Have all trials run: by workers of this machine or of others, or here."""
    if workers:
        directory = Path(tuner.project_dir)
        words = [sys.executable, *_without(command, "--workers")]
        with local.workers(workers, words, directory) as group:
            here = place.from_environment()
            chief.serve(tuner.oracle, here, guard.digest(facts), watch=group.check)
    elif here:
        chief.serve(tuner.oracle, here, guard.digest(facts))
    else:
        tuner.search()


def _work(problem, options, oracle, here, facts, directory):
    """Run trials of a chief, which has its search in the same directory."""
    if guard.is_over(directory, options):
        say(f"The search in {directory} is over.")
        return
    with worker.Client(oracle, here, guard.digest(facts)) as client:
        if not (directory / records.FACTS).is_file():
            raise ZooError(
                f"the search of the chief at {here.address} is not in {directory}: all "
                "processes of a search need the same folder, and --directory."
            )
        tuner = Trials(oracle, problem, directory, options.retrains, options.seed)
        tuner.oracle = client
        tuner.search()


def _begin(oracle, options, directory):
    """Start the clock and the lines; say where the search stands."""
    if options.max_minutes is not None:
        oracle.most_seconds = 60 * options.max_minutes

    def show(ended):
        record = records.read(directory / f"trial_{ended.trial_id}")
        print(progress.line(oracle, record), flush=True)

    oracle.ended = show
    ended, asked = len(oracle.end_order), options.trials
    going_on = f"going on after trial {ended} of {asked}"
    print(
        f"Search: {options.tuner}, {going_on if ended else f'{asked} trials'}, "
        f"recorded in {directory}",
        flush=True,
    )
    oracle.begin()


def _without(command: list[str], *flags: str) -> list[str]:
    """Return the words of a command without some of its options."""
    words, kept = iter(command), []
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if name not in flags:
            kept.append(word)
        elif "=" not in word and name != "--fork":
            next(words, None)  # its value
    return kept


def _why_over(oracle, options):
    tried, asked = len(oracle.trials), options.trials
    if tried >= asked:
        return f"all {asked} trials are done"
    if oracle.hopeless:
        return f"the first {tried} trials have failed"
    if oracle.out_of_time:
        return f"the time was up after {tried} of {asked} trials"
    if options.tuner == "grid":
        return f"the grid is done, with {tried} of {asked} trials"
    return f"after {tried} of {asked} trials no other configuration was found"


def _found(directory, options):
    """Return the search if a trial was completed."""
    search = Search(directory)
    if search.best:
        return search
    failed = [trial for trial in search.trials if trial.status == "failed"]
    if failed:
        raise ZooError(
            f"all trials failed ({len(failed)}), the first with {failed[0].error}. "
            f"Mend it and begin anew: delete {directory}, or name another one. All "
            f"errors: zoo tune report {directory}"
        )
    raise ZooError(
        f"no trial was completed in {options.max_minutes:g} minutes: give the search "
        "more of --max-minutes; it goes on where it stopped."
    )
