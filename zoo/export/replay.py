"""Whether an export still gives the answers that its certificate holds.

This file needs neither zoo nor Keras, and is a program of its own: `python replay.py
SAVED_MODEL` loads a version with plain TensorFlow and asks it what the trained model
was asked. `zoo check-export` runs it so.
"""

import base64
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

CERTIFICATE = "assets.extra/certificate.json"
_PART_BYTES = 1_000_000  # of a request; JSON makes them some four times as many
Arrays = dict[str, np.ndarray]
Ask = Callable[[str, Arrays], Arrays]


class Damaged(ValueError):
    """A certificate is not there or cannot be read; the message says which."""


def read(version: str | Path, file: str = CERTIFICATE) -> dict:
    """Return the certificate of a version.

    Raises:
        Damaged: there is none, or it cannot be read.
    """
    path = Path(version) / file
    try:
        certificate = json.loads(path.read_text(encoding="utf8"))
        _check(certificate)
    except FileNotFoundError:
        raise Damaged(f"{version} has no certificate ({file} is missing)") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is damaged ({type(error).__name__}: {error})") from None
    return certificate


def _check(certificate):
    if certificate["certificate"] != 1:
        raise ValueError(f"its version is {certificate['certificate']!r}, not 1")
    if not certificate["requests"] or not certificate["files"]:
        raise ValueError("it holds no request, or no file")
    for request in certificate["requests"]:
        inputs, outputs = decode(request["inputs"]), decode(request["outputs"])
        if not inputs or not all(map(len, inputs.values())) or not outputs:
            raise ValueError("a request without inputs or outputs")
        if not isinstance(request["signature"], str):
            raise ValueError("a request without the name of its signature")
    if not 0 <= float(certificate["tolerance"]) < 1:
        raise ValueError(f"its tolerance is {certificate['tolerance']!r}")
    certificate["files"].items(), certificate["model"]["weights"]
    if certificate["accuracy"] is not None:
        float(certificate["accuracy"]["test"]), int(certificate["accuracy"]["images"])


def array(content: dict) -> np.ndarray:
    """Return an array of a certificate; strings are bytes."""
    if content["dtype"] == "string":
        values = [base64.b64decode(value) for value in content["values"]]
        return np.array(values, object).reshape(content["shape"])
    data = base64.b64decode(content["base64"])
    dtype = np.dtype(content["dtype"]).newbyteorder("<")
    return np.frombuffer(data, dtype).reshape(content["shape"])


def encode(values: np.ndarray) -> dict:
    """Return an array as a certificate has it: the opposite of `array`."""
    values = np.asarray(values)
    content = {"shape": list(values.shape)}
    if values.dtype == object:
        texts = [base64.b64encode(value).decode() for value in values.ravel()]
        return {"dtype": "string", **content, "values": texts}
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    data = base64.b64encode(little.tobytes()).decode()
    return {"dtype": values.dtype.name, **content, "base64": data}


def decode(contents: dict) -> Arrays:
    """Return the named arrays of a request's inputs or outputs."""
    return {name: array(content) for name, content in contents.items()}


def replay(certificate: dict, ask: Ask) -> list[str]:
    """Ask again what the trained model was asked, and compare the answers.

    Args:
        certificate: what `read` returned.
        ask: `ask(signature, inputs) -> outputs`, of what is checked.

    Returns:
        What is wrong, a sentence each; nothing if all answers are as certified.
    """
    wrong = []
    for request in certificate["requests"]:
        parts = [ask(request["signature"], part) for part in _parts(request)]
        answers = {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
            if all(np.ndim(part.get(name)) for part in parts)
        }
        wrong += _compare(request, answers, certificate["tolerance"])
    return wrong


