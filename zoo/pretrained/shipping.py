"""`zoo ship`: finished runs of a recipe -> weights, measurements and a card."""

import dataclasses
import hashlib
import io
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from zoo import console, pretrained, recipes
from zoo.data import Examples
from zoo.errors import ZooError
from zoo.export import formats
from zoo.export.classifier import Classifier
from zoo.files import replacing, writable, write_json
from zoo.pretrained import cards, measuring
from zoo.report import record
from zoo.training import options, resuming

LEAST_RUNS = 5


@dataclass(frozen=True)
class Ship:
    """Make a pretrained model of runs that differ in their seed alone.

    The weights are those of the run best on validation; its test accuracy has no say.
    What the card tells is measured on the whole test set.
    """

    runs: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="RUN [RUN ...]", help_behavior_hint=""),
    ]
    """Five finished runs or more, such as runs/fashion_mnist/*-seed*."""
    output_dir: Path = pretrained.FOLDER
    """The folder to write NAME.npz, NAME.tflite, NAME.json and NAME.md to."""

    def __call__(self):
        """Choose, measure, write, and print the card."""
        runs = [_finished(path) for path in self.runs]
        if len(runs) < LEAST_RUNS:
            raise ZooError(
                f"zoo ship needs {LEAST_RUNS} finished runs or more, so that the card "
                f"can tell a spread. Received: {len(runs)}"
            )
        _check_alike(runs)
        output = writable(self.output_dir, "--output-dir")
        print("Loading TensorFlow ...", flush=True)
        console.import_keras()
        path = ship(runs, output)
        print(path.read_text(encoding="utf8"))
        print(f"Card: {path}")


def _finished(path: Path) -> record.Record:
    run = record.read(path)
    if run.metrics.get("status") != "complete":
        raise ZooError(f"the run in {path} is not complete: finish it or leave it out.")
    return run


def _check_alike(runs: list[record.Record]) -> None:
    """Raise a `ZooError` if runs differ in more than their seed, or share one."""
    first, *others = runs
    wanted = _options(first)
    for run in others:
        same = _options(run) == wanted and run.recipe == first.recipe
        if not same or run.metrics["data"]["digest"] != first.metrics["data"]["digest"]:
            raise ZooError(
                f"{run.path} has other options or data than {first.path}: runs that "
                "are shipped together differ in their seed alone."
            )
    if len({run.config["seed"] for run in runs}) < len(runs):
        raise ZooError("two of the runs have the same seed: leave one of them out.")


def _options(run: record.Record) -> dict:
    config = resuming.options_of(run.path, recipes.module(run.recipe).Config)
    return {k: v for k, v in resuming.effective(config).items() if k != "--seed"}


def ship(runs: list[record.Record], output: Path) -> Path:
    """Write the four files of a pretrained model; return the path of its card.

    Args:
        runs: finished, alike but for their seed.
        output: the folder to write to.
    """
    import keras

    from zoo.export import loading

    runs = sorted(runs, key=lambda run: run.metrics["seed"])
    best = max(runs, key=lambda run: run.metrics["validation_accuracy"])
    recipe = recipes.module(best.recipe)
    config = resuming.options_of(best.path, recipe.Config)
    splits = recipe.load(config)
    if splits.digest != best.metrics["data"]["digest"]:
        raise ZooError(
            f"the data here are not those of the runs: zoo data fetch {splits.name}"
        )
    builder, arguments = recipe.architecture(config)
    name = f"{best.recipe}_{arguments['name']}"
    try:
        json.dumps(arguments)
    except TypeError:
        raise ZooError(
            f"{name} has a layer of its own ({arguments['layer'].__name__}), and what "
            "ships is a plain Keras model: ship one without."
        ) from None
    arguments = {**arguments, "name": name}
    facts = {
        "name": name,
        "builder": builder,
        "arguments": arguments,
        "class_names": splits.class_names,
        "data": {
            "name": splits.name,
            "digest": splits.digest,
            "test": len(splits.test.y),
        },
        "recipe": recipe.NAME,
        "training": _training(runs, best) | {"command": _command(recipe, config)},
    }
    model = pretrained.build(facts)
    model.set_weights(loading.load(best.path / "model.keras").get_weights())
    file = io.BytesIO()
    np.savez(file, *model.get_weights())
    content = file.getvalue()
    quick = formats.half(Classifier(model, splits.test.x[:2]))
    facts |= {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "litert": litert(quick, splits.test),
        **measuring.size(model),
        "inference": measuring.inference(model),
        "measured": measuring.measure(model, splits.test, mirror=config.flip),
        "keras": keras.__version__,
    }
    for suffix, written in ((".npz", content), (".tflite", quick)):
        with replacing(output / f"{name}{suffix}") as beside:
            beside.write_bytes(written)
    write_json(output / f"{name}.json", facts)
    return cards.write(facts, output)


def litert(content: bytes, test: Examples) -> dict:
    """Return the `sha256`, `bytes` and `accuracy` of a LiteRT file.

    Args:
        content: of the file.
        test: the whole test set.
    """
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        answers = pretrained.litert_answers(file.name, test.x)
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "accuracy": float((answers.argmax(1) == test.y).mean()),
    }


def _training(runs: list[record.Record], best: record.Record) -> dict:
    """Return what the card tells of the trainings."""
    metrics = best.metrics
    return {
        "seed": metrics["seed"],
        "seeds": [run.metrics["seed"] for run in runs],
        "test_accuracies": [run.metrics["test_accuracy"] for run in runs],
        "validation_accuracy": metrics["validation_accuracy"],
        "epochs": metrics["epochs"],
        "examples": metrics["data"]["train"],
        "seconds": statistics.median(run.metrics["train_seconds"] for run in runs),
        "cpu": best.environment["cpu"],
        "cpu_count": best.environment["cpu_count"],
    }


def _command(recipe, config) -> str:
    """Return the command of a run, without where it read and wrote."""
    preset = recipe.PRESETS[config.model]
    places = {name: getattr(preset, name) for name in resuming.WITHOUT_EFFECT}
    config = dataclasses.replace(config, **places)
    return options.command(recipe.NAME, recipe.PRESETS, config)
