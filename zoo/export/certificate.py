"""Golden requests and what the trained model answers: the proof in every export."""

import io
import itertools
import json
import platform
import shlex
import time
from pathlib import Path

import numpy as np

from zoo.errors import ZooError
from zoo.export import replay
from zoo.export.classifier import Classifier
from zoo.export.float32 import computes_in_16_bits

LEAST_REQUESTS, MOST_REQUESTS = 32, 256
MOST_LOOKED_AT = 1000  # examples, to choose them from
TOLERANCE = 1e-5  # of a probability, or of the largest feature
TOLERANCE_16_BITS = 1e-2  # for models that compute in float16 or bfloat16
_MARGIN = 0.01  # between the two most probable classes, so that no rounding swaps them
_MOST_BYTES = 4_000_000  # of the golden images together
_VARIANTS = 4  # of the golden images are sent in other encodings, too
_LARGER = 29  # pixels a side
# What it reads and writes where is nobody's business, of a command and of the data.
_PLACES = {"--data-dir", "--mirror", "--runs-dir", "--saved-models-dir"}


def certify(
    classifier: Classifier,
    examples: np.ndarray,
    labels: np.ndarray | None = None,
    facts: dict | None = None,
) -> dict:
    """Return the certificate of a trained model: what it was asked, what it answered.

    Args:
        classifier: the trained model.
        examples: images to choose the golden ones from, uint8 `(n, *image_shape)`.
        labels: their true classes, int `(n,)`, if they are known.
        facts: what else is certified: `name`, `command`, `data`, `accuracy`.
    """
    import keras
    import tensorflow as tf

    import zoo

    if labels is not None and len(labels) != len(examples):
        raise ZooError(
            f"labels must be as many as examples, {len(examples)}. Received: "
            f"{len(labels)}"
        )
    some = np.arange(0, len(examples), max(1, len(examples) // MOST_LOOKED_AT))
    facts = dict(facts or {})
    if facts.get("data"):
        facts["data"] = {k: v for k, v in facts["data"].items() if k != "source"}
    most = max(1, _MOST_BYTES // examples[0].nbytes)
    chosen = some[golden(classifier.predict(examples[some]))[:most]]
    images = examples[chosen]
    return {
        "certificate": 1,
        "name": None,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": None,
        "data": None,
        "accuracy": None,
        **facts,
        "versions": {
            "zoo": zoo.__version__,
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
        "model": {
            "parameters": classifier.model.count_params(),
            "weights": replay.weights_digest(classifier.model.get_weights()),
        },
        "class_names": list(classifier.class_names),
        "image_shape": list(classifier.image_shape),
        "tolerance": (
            TOLERANCE_16_BITS if computes_in_16_bits(classifier.model) else TOLERANCE
        ),
        "labels": None if labels is None else [int(label) for label in labels[chosen]],
        "requests": _requests(classifier, images),
    }


def facts(metrics: dict) -> dict:
    """Return what the certificate says of a run, from its `metrics.json`."""
    data = metrics["data"]
    words = shlex.split(metrics["command"])
    kept = [
        word
        for before, word in itertools.pairwise(["", *words])
        if not _PLACES & {before, word}
    ]
    return {
        "command": shlex.join(kept),
        "data": data,
        "accuracy": {"test": metrics["test_accuracy"], "images": data["test"]},
    }


def golden(probabilities: np.ndarray) -> np.ndarray:
    """Return which images to ask about: each class in turn, as the model sees them.

    A class that no golden image shows could be renamed unseen. Half of them are those
    of which the model is least sure: a small change of a weight shows there first. But
    images between two classes are left out: another processor may round them the other
    way.

    Args:
        probabilities: float `(n, classes)`.

    Returns:
        Indices, without repetition.
    """
    ranked = np.sort(probabilities, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    order = np.flatnonzero(margin > _MARGIN)
    if not order.size:  # an untrained model
        order = np.arange(len(probabilities))
    classes = probabilities.argmax(axis=1)
    number = max(LEAST_REQUESTS, len(np.unique(classes[order])))
    number = min(number, MOST_REQUESTS, len(order))
    typical = _in_turn(order, classes)[: -(-number // 2)]
    others = np.setdiff1d(order, typical)
    hard = _in_turn(others[np.argsort(margin[others], kind="stable")], classes)
    return np.concatenate([typical, hard[: number - len(typical)]])


def _in_turn(order, classes):
    """Return `order` such that the first of each class come first, then the second."""
    turn = np.empty(len(order), int)
    for label in np.unique(classes[order]):
        members = classes[order] == label
        turn[members] = np.arange(np.sum(members))
    return order[np.lexsort((classes[order], turn))]


def _requests(classifier, images):
    answers = classifier.answers(images)
    requests = [("serving_default", {"images": images}, answers)]
    if classifier.reads_bytes:
        import tensorflow as tf

        encoded = np.array([png(image) for image in images], object)
        # PNG is exact: these answers are those to the images themselves.
        requests.append(("serve_bytes", {"image_bytes": encoded}, answers))
        variants = _variants(images[:_VARIANTS])
        seen = tf.function(classifier.decode)(tf.constant(variants))
        requests.append(("decode", {"image_bytes": variants}, {"images": seen}))
    if classifier.has_features:
        vectors = {"features": classifier.feature_vectors(images)}
        requests.append(("features", {"images": images}, vectors))
    return [
        {
            "signature": signature,
            "inputs": {k: replay.encode(v) for k, v in inputs.items()},
            "outputs": {k: replay.encode(np.asarray(v)) for k, v in outputs.items()},
        }
        for signature, inputs, outputs in requests
    ]


def png(image: np.ndarray) -> bytes:
    """Return an image as PNG: uint8 `(height, width)`, or with 1 or 3 channels."""
    return _encoded(_picture(image), "PNG")


def _variants(images):
    """Return images in each encoding, larger, in colour and half transparent."""
    encoded = []
    for image in images:
        picture = _picture(image)
        size = [side + _LARGER for side in picture.size]
        large = picture.resize(size).convert("RGB")
        see_through = large.convert("RGBA")
        see_through.putalpha(128)
        encoded += [_encoded(large, kind) for kind in ("JPEG", "BMP", "GIF")]
        encoded.append(_encoded(see_through, "PNG"))
    return np.array(encoded, object)


def _picture(image):
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)


def _encoded(picture, kind):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, proof: dict) -> None:
    """Write a certificate; `replay.read` reads it."""
    path.write_text(json.dumps(proof) + "\n", encoding="utf8")


def refuse_wrong(wrong: list[str], directory: str | Path) -> None:
    """Raise if something is wrong with an export that is not in its place yet.

    Args:
        wrong: what is, a sentence each.
        directory: where it was to be written.

    Raises:
        ZooError: with the first sentence.
    """
    if wrong:
        raise ZooError(
            f"the exported model does not answer as the trained one: {wrong[0]}; "
            f"nothing was written to {directory}."
        )
