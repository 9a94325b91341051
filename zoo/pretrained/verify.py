"""Measure pretrained models again, and compare with what their cards say."""

import contextlib
import io
import math
import shlex
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from zoo import console, data, pretrained, recipes
from zoo.errors import ZooError
from zoo.pretrained import measuring

# Machines round differently, which moves single images of 10,000 over a border.
TOLERANCE = 0.0005
OF_A_CLASS = 0.003  # of 1,000 images
SPREADS = 3  # standard errors that two means may differ by
LEAST_SPREAD = 0.0005  # of a training's accuracy


def weights(name: str, data_dir: Path | None, mirror: Path | None) -> bool:
    """Measure a model's weights on the whole test set, and print a table.

    Args:
        name: of the model.
        data_dir: where TensorFlow Datasets keeps data.
        mirror: a folder with the official files.

    Returns:
        Whether every number is the card's, within the tolerance.

    Raises:
        ZooError: there is no such model, or its data set cannot be had whole.
    """
    known = pretrained.facts(name)
    splits = _data(known, data_dir, mirror)
    flipped = "accuracy_flipped_too" in known["measured"]
    told = known["measured"] | {"litert": known["litert"]["accuracy"]}
    measured = measuring.measure(pretrained.load(name), splits.test, flipped)
    answers = pretrained.probabilities(name, splits.test.x)
    measured["litert"] = float((answers.argmax(1) == splits.test.y).mean())
    print(f"{name}: {len(splits.test.y):,} test images")
    all_hold = True
    rows = list(_rows(told, measured, known["class_names"]))
    width = max(len(what) for what, *_ in rows)
    for what, told, found, tolerance in rows:
        holds = abs(told - found) <= tolerance + 1e-9
        all_hold &= holds
        verdict = "holds" if holds else f"DIFFERS by more than {tolerance:.2%}"
        print(f"  {what:{width}}  card {told:7.2%}  measured {found:7.2%}  {verdict}")
    return all_hold


def _data(known: dict, data_dir: Path | None, mirror: Path | None) -> data.Splits:
    """Return the data set that a model was measured on."""
    name = known["data"]["name"]
    splits = data.load(name, validation=0, data_dir=data_dir, mirror=mirror)
    if splits.digest != known["data"]["digest"]:
        raise ZooError(
            f"{splits.name} is not here as the model was measured on it (digest "
            f"{splits.digest[:12]}, not {known['data']['digest'][:12]}): "
            f"zoo data fetch {splits.name}, or name a --mirror."
        )
    return splits


def _rows(told: dict, found: dict, names: list[str]) -> Iterator[tuple]:
    """Yield `(what, card, measured, tolerance)` for every number of a card."""
    for key, what in (
        ("accuracy", "accuracy"),
        ("accuracy_flipped_too", "with the mirror image"),
        ("litert", "of the LiteRT file"),
        ("calibration_error", "calibration error"),
    ):
        if key in told:
            yield what, told[key], found[key], TOLERANCE
    for name, *both in zip(
        names, told["accuracy_of_class"], found["accuracy_of_class"], strict=True
    ):
        yield f"class {name}", *both, OF_A_CLASS
    for key, what in (
        ("accuracy_shifted", "moved by {} pixels"),
        ("accuracy_with_noise", "with noise of {}"),
    ):
        for size, value in told[key].items():
            yield what.format(size), value, found[key][size], TOLERANCE


def retrained(
    name: str, seeds: int, data_dir: Path | None, mirror: Path | None
) -> bool:
    """Train a model again, with new seeds, and compare the mean with the card's.

    Args:
        name: of the model.
        seeds: how many trainings; their seeds follow the card's.
        data_dir: where TensorFlow Datasets keeps data.
        mirror: a folder with the official files.

    Returns:
        Whether the means differ by three standard errors at most.
    """
    known = pretrained.facts(name)
    _data(known, data_dir, mirror)  # before hours of training on others
    training = known["training"]
    first = max(training["seeds"]) + 1
    recipe = recipes.module(known["recipe"])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + seeds):
            words = shlex.split(training["command"])[3:]  # python -m zoo.recipes.NAME
            words += ["--seed", str(seed)]  # of two seeds the last one counts
            words += ["--runs-dir", folder, "--saved-models-dir", folder]
            if data_dir:
                words += ["--data-dir", str(data_dir)]
            if mirror:
                words += ["--mirror", str(mirror)]
            console.say(f"{name}: training with seed {seed} ...")
            with contextlib.redirect_stdout(io.StringIO()):
                metrics = recipe.main(words)
            found.append(metrics["test_accuracy"])
            print(f"  seed {seed}: {found[-1]:.2%}", flush=True)
    told, spread = pretrained.recipe_accuracy(known)
    count, mean = len(training["test_accuracies"]), statistics.fmean(found)
    error = max(spread, LEAST_SPREAD) * math.sqrt(1 / count + 1 / len(found))
    difference = mean - told
    holds = abs(difference) <= SPREADS * error
    print(
        f"{name}: mean of {len(found)} {mean:.2%}, of the card's {count} {told:.2%}: "
        f"{difference / error:+.1f} standard errors, "
        f"{'holds' if holds else 'DOES NOT HOLD'}",
        flush=True,
    )
    return holds
