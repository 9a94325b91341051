"""A SavedModel that is loaded, gives its certificate's answers, and is warmed up."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoo.console import one_line, say
from zoo.errors import ZooError, unknown
from zoo.export import replay
from zoo.serving import graph, warm_up
from zoo.serving.errors import Refused, failed, invalid, report, too_large
from zoo.serving.signature import Arrays, Signature

# What TensorFlow raises for an input that it cannot take, e.g. bytes of no image.
_BAD_INPUT = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)
_ROWS = 4  # of a warm-up request, which are asked one by one
_TOLERANCE = 1e-4  # of the largest value, at least: sums depend on their order


class Model:
    """A loaded SavedModel that is called with arrays.

    Args:
        path: the folder with its `saved_model.pb`.

    Attributes:
        signatures: by name.

    Raises:
        ZooError: it has no signatures.
    """

    def __init__(self, path: Path):
        # Held on to: a signature keeps no hold of its variables.
        self._loaded = tf.saved_model.load(str(path))
        self._functions = dict(self._loaded.signatures)
        if not self._functions:
            raise ZooError("it has no signatures; export it with zoo export.")
        self.signatures = {
            name: _signature(name, function)
            for name, function in self._functions.items()
        }

    def __call__(self, signature: str, inputs: Arrays) -> Arrays:
        """Return the outputs of a signature.

        Raises:
            Refused: it cannot take the inputs, or fails.
        """
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        try:
            outputs = self._functions[signature](**tensors)
            return {name: _array(tensor) for name, tensor in outputs.items()}
        except _BAD_INPUT as error:
            why = f"{signature} cannot take this input: {_reason(error)}"
            refused = invalid(why)
        except tf.errors.ResourceExhaustedError:
            why = f"{signature} needs more memory than there is: send fewer rows."
            refused = too_large(why)
        except Exception as error:  # the model's defect
            report(error)
            refused = failed(f"{signature} failed; the server's log has more.")
        # Raised here, it has no hold of TensorFlow's exception and its frames.
        raise refused


def _array(tensor) -> np.ndarray:
    # A scalar string's `numpy()` is bytes.
    return np.asarray(tensor.numpy(), object if tensor.dtype == tf.string else None)


def _signature(name, function) -> Signature:
    # Sorted: TensorFlow has them in another order in each process.
    inputs = dict(sorted(function.structured_input_signature[1].items()))
    outputs = dict(sorted(function.structured_outputs.items()))
    specs = [*inputs.values(), *outputs.values()]
    batched = bool(inputs) and all(
        spec.shape.rank and spec.shape[0] is None for spec in specs
    )
    return Signature(name, inputs, outputs, batched)


def _reason(error: tf.errors.OpError) -> str:
    # Before it: which node; after it: the node again.
    text = error.message.rpartition("<stack traces unavailable>")[2].split("[[")[0]
    return " ".join(text.split())[:160]


def model_of(path: Path, title: str, max_batch_size: int) -> tuple[Model, dict | None]:
    """Load a version, see that it answers as certified, and warm it up.

    Its signatures are `batched` if its warm-up requests show that each row is answered
    for itself, whatever else is in the batch. A line on the terminal names the others.

    Args:
        path: the version's folder.
        title: of the version, for that line.
        max_batch_size: rows that it will be called with at once, at most.

    Returns:
        The model and its certificate, `None` if it has none.

    Raises:
        ZooError: the version cannot be served; the message says why.
    """
    try:
        graph.refuse_unsafe(path)
        model = Model(path)
        certificate = _certified(model, path)
        tolerance = certificate["tolerance"] if certificate else 0.0
        separate = _warm_up(
            model, _requests(path, certificate), max_batch_size, tolerance
        )
        _batch_only(model, separate, title)
        return model, certificate
    except (ZooError, Refused, replay.Damaged) as error:
        raise ZooError(str(error)) from None
    except Exception as error:  # whatever TensorFlow says of a damaged file
        raise ZooError(one_line(error)) from None


def _certified(model: Model, path: Path) -> dict | None:
    if not (path / replay.CERTIFICATE).exists():
        return None
    certificate = replay.read(path)
    wrong = replay.changed_files(replay.file_digests(path), certificate)
    wrong = wrong or replay.replay(certificate, functools.partial(_answer, model))
    if wrong:
        raise ZooError(f"it is not what its certificate says: {'; '.join(wrong)}")
    return certificate


def _answer(model: Model, name: str, inputs: Arrays) -> Arrays:
    if name not in model.signatures:
        what = "the signature of a golden or warm-up request"
        raise unknown(what, name, model.signatures)
    return model(name, model.signatures[name].check(inputs))


def _requests(path: Path, certificate: dict | None) -> Iterator[tuple[str, Arrays]]:
    """Give the warm-up requests, and the certificate's if there are none."""
    if (path / warm_up.PLACE).is_file():
        yield from warm_up.requests(path)
        return
    for request in certificate["requests"] if certificate else ():
        inputs = replay.decode(request["inputs"])
        yield request["signature"], {key: a[:_ROWS] for key, a in inputs.items()}


def _warm_up(
    model: Model, requests: Iterable[tuple[str, Arrays]], max_batch_size, tolerance
) -> dict[str, bool]:
    """Answer requests, and return which signatures answer each row for itself."""
    many = max(2 * _ROWS, max_batch_size)  # so that rows come again in it
    separate = {}
    for name, inputs in requests:
        _answer(model, name, inputs)
        if model.signatures[name].batched:
            shown = _rows_are_separate(model, name, inputs, many, tolerance)
            separate[name] = separate.get(name, True) and shown
    return separate


def _rows_are_separate(model, name, inputs, many, tolerance) -> bool:
    """Return whether a batch answers to each row what the row alone is answered.

    TensorFlow takes other paths for one row and for many: here, both are prepared.
    """
    together = model(name, {key: _repeated(a, many) for key, a in inputs.items()})
    number = min(_ROWS, many, *map(len, inputs.values()))
    try:
        alone = [
            model(name, {key: a[row : row + 1] for key, a in inputs.items()})
            for row in range(number)
        ]
    except Refused:
        return False  # it takes no single rows
    return all(
        len(array) == many and _same(array[row : row + 1], answer[key], tolerance)
        for row, answer in enumerate(alone)
        for key, array in together.items()
    )


def _repeated(array: np.ndarray, rows: int) -> np.ndarray:
    return np.resize(array, (rows, *array.shape[1:]))


def _same(array: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    if array.shape != other.shape or array.dtype.kind != "f":
        return np.array_equal(array, other)
    largest = np.abs(other[np.isfinite(other)]).max(initial=0)
    # As the certificate allows, which is more where a model computes in 16 bits.
    atol = max(_TOLERANCE * largest, tolerance * max(1, largest))
    return np.allclose(array, other, rtol=0, atol=atol, equal_nan=True)


def _batch_only(model: Model, separate: dict[str, bool], title: str) -> None:
    for name, signature in model.signatures.items():
        if signature.batched and not separate.get(name):
            model.signatures[name] = replace(signature, batched=False)
            why = (
                "its answer to a row depends on the others"
                if name in separate
                else "no warm-up request shows that its rows are separate"
            )
            say(f"{title}: {name} is asked without batching, for {why}")
