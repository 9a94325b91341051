"""A Keras model -> `saved_models/NAME/VERSION/`, tested before it is there."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from zoo.console import one_line
from zoo.errors import ZooError
from zoo.export import certificate, replay, versions, warm_up
from zoo.export.classifier import Classifier

NUM_NOISE = 64  # images to ask a model about that came without examples


def saved_model(
    model,
    directory: str | Path,
    class_names: Sequence[str] | None = None,
    examples: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    preprocess: Callable | None = None,
    facts: dict | None = None,
) -> Path:
    """Export an image classifier as the next version of a SavedModel.

    It is written beside its place, reloaded with TensorFlow alone, and asked what the
    model was asked; only if it answers the same, it is renamed to its version. Those
    questions and answers are its certificate, which `zoo check-export` replays.

    Args:
        model: a `keras.Model` that takes a batch of images and returns a row of class
            probabilities or logits for each; softmax is added to logits.
        directory: `SAVED_MODELS/NAME`; versions are its subfolders `1`, `2`, ...
        class_names: one string per class; `None` counts them from "0".
        examples: images like those it was trained on, uint8 `(n, *image_shape)`, to
            choose the golden ones from; `None` takes noise.
        labels: their classes, int `(n,)`, which a page can show.
        preprocess: what images went through in training outside of the model:
            float32, 0 to 255, to what the model takes, in TensorFlow's terms.
        facts: what else to certify: `command`, `data` and `accuracy`.

    Signatures:
        serving_default: `images`, uint8 `(n, *image_shape)` -> `probabilities` float32
            `(n, classes)`; `class_ids` int64 `(n,)`, the most probable class;
            `class_names` string `(n,)`, its name.
        serve_bytes: `image_bytes`, string `(n,)`: encoded PNG, JPEG, BMP or GIF -> the
            same.
        features: `images` -> `features` float32 `(n, size)`, the vector before the
            classifier; not of a subclassed model.
        decode: `image_bytes` -> `images`, what the model sees of them.

    Returns:
        The folder of the new version.

    Raises:
        ZooError: it is no image classifier, or the reloaded model answers otherwise;
            nothing is written then.

    Example:
        >>> path = saved_model(model, "saved_models/mine")  # doctest: +SKIP
        >>> served = tf.saved_model.load(path).signatures  # doctest: +SKIP
        >>> served["serving_default"](images=images)["class_names"]  # doctest: +SKIP
    """
    examples = noise(model) if examples is None else np.asarray(examples)
    classifier = Classifier(model, examples, class_names, preprocess)
    facts = {**(facts or {}), "name": Path(directory).resolve().name}
    proof = certificate.certify(classifier, examples, labels, facts)
    return write(classifier, directory, proof)


def write(classifier: Classifier, directory: str | Path, proof: dict) -> Path:
    """Write a classifier as the next version of a SavedModel, with its certificate.

    Args:
        classifier: the trained model.
        directory: `SAVED_MODELS/NAME`.
        proof: its certificate, from `certificate.certify`.

    Returns:
        The folder of the new version.

    Raises:
        ZooError: the reloaded model answers otherwise; nothing is written then.
    """

    def fill(folder):
        write_signatures(classifier, folder)
        (folder / "assets.extra").mkdir()
        certified = {**proof, "files": replay.file_digests(folder)}
        certificate.write(folder / replay.CERTIFICATE, certified)
        warm_up.write(folder, certified)
        wrong = replay.replay(replay.read(folder), replay.saved_model_ask(folder))
        certificate.refuse_wrong(wrong, directory)

    return versions.publish(directory, fill)


def write_signatures(classifier: Classifier, folder: Path) -> None:
    """Write a SavedModel with the signatures of a classifier."""
    import tensorflow as tf

    images = tf.TensorSpec((None, *classifier.image_shape), tf.uint8, name="images")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    endpoints = {"serving_default": (classifier.answers, images)}
    if classifier.reads_bytes:
        endpoints["serve_bytes"] = (
            lambda image_bytes: classifier.answers(classifier.decode(image_bytes)),
            image_bytes,
        )
        endpoints["decode"] = (
            lambda image_bytes: {"images": classifier.decode(image_bytes)},
            image_bytes,
        )
    if classifier.has_features:
        endpoints["features"] = (
            lambda images: {"features": classifier.feature_vectors(images)},
            images,
        )
    # Keras's own ExportArchive stores every weight twice.
    module = tf.Module()
    module.weights = [weight.value for weight in classifier.model.weights]
    module.states = [state.value for state in classifier.model.variables]
    signatures = {
        name: tf.function(function, input_signature=[spec], autograph=False)
        for name, (function, spec) in endpoints.items()
    }
    try:
        tf.saved_model.save(module, str(folder), signatures)
    except tf.errors.OpError as error:
        raise ZooError(
            f"the SavedModel cannot be written to {folder.parents[1]} "
            f"({one_line(error)}): make room, or choose another folder."
        ) from None


def noise(model) -> np.ndarray:
    """Return images to ask a model about that came without examples."""
    inputs = getattr(model, "inputs", None)
    shape = tuple(inputs[0].shape[1:]) if inputs else (None,)
    if None in shape:
        raise ZooError(
            f"{model.name} does not tell the size of its images: pass examples, "
            "uint8 (n, height, width, channels)."
        )
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (NUM_NOISE, *shape), np.uint8)
