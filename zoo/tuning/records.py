"""What a search leaves in its directory, read again."""

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.errors import ZooError
from zoo.files import write_json

FACTS, RESULT, RECORD = "search.json", "result.json", "record.json"
ORACLE = "oracle.json"  # Keras Tuner's own
EPOCHS = "tuner/epochs"  # the value where its Hyperband puts them


@dataclass(frozen=True)
class Trial:
    """One configuration, and how its trainings went.

    Attributes:
        number: in the order in which the trials were begun, from 1.
        id: Keras Tuner's name of it.
        values: hyper-parameter -> value, those that are active.
        status: how it stands.
        scores: the objective of each training (retrain), the best of its epochs.
        seconds: what they took, together.
        parameters: of the model.
        error: of a failed one, in one line.
        traceback: the whole of it.
        command: what trains the same with the recipe; `None` without one.
    """

    number: int
    id: str
    values: dict
    status: Literal["running", "completed", "failed"] = "running"
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    parameters: int | None = None
    error: str | None = None
    traceback: str | None = None
    command: str | None = None

    @property
    def score(self) -> float | None:
        """The mean over the retrains; `None` if it is not completed."""
        return statistics.mean(self.scores) if self.status == "completed" else None

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over the retrains; `None` for one."""
        if self.score is None or len(self.scores) < 2:
            return None
        return statistics.stdev(self.scores)


class Search:
    """A search, as its directory has it.

    Args:
        directory: of the search.

    Attributes:
        directory: the same, as a `Path`.
        facts: what `search.json` holds: what the search is of.
        trials: in the order in which they were begun.
        space: Keras Tuner's hyper-parameter objects, in order.
        boxes: those of coarse-to-fine, a round each; else empty.
        result: what `result.json` holds; `None` before the end.

    Raises:
        ZooError: the directory is not one of a search, or it is damaged.
    """

    def __init__(self, directory: str | Path):
        import keras_tuner

        self.directory = Path(directory)
        self.facts = facts(self.directory)
        oracle = _read(self.directory / ORACLE)
        hyperparameters = oracle.get("hyperparameters") or {"space": [], "values": {}}
        self.space = keras_tuner.HyperParameters.from_config(hyperparameters).space
        self.boxes = oracle.get("boxes", [])
        self.result = _read(self.directory / RESULT) or None
        self.trials = [
            self._trial(number, name)
            for number, name in enumerate(oracle.get("start_order", []), start=1)
        ]

    def _trial(self, number, name):
        folder = self.directory / f"trial_{name}"
        theirs = _read(folder / "trial.json")
        values = theirs.get("hyperparameters", {}).get("values", {})
        try:
            return dataclasses.replace(read(folder), number=number, values=values)
        except FileNotFoundError:  # it runs, or its worker left no more than this
            error = theirs.get("message")
            status = "failed" if theirs.get("status") == "FAILED" else "running"
            return Trial(number, name, values, status=status, error=error)

    @property
    def best(self) -> Trial | None:
        """The completed trial with the best score, the first of equals."""
        completed = [trial for trial in self.trials if trial.score is not None]
        if not completed:
            return None
        score = self.better([trial.score for trial in completed])
        return next(trial for trial in completed if trial.score == score)

    def better(self, values: list[float]) -> float:
        """Return the best of some values of the objective."""
        return (max if self.facts["direction"] == "max" else min)(values)


def facts(directory: Path) -> dict:
    """Return what a search is of.

    Raises:
        ZooError: the directory is not one of a search.
    """
    if not (directory / FACTS).is_file():
        raise ZooError(
            f"{directory} is not a search: it holds no {FACTS}. Name the directory "
            "that zoo tune printed, such as tuning/fashion_mnist_mlp."
        )
    return _read(directory / FACTS)


def read(folder: Path) -> Trial:
    """Return the record of a trial; raise `FileNotFoundError` if there is none."""
    path = folder / RECORD
    if not path.is_file():
        raise FileNotFoundError(path)
    content = _read(path)
    content["scores"] = tuple(content["scores"])
    return Trial(**content)


def write(folder: Path, trial: Trial) -> None:
    """Write the record of a trial, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, dataclasses.asdict(trial), durable=True)


def _read(path):
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ZooError(
            f"{path} is damaged ({error}): begin a new search beside it with --fork."
        ) from None
    return content
