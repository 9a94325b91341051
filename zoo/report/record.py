"""A run directory, read for a report: what is there, and what is missing."""

import csv
import json
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.errors import ZooError
from zoo.report import evaluation


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
    if not (path / "config.json").is_file():
        raise ZooError(_not_a_run(path))
    missing = []
    config = _json(path / "config.json", missing) or {}
    environment = _json(path / "environment.json", missing) or {}
    metrics = _json(path / "metrics.json", missing) or {}
    history = _history(path / "history.csv")
    if not metrics:
        missing.append("No result: the run was killed, or it is still running.")
    if not history:
        missing.append("No learning curves: no epoch was finished.")
    elif "val_loss" not in history:
        missing.append("No validation: the run was trained without it.")
    gradients = _json(path / "gradients.json", missing)
    if gradients and not gradients.get("epochs"):
        missing.append("gradients.json holds no epoch.")
        gradients = None
    return Record(
        path, config, environment, metrics, history, gradients,
        _evaluation(path / evaluation.NAME, missing), tuple(missing),
    )  # fmt: skip


def _not_a_run(path):
    here = path if path.is_dir() else Path("runs")
    runs = sorted(file.parent for file in here.rglob("config.json"))
    found = f"such as {runs[-1]}" if runs else "such as runs/RECIPE/TIME-seedK"
    what = "holds no config.json" if path.is_dir() else "does not exist"
    return (
        f"{path} is not a run directory: it {what}. Name a directory that zoo train "
        f"made, {found}"
    )


def _json(path, missing):
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        missing.append(f"{path.name} is damaged.")
        return None
    return content


def _history(path):
    try:
        with path.open(newline="", encoding="utf8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except OSError:
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
            arrays = np.load(file)
            return {key: arrays[key] for key in evaluation.KEYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        missing.append(f"{path.name} is damaged: nothing is shown of the test set.")
        return None
