"""The search itself: one directory, one fingerprint, from preflight to the best."""

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import keras_tuner

from zoo import console
from zoo.console import say
from zoo.errors import ZooError, integer, number, positive_integer, unknown
from zoo.files import writable, write_json
from zoo.training import resuming
from zoo.tuning import (
    chief,
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
        positive_integer("trials", self.trials)
        positive_integer("retrains", self.retrains)
        integer("seed", self.seed, least=0, below=2**32)
        if self.max_minutes is not None:
            number("max_minutes", self.max_minutes, above=0)


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
    facts = _facts(problem, options, objective, space)
    oracle = oracles.make(
        options.tuner,
        objective=objective,
        trials=options.trials,
        seed=options.seed,
        hyperparameters=space,
        epochs=options.epochs,
    )
    if here and not here.chief:
        _work(problem, options, oracle, here, facts, Path(directory), fork)
        return None
    directory = _own(Path(directory), facts, fork)
    if not _has_begun(directory):
        say("Trying the smallest and the largest model of the space ...")
        preflight.check(problem, objective.name)
    writable(directory, "--directory")
    with resuming.lock(directory):
        tuner = Trials(oracle, problem, directory, options.retrains, options.seed)
        if not _is_over(directory, options):
            (directory / records.RESULT).unlink(missing_ok=True)
        told = _told(options) | {"command": command, "over": False}
        write_json(directory / records.FACTS, facts | told, durable=True)
        _begin(oracle, options, directory)
        tuner.save()
        try:
            if workers:
                words = [sys.executable, *command, "--directory", str(directory)]
                with local.workers(workers, words, directory) as group:
                    _serve(oracle, place.from_environment(), facts, group.check)
            elif here:
                _serve(oracle, here, facts)
            else:
                tuner.search()
        except (KeyboardInterrupt, SystemExit):
            say("The same command goes on with the search where it stopped.")
            raise
        tuner.save()
        told["over"] = True
        write_json(directory / records.FACTS, facts | told, durable=True)
        return _ended(oracle, options, directory)


def _told(options):
    """Return what may change from one part of a search to the next."""
    return {"trials": options.trials, "max_minutes": options.max_minutes}


def _is_over(directory, options):
    if not (directory / records.FACTS).is_file():
        return False
    before = records.facts(directory)
    return before["over"] and before.items() >= _told(options).items()


def _begin(oracle, options, directory):
    """Start the clock and the lines; say where the search stands."""
    if options.max_minutes is not None:
        oracle.most_seconds = 60 * options.max_minutes
    oracle.ended = functools.partial(_show, oracle, directory)
    ended, asked = len(oracle.end_order), options.trials
    going_on = f"going on after {ended} trials" if ended else f"{asked} trials"
    print(f"Search: {options.tuner}, {going_on}, recorded in {directory}", flush=True)
    oracle.begin()


def _show(oracle, directory, ended):
    search = Search(directory)
    trial = next(trial for trial in search.trials if trial.id == ended.trial_id)
    print(progress.line(search, oracle, trial), flush=True)


def _serve(oracle, here, facts, watch=None):
    chief.serve(oracle, here, _digest(facts), watch=watch)


def _work(problem, options, oracle, here, facts, directory, fork):
    if _is_over(directory, options) and not _differs(directory, facts):
        say(f"The search in {directory} is over.")
        return
    with worker.Client(oracle, here, _digest(facts)) as client:
        directory = _own(directory, facts, fork)  # the chief has made it by now
        tuner = Trials(oracle, problem, directory, options.retrains, options.seed)
        tuner.oracle = client
        tuner.search()


def _ended(oracle, options, directory):
    """Return the search if a trial was completed; say if there were too few."""
    search = Search(directory)
    tried, asked = len(search.trials), options.trials
    if search.best is None:
        failed = [trial for trial in search.trials if trial.status == "failed"]
        if failed:
            raise ZooError(
                f"all {len(failed)} trials failed, the first with {failed[0].error}. "
                f"All errors: zoo tune report {directory}"
            )
        raise ZooError(
            f"no trial was completed in {options.max_minutes:g} minutes: give the "
            "search more of --max-minutes; it goes on where it stopped."
        )
    if tried < asked and oracle.out_of_time:
        print(f"The time is over, after {tried} of {asked} trials.")
    elif tried < asked:
        print(f"The space is exhausted: all {tried} configurations were tried.")
    return search


def _facts(problem, options, objective, space):
    trials = {"trials": options.trials}
    return {
        "name": problem.name,
        "tuner": options.tuner,
        "objective": objective.name,
        "direction": objective.direction,
        "retrains": options.retrains,
        "seed": options.seed,
        **({} if options.tuner not in oracles.BY_TRIALS else trials),
        "space": {hp.name: hp.get_config() for hp in space.space},
        **problem.facts(),
    }


def _digest(facts):
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _own(directory: Path, facts: dict, fork: bool) -> Path:
    """Return the directory of this search: the one asked for, or one beside it."""
    number = 1
    while True:
        path = directory if number == 1 else Path(f"{directory}-{number}")
        if not path.exists() or not any(path.iterdir()):
            return path
        difference = _differs(path, facts)
        if not difference:
            return path
        if not fork:
            raise ZooError(
                f"{path} holds another search: {difference}. Go on with that one by "
                "its own options, or begin a new one beside it with --fork."
            )
        number += 1


def _differs(directory: Path, facts: dict) -> str | None:
    """Return how the search in a directory differs; `None` if it is the same."""
    before, now = records.facts(directory), json.loads(json.dumps(facts, default=str))
    for name, value in now.items():
        was = before.get(name)
        if was == value:
            continue
        if name == "space":
            name = next(hp for hp in {**was, **value} if was.get(hp) != value.get(hp))
            return f"the range of {name} was {was.get(name)}, is {value.get(name)}"
        if name == "code":
            return "the code of the model was another"
        return f"{name} was {was}, is {value}"
    return None


def _has_begun(directory):
    return any(directory.glob("trial_*/trial.json"))
