"""A run directory, read for a report: what is there, and what is missing."""

import csv
import json
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.course import syllabus
from zoo.errors import ZooError
from zoo.report import checks, evaluation

_EVERY_RUN_HAS = ("config.json", "environment.json")
_DAMAGED = "is damaged or of another version"


@dataclass(frozen=True)
class Record:
    """What a run left behind.

    Attributes:
        path: its directory.
        config: its options.
        environment: versions and machine.
        metrics: its results; empty if it was killed.
        history: column name -> a number for each finished epoch, NaN where none was.
        gradients: what `GradientMonitor.save` wrote, or `None`.
        evaluation: the arrays of `evaluation.measure`, or `None`.
        missing: what is not there, a sentence each.
    """

    path: Path
    config: dict
    environment: dict
    metrics: dict
    history: dict[str, list[float]]
    gradients: dict | None
    evaluation: dict[str, np.ndarray] | None
    missing: tuple[str, ...]

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.metrics.get("recipe") or self.path.resolve().parent.name

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.config.get("model", "model"))

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.metrics.get("data", {}).get("name", self.recipe)

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return max(map(len, self.history.values()), default=0)

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept, counted from 1."""
        unknown = [math.nan] * self.epochs
        losses = self.history.get("loss", unknown)
        accuracies = self.history.get("val_accuracy", unknown)
        healthy = [
            (accuracy, -epoch)
            for epoch, (accuracy, loss) in enumerate(
                zip(accuracies, losses, strict=True), start=1
            )
            if math.isfinite(accuracy) and math.isfinite(loss)
        ]
        return -max(healthy)[1] if healthy else None


def read(path: str | Path) -> Record:
    """Read a run directory; what cannot be read is missing, and said so.

    Raises:
        ZooError: `path` is not a run directory.
    """
    path = Path(path)
    if _lacks(path):
        raise ZooError(_not_a_run(path))
    missing = []
    environment = _json(path / "environment.json", missing) or {}
    if environment.get("recipe") in syllabus.RECIPES:
        raise ZooError(
            f"{path} is an experiment of the course, which keeps no model: there is "
            f"nothing to compare or export. Its page: zoo report {path}"
        )
    config = _json(path / "config.json", missing) or {}
    metrics = _metrics(path / "metrics.json", missing)
    history = _history(path / "history.csv")
    if not metrics:
        missing.append("No result: the run was killed, or it is still running.")
    if not history:
        missing.append("No learning curves: no epoch was finished.")
    elif "val_loss" not in history:
        missing.append("No validation: the run was trained without it.")
    gradients = _gradients(path / "gradients.json", missing)
    arrays = _evaluation(path / evaluation.NAME, missing)
    return Record(
        path, config, environment, metrics, history, gradients, arrays, tuple(missing)
    )


def _not_a_run(path):
    here = path if path.is_dir() else Path("runs")
    within = [parent for parent in path.parents if not _lacks(parent)]
    runs = within[:1] or sorted(_runs(here), key=_began)
    found = runs[-1] if runs else "runs/RECIPE/TIME-seedK"
    what = "does not exist"
    if path.is_dir():
        what = f"holds no {' and no '.join(_lacks(path))}"
    elif path.exists():
        what = "is a file"
    return (
        f"{path} is not a run directory: it {what}. Name a directory that zoo train "
        f"made, such as {found}"
    )


def _lacks(folder):
    return [name for name in _EVERY_RUN_HAS if not os.path.isfile(folder / name)]


def _runs(top):
    """Yield the run directories up to three levels below, as runs/RECIPE/RUN is."""
    for folder, folders, files in os.walk(top):
        here = Path(folder)
        if set(_EVERY_RUN_HAS) <= set(files):
            yield here
        if len(here.relative_to(top).parts) == 3:
            folders.clear()


def _began(run):
    return (run / "config.json").stat().st_mtime_ns, run


def _json(path, missing):
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        missing.append(f"{path.name} {_DAMAGED}.")
        return None
    return content


def _metrics(path, missing):
    metrics = _json(path, missing) or {}
    for key in checks.damaged_metrics(metrics):
        missing.append(f"{path.name}: {key} {_DAMAGED}.")
        del metrics[key]
    return metrics


def _gradients(path, missing):
    gradients = _json(path, missing)
    if gradients is None:
        return None
    if gradients.get("epochs") == []:
        missing.append(f"{path.name} holds no epoch.")
    elif checks.gradients_fit(gradients):
        return gradients
    else:
        missing.append(f"{path.name} {_DAMAGED}.")
    return None


def _history(path):
    try:
        with path.open(newline="", encoding="utf8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error):
        return {}
    names = [name for name in rows[0] if name and name != "epoch"] if rows else []
    return {name: [_number(row[name]) for row in rows] for name in names}


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):  # cut short, or Keras's "NA"
        return math.nan


def _evaluation(path, missing):
    if not path.exists():
        missing.append(
            "The test set was not evaluated for this report: the run did not finish, "
            "or it is older than reports are."
        )
        return None
    try:
        with path.open("rb") as file:
            loaded = np.load(file)
            arrays = {key: loaded[key] for key in evaluation.KEYS}
        if checks.evaluation_fits(arrays):
            return arrays
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # cut short
    except (ValueError, KeyError, IndexError, TypeError):
        pass  # not an archive, or of other arrays
    missing.append(f"{path.name} {_DAMAGED}: nothing is shown of the test set.")
    return None
