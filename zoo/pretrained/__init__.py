"""Pretrained models that ship in the package: no network is needed.

`NAME.npz` holds the weights, `NAME.tflite` the model for LiteRT, `NAME.json` what was
measured of them, `NAME.md` the card, which is made from the measurements.
`zoo.pretrained.shipping` writes all four.
"""

import hashlib
import io
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import ZooError, positive_integer, unknown

if TYPE_CHECKING:
    import keras

__all__ = [
    "class_names",
    "facts",
    "list_models",
    "load",
    "probabilities",
    "summary",
]

FOLDER = Path(__file__).parent


def list_models() -> list[str]:
    """Return the names of the pretrained models, in alphabetical order.

    Example:
        >>> "fashion_mnist_cnn" in list_models()
        True
    """
    return sorted(path.stem for path in FOLDER.glob("[!.]*.json"))


def facts(name: str) -> dict:
    """Return what is known of a pretrained model, as its JSON file has it.

    Args:
        name: of the model, one of `list_models()`.

    Raises:
        ZooError: there is no such model; the message names the nearest.
    """
    if name not in list_models():
        raise unknown("model", name, list_models())
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf8"))


def summary() -> str:
    """Return the models as a table: parameters, accuracy, size of the weights."""
    lines = [f"{'model':24} {'parameters':>10}  {'test accuracy':16} {'weights':>9}"]
    for name in list_models():
        known = facts(name)
        mean, spread = recipe_accuracy(known)
        lines.append(
            f"{name:24} {known['parameters']:10,}  {100 * mean:.2f} ± "
            f"{100 * spread:.2f} %  {known['bytes'] / 1000:6,.0f} kB"
        )
    lines.append(
        "\nTest accuracy: of the recipe, mean ± standard deviation over seeds. Python:"
        "\nzoo.load(NAME). The cards, NAME.md, are in "
        f"{FOLDER}"
    )
    return "\n".join(lines)


def recipe_accuracy(known: dict) -> tuple[float, float]:
    """Return mean and standard deviation over the seeds, from a model's facts."""
    accuracies = known["training"]["test_accuracies"]
    return statistics.fmean(accuracies), statistics.stdev(accuracies)


def class_names(name: str) -> list[str]:
    """Return what the outputs of a pretrained model stand for, in their order."""
    return facts(name)["class_names"]


def load(
    name: str, include_top: bool = True, classes: int | None = None
) -> "keras.Model":
    """Return a pretrained model.

    Args:
        name: of the model, one of `list_models()`.
        include_top: whether the classifier is included; without it the output is the
            vector before the classifier.
        classes: in place of the trained classifier a new one, untrained, for so many
            classes: to be fine-tuned. `None` keeps the trained one.

    Input shape:
        uint8 `(batch, height, width, channels)`, 0 to 255, as the data set has them.
        Floats are cast, so images that were scaled to [0, 1] would all become black.

    Output shape:
        float `(batch, classes)`, probabilities; without top `(batch, features)`.

    Returns:
        A plain functional `keras.Model`, not compiled, on any Keras backend.

    Raises:
        ZooError: there is no such model, `classes` is not a positive integer or comes
            without top, or the file is damaged.

    Example:
        >>> model = load("fashion_mnist_cnn")
        >>> model.output_shape
        (None, 10)
        >>> load("fashion_mnist_cnn", classes=3).output_shape
        (None, 3)
    """
    known = facts(name)
    if classes is not None:
        positive_integer("classes", classes)
        if not include_top:
            raise ZooError(
                "classes is for a model with its classifier: leave it out, or "
                f"include_top=False. Received: classes={classes!r}, include_top=False"
            )
    from keras import Model

    model = build(known)
    content = _read(FOLDER / f"{name}.npz", known["sha256"])
    with np.load(io.BytesIO(content)) as weights:
        model.set_weights([weights[array] for array in weights.files])
    if include_top and classes is None:
        return model
    top = model.get_layer("predictions")
    if not include_top:
        return Model(model.input, top.input, name=name)
    config = top.get_config() | {"units": classes}
    outputs = type(top).from_config(config)(top.input)
    return Model(model.input, outputs, name=name)


def build(known: dict) -> "keras.Model":
    """Return the untrained network of a model's facts."""
    from zoo import models

    return getattr(models, known["builder"])(**known["arguments"])


def probabilities(name: str, images: np.ndarray) -> np.ndarray:
    """Return what a pretrained model says of images, float32 `(n, classes)`.

    LiteRT answers, so that neither TensorFlow nor Keras is imported, which takes
    seconds. Its file stores the weights in 16 bits; the cards tell its accuracy.

    Args:
        name: of the model, one of `list_models()`.
        images: uint8 `(n, height, width, channels)`, as for `load`.

    Raises:
        ZooError: there is no such model, the images are not such, or the file is
            damaged.

    Example:
        >>> probabilities("fashion_mnist_cnn", np.zeros((2, 28, 28, 1), "uint8")).shape
        (2, 10)
    """
    known, images = facts(name), np.asarray(images)
    shape = tuple(known["arguments"]["input_shape"])
    if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
        raise ZooError(
            f"images must be uint8 (n, {', '.join(map(str, shape))}). Received: "
            f"{images.dtype} {images.shape}"
        )
    path = FOLDER / f"{name}.tflite"
    _read(path, known["litert"]["sha256"])
    return litert_answers(path, images)


def litert_answers(path: str | Path, images: np.ndarray) -> np.ndarray:
    """Return what a LiteRT file says of images, float32 `(n, classes)`."""
    from zoo.export.runtimes import litert_ask

    ask = litert_ask(path)
    parts = (images[at : at + 500] for at in range(0, len(images), 500))
    return np.concatenate([ask(None, {"images": x})["probabilities"] for x in parts])


def _read(path: Path, digest: str) -> bytes:
    """Return the content of a file, which has that SHA-256.

    Raises:
        ZooError: it is missing, or is not the file that was measured.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ZooError(
            f"{path} cannot be read ({error.strerror}): install zoo again."
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ZooError(
            f"{path} is damaged (its SHA-256 is not that of the weights that were "
            "measured): install zoo again."
        )
    return content
