"""`zoo export`: a run or a Keras file -> SavedModel, LiteRT, ONNX, side by side."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from zoo import console, data, recipes
from zoo.errors import ZooError
from zoo.export import certificate, comparison, formats, loading, runtimes
from zoo.export.classifier import Classifier
from zoo.export.saved_model import NUM_NOISE, noise, write
from zoo.files import writable
from zoo.report import record
from zoo.training import resuming

Format = Literal["saved_model", "litert", "onnx"]
_FOLDERS = {
    "saved_model": "saved_models",
    "litert": "litert_models",
    "onnx": "onnx_models",
}
# A folder, and a part of a URL; a number would be taken for a version.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_REPRESENTATIVE = 500  # validation images, to choose the ranges of integers by


@dataclass(frozen=True)
class Export:
    """Write a trained model in formats to serve, check each, and compare them.

    Each is NAME/VERSION/ in a folder of its own, with a certificate that zoo
    check-export replays.
    """

    source: Annotated[Positional[Path], arg(metavar="RUN|MODEL")]
    """A run directory, such as runs/fashion_mnist/20260131-120000-seed0; or a .keras
    file of an image classifier that takes raw pixels, 0 to 255."""
    format: tuple[Format, ...] = ("saved_model",)
    """One or several: saved_model (TensorFlow Serving, zoo serve), litert (phones and
    small devices; float and int8), onnx (ONNX Runtime)."""
    name: str | None = None
    """The model's name; None is RECIPE_MODEL, or the file's name."""
    data: str | None = None
    """Of a .keras file: the TFDS name of the data set it was trained on, which gives
    the class names, the golden images and the test accuracy."""
    data_dir: Path | None = None
    """Where TensorFlow Datasets keeps data; None is the run's."""
    mirror: Path | None = None
    """A folder that holds NAME/FILE for the official files; None is the run's."""
    output_dir: Path = Path(".")
    """Where saved_models/, litert_models/ and onnx_models/ are."""

    def __call__(self):
        """Export, and print where to and how the formats compare."""
        if not self.source.exists():
            raise ZooError(
                f"{self.source} does not exist: name a run directory or a .keras file."
            )
        if not self.format:
            raise ZooError(f"--format needs one or several of {', '.join(_FOLDERS)}.")
        if self.name is not None or self.source.is_file():
            _check_name(self.source.stem if self.name is None else self.name)
        for name in set(self.format) - {"saved_model"}:
            runtimes.need(name)
        print("Loading TensorFlow ...", flush=True)
        console.import_keras()
        trained = _of_run(self) if self.source.is_dir() else _of_file(self)
        if "litert" in self.format and trained.splits is None:
            raise ZooError(
                "--format litert needs --data NAME: the ranges of the int8 file are "
                "chosen by images like those the model was trained on."
            )
        print("Exporting ...", flush=True)
        written = list(_write(trained, dict.fromkeys(self.format), self.output_dir))
        if trained.splits:
            test = trained.splits.test
            rows = comparison.compare(trained.classifier, written, *test)
            print(f"\nOn all {len(test.y):,} test images:\n{comparison.table(rows)}")
        print("\nCheck again:")
        for version in written:
            print(f"  zoo check-export {version}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ZooError(
            "--name must be letters, digits, - and _, and begin with a letter or _, as "
            f"in fashion_mnist_cnn. Received: {name!r}"
        )


@dataclass(frozen=True)
class Trained:
    """A trained classifier, and what is known of it.

    Attributes:
        name: of the export.
        classifier: the model with its class names.
        splits: its data; `None` if unknown.
        facts: what to certify.
    """

    name: str
    classifier: Classifier
    splits: data.Splits | None
    facts: dict


def _of_run(options: Export) -> Trained:
    """Return the model of a finished run, with the data that it was tested on."""
    if options.data:
        raise ZooError("--data is for a .keras file; a run knows its data set.")
    run = record.read(options.source)
    if run.metrics.get("status") != "complete":
        raise ZooError(
            f"the run in {run.path} is not complete: finish it first, by zoo train "
            f"{run.recipe} --resume {run.path}"
        )
    recipe = recipes.module(run.recipe)
    config = resuming.options_of(run.path, recipe.Config)
    given = {"data_dir": options.data_dir, "mirror": options.mirror}
    given = {key: value for key, value in given.items() if value is not None}
    splits = recipe.load(dataclasses.replace(config, **given))
    then = run.metrics["data"]["digest"]
    if splits.digest != then:
        raise ZooError(
            f"the data here are not those of the run in {run.path} (digest "
            f"{splits.digest[:12]}, not {then[:12]}): name its data with --data-dir, "
            "or export where it was trained."
        )
    model = loading.load(run.path / "model.keras")
    classifier = Classifier(model, _some(splits.test.x), splits.class_names)
    name = options.name or f"{run.recipe}_{run.model}"
    return Trained(name, classifier, splits, certificate.facts(run.metrics))


def _of_file(options: Export) -> Trained:
    """Return the model of a file, with the data set that the user names."""
    name = options.name or options.source.stem
    model = loading.load(options.source)
    if options.data is None:
        return Trained(name, Classifier(model, noise(model)), None, {})
    splits = data.load(options.data, data_dir=options.data_dir, mirror=options.mirror)
    classifier = Classifier(model, _some(splits.test.x), splits.class_names)
    right = classifier.predict(splits.test.x).argmax(axis=1) == splits.test.y
    accuracy = {"test": float(np.mean(right)), "images": len(right)}
    facts = {"data": splits.record(), "accuracy": accuracy}
    return Trained(name, classifier, splits, facts)


def _some(images: np.ndarray) -> np.ndarray:
    return images[:NUM_NOISE]


def _write(trained: Trained, asked: Iterable[str], output_dir: Path) -> Iterable[Path]:
    """Write the formats; yield the folder of each."""
    classifier, splits = trained.classifier, trained.splits
    if splits:
        examples, labels = splits.test
    else:
        examples, labels = noise(classifier.model), None
    facts = {**trained.facts, "name": trained.name}
    proof = certificate.certify(classifier, examples, labels, facts)
    for name in asked:
        directory = writable(output_dir / _FOLDERS[name], "--output-dir") / trained.name
        if name == "saved_model":
            version = write(classifier, directory, proof)
        elif name == "litert":
            images = splits.validation.x[:_REPRESENTATIVE]
            version = formats.litert(classifier, directory, proof, images)
        else:
            version = formats.onnx(classifier, directory, proof)
        print(f"{name:12} {version}", flush=True)
        yield version
