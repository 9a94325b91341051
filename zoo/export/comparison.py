"""One table of a model's formats: size, agreement, difference, accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo import console
from zoo.export import replay
from zoo.export.classifier import Classifier
from zoo.export.runtimes import of_version

_BATCH = 256


@dataclass(frozen=True)
class Row:
    """What was measured of one format on the whole test set.

    Attributes:
        format: its name.
        size: in bytes; `None` for the trained model itself.
        agreement: with the class that the trained model names, 0 to 1.
        difference: the largest of a probability, from the trained model's.
        accuracy: 0 to 1; `None` without labels.
    """

    format: str
    size: int | None
    agreement: float
    difference: float
    accuracy: float | None


def compare(
    classifier: Classifier,
    exported: Sequence[Path],
    images: np.ndarray,
    labels: np.ndarray | None = None,
) -> list[Row]:
    """Ask a trained model and its exports about the same images.

    Args:
        classifier: the trained model.
        exported: folders of versions: SavedModel, LiteRT, ONNX.
        images: uint8 `(n, *image_shape)`, the test set.
        labels: their true classes, int `(n,)`.

    Returns:
        A row for the trained model, and one for each file, in the order given.
    """

    def trained(signature, inputs):
        return {"probabilities": np.asarray(classifier.probabilities(**inputs))}

    expected = _probabilities("trained model", trained, images)
    rows = [_row("trained model", None, expected, expected, labels)]
    for version in exported:
        for runtime in of_version(version):
            ask = runtime.open(runtime.path)
            answers = _probabilities(runtime.format, ask, images)
            size = _size(runtime.path)
            rows.append(_row(runtime.format, size, answers, expected, labels))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as lines of text, below a heading."""
    heading = f"{'format':14}{'kB':>9}{'same class':>13}{'largest diff.':>15}"
    return "\n".join([f"{heading}{'test accuracy':>15}", *map(_line, rows)])


def _line(row):
    size = "-" if row.size is None else f"{row.size / 1000:,.0f}"
    accuracy = "-" if row.accuracy is None else f"{row.accuracy:.2%}"
    return (
        f"{row.format:14}{size:>9}{row.agreement:>13.2%}{row.difference:>15.1e}"
        f"{accuracy:>15}"
    )


def _probabilities(what: str, ask: replay.Ask, images):
    answers = []
    with console.progress_bar(what, "image", len(images)) as bar:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            answers.append(ask("serving_default", {"images": batch})["probabilities"])
            bar.update(len(batch))
    return np.concatenate(answers)


def _row(name, size, answers, expected, labels):
    classes = answers.argmax(axis=1)
    return Row(
        format=name,
        size=size,
        agreement=float(np.mean(classes == expected.argmax(axis=1))),
        difference=float(np.abs(answers - expected).max()),
        accuracy=None if labels is None else float(np.mean(classes == labels)),
    )


def _size(path: Path) -> int:
    """Return the bytes of a file, or of the graph and the weights of a SavedModel."""
    if path.is_file():
        return path.stat().st_size
    files = [path / "saved_model.pb", *(path / "variables").glob("*")]
    return sum(file.stat().st_size for file in files)
