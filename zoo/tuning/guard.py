"""What keeps searches apart: the facts of each, in its directory."""

import hashlib
import json
from pathlib import Path

from zoo.errors import ZooError
from zoo.files import write_json
from zoo.tuning import oracles, records


def facts_of(problem, options, objective, space) -> dict:
    """Return what must be the same for a search to go on."""
    trials = {"trials": options.trials}
    return {
        "name": problem.name,
        "tuner": options.tuner,
        "objective": objective.name,
        "direction": objective.direction,
        "retrains": options.retrains,
        "seed": options.seed,
        **({} if options.tuner not in oracles.BY_TRIALS else trials),
        **problem.facts(),
        "space": {hp.name: hp.get_config() for hp in space.space},
    }


def digest(facts: dict) -> str:
    """Return a digest of a search's facts, which its workers must share."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def own(directory: Path, facts: dict, fork: bool) -> Path:
    """Return the directory of this search: the one asked for, or one beside it.

    Args:
        directory: which was asked for.
        facts: of this search.
        fork: take one beside it if another search is there.

    Raises:
        ZooError: another search is there, or something else.
    """
    number = 1
    while True:
        path = directory if number == 1 else Path(f"{directory}-{number}")
        if not path.exists():
            return path
        if not path.is_dir():
            raise ZooError(f"{path} is a file: name another folder for the search.")
        if {entry.name for entry in path.iterdir()} <= {".lock"}:
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
    for name in sorted(now, key="code".__eq__):  # last: what it changes says more
        value = now[name]
        was = before.get(name)
        if was == value:
            continue
        if name == "space":
            name = next(hp for hp in {**was, **value} if was.get(hp) != value.get(hp))
            if not (was.get(name) and value.get(name)):
                return f"{name} is {'new in' if name in value else 'gone from'} it"
            return f"the range of {name} was {was[name]}, is {value[name]}"
        if name == "code":
            return "the code of the model was another"
        if name == "data":
            return "the data were others"
        return f"{name} was {was}, is {value}"
    return None


def write(
    directory: Path, facts: dict, options, command: list[str] | None, over: str | None
) -> None:
    """Write down what a search is of, and what may change from part to part.

    Args:
        directory: of the search.
        facts: what must be the same to go on with it.
        options: with how many trials it ends, and after how many minutes.
        command: the words that go on with it, if a command line does.
        over: why it ended; `None` before that.
    """
    told = {"command": command, "over": over, **_limits(options)}
    write_json(directory / records.FACTS, facts | told, durable=True)


def is_over(directory: Path, options) -> bool:
    """Return whether a search has ended, for the same number of trials and minutes."""
    if not (directory / records.FACTS).is_file():
        return False
    before = records.facts(directory)
    return bool(before["over"]) and before.items() >= _limits(options).items()


def _limits(options):
    return {"trials": options.trials, "max_minutes": options.max_minutes}