def _parts(request: dict) -> Iterator[Arrays]:
    """Yield the inputs of a request in parts that every server takes."""
    inputs = decode(request["inputs"])
    rows = max(map(len, inputs.values()))
    size = sum(_bytes(values) for values in inputs.values())
    step = max(1, rows * _PART_BYTES // max(1, size))
    for start in range(0, rows, step):
        yield {name: values[start : start + step] for name, values in inputs.items()}


def _bytes(values: np.ndarray) -> int:
    return sum(map(len, values)) if values.dtype == object else values.nbytes


def weights_digest(arrays: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 over weights: the shape, the type and the bytes of each."""
    sha = hashlib.sha256()
    for values in arrays:
        values = np.asarray(values)
        sha.update(f"{values.dtype.name}{list(values.shape)}".encode())
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()


def file_digests(version: str | Path) -> dict[str, str]:
    """Return the SHA-256 of the files that answers come from, by relative path."""
    version = Path(version)
    files = [version / "saved_model.pb", *sorted(version.glob("variables/*"))]
    return {
        file.relative_to(version).as_posix(): file_digest(file)
        for file in files
        if file.is_file()
    }


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def changed_files(now: dict[str, str], certificate: dict) -> list[str]:
    """Return which files are not those that were certified, a sentence each.

    Args:
        now: their digests, by relative path.
        certificate: what `read` returned.
    """
    then = certificate["files"]
    return [
        f"{name} is {'not the one that was exported' if name in now else 'missing'}"
        for name in sorted(set(now) | set(then))
        if now.get(name) != then.get(name)
    ]


def _compare(request: dict, answers: Arrays, tolerance: float) -> list[str]:
    wrong, signature = [], request["signature"]
    for name, expected in decode(request["outputs"]).items():
        what = f"{name} of {signature}"
        received = np.asarray(answers[name]) if name in answers else None
        if received is None:
            wrong.append(f"{what} is missing")
        elif received.shape != expected.shape:
            wrong.append(f"{what} has shape {received.shape}, not {expected.shape}")
        elif (received.dtype.kind in "OSU") != (expected.dtype.kind in "OSU"):
            wrong.append(f"{what} is {received.dtype}, not {expected.dtype}")
        elif expected.dtype.kind == "f":
            distance = np.abs(received.astype(np.float64) - expected)
            allowed = tolerance * max(1.0, float(np.abs(expected).max(initial=0)))
            if not np.all(distance <= allowed):  # nor if it is NaN
                wrong.append(
                    f"{what} differs from the trained model's by up to "
                    f"{np.max(distance):.2g} (at most {allowed:.2g})"
                )
        elif np.any(differs := _differ(received, expected)):
            first = tuple(np.argwhere(differs)[0])
            wrong.append(
                f"{what} differs from the trained model's in {np.sum(differs)} of "
                f"{expected.size}; the first is {received[first]}, not "
                f"{expected[first]}"
            )
    return wrong


def _differ(received: np.ndarray, expected: np.ndarray) -> np.ndarray:
    if expected.dtype == np.uint8:  # pixels, which decoders round in their own ways
        return np.abs(received.astype(np.int64) - expected) > 1
    return received != expected


def saved_model_ask(version: str | Path) -> Ask:
    """Return what asks a SavedModel, loaded with plain TensorFlow."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))

    def ask(signature, inputs):
        function = loaded.signatures[signature]
        tensors = {name: tf.constant(values) for name, values in inputs.items()}
        return {name: value.numpy() for name, value in function(**tensors).items()}

    ask.loaded = loaded
    return ask


def main(version: str) -> list[str]:
    """Return what is wrong with a version, a sentence each."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        certificate = read(version)
    except Damaged as damaged:
        return [str(damaged)]
    wrong = changed_files(file_digests(version), certificate)
    if wrong:  # what is in its place is somebody else's program
        return wrong
    what = "loaded"
    try:
        ask = saved_model_ask(version)
        what = "asked"
        weights = weights_digest(weight.numpy() for weight in ask.loaded.weights)
        if weights != certificate["model"]["weights"]:
            wrong.append("the weights are not those of the trained model")
        return wrong + replay(certificate, ask)
    except Exception as error:  # of TensorFlow
        text = " ".join(str(error).split())[:200]
        return [*wrong, f"it cannot be {what} ({type(error).__name__}: {text})"]


if __name__ == "__main__":
    # TensorFlow imports Keras where it finds it; the answers must not depend on it.
    sys.modules["keras"] = sys.modules["zoo"] = None
    print(json.dumps(main(sys.argv[1])))
