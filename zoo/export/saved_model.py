"""A Keras model -> `saved_models/NAME/VERSION/`, tested before it is there."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from zoo.errors import ZooError

TOLERANCE = 1e-5


def saved_model(model, directory: str | Path, examples: np.ndarray) -> Path:
    """Export a model as the next version of a SavedModel.

    It is written beside its place, reloaded with `tf.saved_model.load` alone, and
    compared with the model; only then it is renamed to its version, so that a server
    that watches the folder never sees a half-written one.

    Args:
        model: an image classifier, a `keras.Model` with one input.
        directory: `SAVED_MODELS/NAME`; versions are its subfolders `1`, `2`, ...
        examples: raw images to compare with: uint8 `(n, height, width, channels)`.

    Returns:
        The folder of the new version. Its `serve` takes a batch of raw images and
        returns class probabilities.

    Raises:
        ZooError: the reloaded model's answers differ by more than 1e-5.
    """
    import tensorflow as tf

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # Not a number: TensorFlow Serving does not look at it.
    staging = Path(tempfile.mkdtemp(prefix=".exporting-", dir=directory))
    try:
        model.export(staging / "model", verbose=False)
        reloaded = tf.saved_model.load(staging / "model")
        served = reloaded.serve(examples).numpy()
        expected = np.asarray(model(examples, training=False))
        difference = float(np.max(np.abs(served - expected)))
        if not difference <= TOLERANCE:  # nor if it is NaN
            raise ZooError(
                f"the exported model's answers differ from the trained one's by up to "
                f"{difference:.2g}; nothing was written to {directory}."
            )
        return _publish(staging / "model", directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def copy(version: Path, directory: str | Path) -> Path:
    """Copy a version of a SavedModel, to be the next one of another directory.

    Args:
        version: the folder that `saved_model` returned.
        directory: `SAVED_MODELS/NAME`.

    Returns:
        The folder of the copy.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".copying-", dir=directory) as staging:
        beside = Path(staging) / "model"
        shutil.copytree(version, beside)
        return _publish(beside, directory)


def _publish(folder: Path, directory: Path) -> Path:
    while True:
        version = max(versions(directory), default=0) + 1
        path = directory / str(version)
        try:
            os.rename(folder, path)
        except OSError:
            if not path.exists():  # otherwise another process took this version
                raise
        else:
            return path


def versions(directory: Path) -> list[int]:
    """Return the versions in a SavedModel's directory, ascending."""
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())
