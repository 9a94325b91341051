"""The certificate of a LiteRT or ONNX file: what it must answer, and if it does."""

from pathlib import Path

import numpy as np

from zoo import console
from zoo.errors import ZooError
from zoo.export import certificate, replay
from zoo.export.classifier import Classifier
from zoo.export.runtimes import INT8, litert_ask, of_version

CERTIFICATE = "certificate.json"
STEP = 1 / 256  # of a probability in the int8 file
LEAST_AGREEMENT = 0.75  # of the classes of the golden images, where numbers are rounded


def of_file(proof: dict, classifier: Classifier, rebuilt: Classifier) -> dict:
    """Return a certificate of what the files can be asked: images by their pixels.

    Args:
        proof: the trained model's certificate.
        classifier: the trained model.
        rebuilt: the same in float32; itself, if it computes so.
    """
    (request,) = (r for r in proof["requests"] if r["signature"] == "serving_default")
    outputs = replay.decode(request["outputs"])
    answers = {name: outputs[name] for name in ("probabilities", "class_ids")}
    changes = {}
    if rebuilt is not classifier:
        images = replay.decode(request["inputs"])["images"]
        probabilities = np.asarray(rebuilt.probabilities(images))
        trained = answers["probabilities"]
        answers = {
            "probabilities": probabilities,
            "class_ids": probabilities.argmax(axis=1),
        }
        changes["float32"] = {
            "agreement": _agreement("float32", probabilities, trained),
            "difference": float(np.abs(probabilities - trained).max()),
        }
        changes["tolerance"] = certificate.TOLERANCE
    encoded = {name: replay.encode(values) for name, values in answers.items()}
    return {**proof, **changes, "requests": [{**request, "outputs": encoded}]}


def of_int8(path: Path, proof: dict) -> dict:
    """Return what is certified of the int8 file alone."""
    (request,) = proof["requests"]
    question = request["signature"], replay.decode(request["inputs"])
    answers, others = (
        litert_ask(path, reference)(*question)["probabilities"]
        for reference in (False, True)
    )
    expected = replay.decode(request["outputs"])["probabilities"]
    # No classes: two that are as probable to a step may change places.
    outputs = {"probabilities": replay.encode(answers)}
    return {
        "tolerance": STEP + 2 * float(np.abs(answers - others).max()),
        "agreement": _agreement("int8", answers, expected),
        "requests": [{**request, "outputs": outputs}],
    }


def seal(folder: Path, proof: dict, directory: str | Path) -> None:
    """Write a certificate with the files' digests, and check that all fits.

    Raises:
        ZooError: it does not; `directory` is named as where nothing was written.
    """
    proof["files"] = _digests(folder)
    certificate.write(folder / CERTIFICATE, proof)
    certificate.refuse_wrong(check(folder), directory)


def check(version: str | Path) -> list[str]:
    """Return what is wrong with a version of a LiteRT or ONNX model, a sentence each.

    Its files are compared with their digests; if they are those that were exported,
    they are asked what the trained model was asked.

    Raises:
        ZooError: the package that runs the format is missing.
    """
    version = Path(version)
    try:
        proof = replay.read(version, CERTIFICATE)
    except replay.Damaged as damaged:
        return [str(damaged)]
    digests = _digests(version)
    if not digests:
        return [f"{version} holds no model that can be checked"]
    # A damaged file is not run: it may crash its runtime, and this process with it.
    return replay.changed_files(digests, proof) or [
        f"{runtime.path.name}: {what}"
        for runtime in of_version(version)
        for what in _wrong_answers(runtime, proof)
    ]


def _wrong_answers(runtime, proof):
    try:
        if runtime.path.name == INT8:
            proof = {**proof, **proof["int8"]}
        return replay.replay(proof, runtime.open(runtime.path))
    except ZooError:
        raise
    except Exception as error:  # of the runtime, about the file
        return [f"it cannot be asked ({console.one_line(error)})"]


def _agreement(what: str, answers, expected) -> float:
    """Return how often the class is the trained model's; raise if that is seldom."""
    agreement = float(np.mean(answers.argmax(axis=1) == expected.argmax(axis=1)))
    if agreement < LEAST_AGREEMENT:
        raise ZooError(
            f"in {what} the model names another class for {1 - agreement:.0%} of the "
            "golden images; nothing was written. The representative images must be "
            "like those it was trained on, and the model trained."
        )
    return agreement


def _digests(folder: Path) -> dict[str, str]:
    return {
        runtime.path.name: replay.file_digest(runtime.path)
        for runtime in of_version(folder)
    }
