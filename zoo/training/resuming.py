"""Which run to go on with, and whether its options are those that were asked for."""

import contextlib
import dataclasses
import difflib
import json
import typing
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from zoo.errors import ZooError
from zoo.training.checkpoint import Checkpoints

T = TypeVar("T")

LATEST, AUTO = "latest", "auto"
FINISHED = ("complete", "diverged")  # a `status` that no training goes on from
# Where things are read and written, and what is shown: the result is the same. Of the
# strategy, the number of replicas has an effect: it is compared for itself.
WITHOUT_EFFECT = frozenset(
    "summary data_dir mirror runs_dir saved_models_dir checkpoint_every resume "
    "strategy virtual_devices".split()
)


def find(asked: str, recipe: str, runs_dir: str | Path) -> Path:
    """Return the directory of the run that `--resume` names.

    Args:
        asked: a run directory, or `"latest"`: the newest that is unfinished.
        recipe: its name.
        runs_dir: where to look for the latest.

    Raises:
        ZooError: there is no such run, or it is finished, or of another recipe.
    """
    if asked == LATEST:
        runs = _unfinished(recipe, runs_dir)
        if not runs:
            raise ZooError(
                f"--resume latest: no unfinished run of {recipe} in {runs_dir}: name "
                "another folder with --runs-dir, or begin a new run without --resume."
            )
        return runs[-1]
    path = Path(asked)
    if not asked or not (path / "config.json").is_file():
        close = difflib.get_close_matches(asked, (LATEST, AUTO), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "It holds no config.json."
        raise ZooError(
            "--resume must be a run directory, latest or auto. Received: "
            f"{asked!r}. {hint}"
        )
    _refuse_another_recipe(path, recipe)
    status = _status(path)
    if status in FINISHED:
        # Those of a process that was killed before it deleted them.
        Checkpoints(path / "checkpoints").clear()
        raise ZooError(
            f"nothing to resume: the run in {path} is {status}. Begin a new one "
            "without --resume."
        )
    return path


def find_alike(recipe: str, runs_dir: str | Path, config) -> Path | None:
    """Return the newest unfinished run of these options that no process is in."""
    for path in reversed(_unfinished(recipe, runs_dir)):
        try:
            before = options_of(path, type(config))
            with lock(path):
                if effective(before) == effective(config):
                    return path
        except ZooError:  # of another version, or in use
            continue
    return None


def find_complete(recipe: str, runs_dir: str | Path, config) -> Path | None:
    """Return a complete run of these options; `None` if there is none."""
    for found in (Path(runs_dir) / recipe).glob("*/config.json"):
        path = found.parent
        if _status(path) == "complete":
            with contextlib.suppress(ZooError):  # of another version
                if effective(options_of(path, type(config))) == effective(config):
                    return path
    return None


def lock(path: Path, what: str = "run") -> FileLock:
    """Keep every other process out of a run, until this one ends or releases it.

    Args:
        path: its directory.
        what: it is, for the message.

    Raises:
        ZooError: another process is in it.
    """
    # Of one process all have the same lock: a notebook may go on with its own run.
    held = FileLock(path / ".lock", timeout=0, is_singleton=True)
    try:
        held.acquire()
    except Timeout:
        raise ZooError(
            f"the {what} in {path} is in use by another process: wait for it, or end "
            "it."
        ) from None
    return held


def options_of(path: Path, kind: type[T]) -> T:
    """Return the options of a run, from its `config.json`.

    Args:
        path: the run directory.
        kind: the recipe's dataclass of options.

    Raises:
        ZooError: it cannot be read, or has other options.
    """
    hints = typing.get_type_hints(kind)
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no options")
        if set(values) != set(hints):
            first, *_ = sorted(set(values) ^ set(hints))
            raise ValueError(f"{flag(first)} is of one of the two alone")
        return kind(**{name: _value(hints[name], v) for name, v in values.items()})
    except (OSError, ValueError, TypeError) as error:
        raise ZooError(
            f"{path / 'config.json'} is damaged, or of another recipe or version "
            f"({error})."
        ) from error


def refuse_another(config, before) -> None:
    """Raise if options differ that have an effect on the result.

    Raises:
        ZooError: naming the first that does.
    """
    for name, value in effective(config).items():
        was = effective(before)[name]
        if value != was:
            raise ZooError(
                f"{name} is {value}, the run's was {was}: leave {name} out to go on "
                "with it, or begin a new run without --resume."
            )


def effective(config) -> dict:
    """Return the options that have an effect on the result: flag -> value."""
    return {
        flag(field.name): getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in WITHOUT_EFFECT
    }


def flag(name: str) -> str:
    """Return an option's name as the command line has it."""
    return "--" + name.replace("_", "-")


def environment_of(path: Path) -> dict:
    """Return what `environment.json` holds; it is a record only: `{}` if damaged."""
    try:
        content = json.loads((path / "environment.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _refuse_another_recipe(path, recipe):
    was = environment_of(path).get("recipe", recipe)
    if was != recipe:
        raise ZooError(
            f"the run in {path} is of the recipe {was}, not of {recipe}: go on with "
            f"it by python -m zoo.recipes.{was}, or name another run."
        )


def _unfinished(recipe, runs_dir):
    """Return the directories of unfinished runs, the newest last."""
    configs = (Path(runs_dir) / recipe).glob("*/config.json")
    runs = sorted((config.parent for config in configs), key=_began)
    return [path for path in runs if _status(path) not in FINISHED]


def _began(path):
    # By its name, TIME-seedK or TIME-seedK-2: a copied file has another time.
    return path.name[: len("YYYYMMDD-HHMMSS")], len(path.name), path.name


def _status(path):
    try:
        return json.loads((path / "metrics.json").read_text(encoding="utf8"))["status"]
    except (OSError, ValueError, LookupError, TypeError):
        return None  # it was killed


def _value(hint, value):
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        return Path(value)
    return value
