"""One version of a model in memory: loaded, warmed up, certified, ready to answer."""

import functools
import weakref
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoo.console import one_line
from zoo.errors import ZooError, unknown
from zoo.export import replay
from zoo.serving import graph, warm_up
from zoo.serving.batching import Arrays, Batcher
from zoo.serving.errors import Refused, invalid
from zoo.serving.metrics import Metrics

# What TensorFlow raises for an input that it cannot take, e.g. bytes of no image.
_BAD_INPUT = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)


@dataclass(frozen=True)
class Signature:
    """What a signature takes and returns.

    Attributes:
        name: e.g. `serving_default`.
        inputs: their types and shapes by name.
        outputs: likewise.
        batched: all of them have a free leading dimension, so that requests can
            share a batch.
    """

    name: str
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    batched: bool

    def check(self, inputs: Arrays) -> Arrays:
        """Return the inputs in the order of the signature.

        Raises:
            Refused: a name, type or shape is another than the signature's, or the
                inputs have different numbers of rows, or none.
        """
        if set(inputs) != set(self.inputs):
            raise invalid(
                f"signature {self.name} takes the inputs {_listed(self.inputs)}. "
                f"Received: {_listed(inputs)}."
            )
        inputs = {name: inputs[name] for name in self.inputs}
        for name, spec in self.inputs.items():
            _check_array(name, spec, inputs[name])
        if self.batched and len({len(array) for array in inputs.values()}) > 1:
            rows = ", ".join(f"{name} {len(a)}" for name, a in inputs.items())
            raise invalid(f"all inputs must have as many rows. Received: {rows}.")
        return inputs


def _listed(names) -> str:
    listed = ", ".join(str(name)[:80] for name in sorted(names)[:10]) or "none"
    return f"{listed}, ..." if len(names) > 10 else listed


def _check_array(name, spec, array):
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if array.dtype != dtype or not spec.shape.is_compatible_with(array.shape):
        received = "string" if array.dtype == object else array.dtype.name
        raise invalid(
            f"{name} must be {described(spec)}. "
            f"Received: {received} {list(array.shape)}."
        )
    if array.shape and not array.shape[0]:
        raise invalid(f"{name} must have at least one row. Received: none.")
    if dtype.hasobject and not all(isinstance(item, bytes) for item in array.flat):
        raise invalid(f"{name} must be bytes. Received: other objects.")


def described(spec: tf.TensorSpec) -> str:
    """Return a type and shape to read, such as `uint8 [n, 28, 28, 1]`."""
    if spec.shape.rank is None:
        return f"{spec.dtype.name} of any shape"
    free = ["n", *["any"] * spec.shape.rank]
    sizes = [
        free[index] if size is None else str(size)
        for index, size in enumerate(spec.shape.as_list())
    ]
    return f"{spec.dtype.name} [{', '.join(sizes)}]"


class Servable:
    """A version of a model that answers requests, in batches.

    It is loaded with plain TensorFlow, after a look for operations that no model
    needs, is warmed up, and then has to give the answers of its certificate.

    It answers as long as someone holds it. Its thread ends with `close`, or when
    nobody holds it any more, so a request is never refused because of a newer version.

    Args:
        name: of the model.
        version: its number.
        path: the folder with its `saved_model.pb`.
        max_batch_size: rows that the model is called with at once, at most.
        batch_wait_ms: milliseconds that a batch waits for more requests, at most.
        metrics: is told of each batch.

    Attributes:
        signatures: by name.
        certificate: what its export recorded, or `None`.

    Raises:
        ZooError: the version cannot be served; the message says why.
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        *,
        max_batch_size: int = 64,
        batch_wait_ms: float = 2.0,
        metrics: Metrics,
    ):
        self.name, self.version, self.path = name, version, path
        model, self.certificate = _loaded(path, max_batch_size)
        self.signatures = model.signatures
        self._batcher = Batcher(
            model,
            name=f"{name} version {version}",
            max_batch_size=max_batch_size,
            wait_seconds=batch_wait_ms / 1000,
            observe=functools.partial(metrics.batch, name),
        )
        # The thread holds the batcher alone, so that this object can be let go.
        weakref.finalize(self, self._batcher.stop)

    def submit(self, signature: str, inputs: Arrays) -> Future[Arrays]:
        """Queue a request, to be gathered into a batch.

        Args:
            signature: its name.
            inputs: arrays of exactly the signature's types and shapes; strings are
                arrays of `bytes` objects.

        Returns:
            The future of the outputs. It raises `Refused` if the model cannot take
            the inputs. Cancelling it before it runs keeps it from running.

        Raises:
            Refused: the signature is unknown, the inputs are not what it takes, too
                much waits already, or `close` was called.
        """
        if signature not in self.signatures:
            known = self.signatures
            raise invalid(str(unknown("signature_name", signature[:80], known)))
        inputs = self.signatures[signature].check(inputs)
        batched = self.signatures[signature].batched
        rows = len(next(iter(inputs.values()))) if batched else None
        return self._batcher.submit(signature, inputs, rows)

    def close(self) -> None:
        """Answer what is queued, and refuse what comes after."""
        self._batcher.close()


def _loaded(path: Path, max_batch_size: int) -> tuple["_Model", dict | None]:
    try:
        graph.refuse_unsafe(path)
        model = _Model(path)
        _warm_up(model, path, max_batch_size)
        return model, _certified(model, path)
    except (ZooError, Refused, replay.Damaged) as error:
        raise ZooError(str(error)) from None
    except Exception as error:  # whatever TensorFlow says of a damaged file
        raise ZooError(one_line(error)) from None


class _Model:
    """A loaded SavedModel that is called with arrays."""

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
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        try:
            outputs = self._functions[signature](**tensors)
            return {name: tensor.numpy() for name, tensor in outputs.items()}
        except _BAD_INPUT as error:
            reason = _reason(error)
        # Raised here, it has no hold of TensorFlow's exception and its frames.
        raise invalid(f"{signature} cannot take this input: {reason}")


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


def _warm_up(model: _Model, path: Path, max_batch_size: int) -> None:
    for name, inputs in warm_up.requests(path):
        if name not in model.signatures:
            raise ZooError(f"warm-up: {unknown('signature', name, model.signatures)}")
        signature = model.signatures[name]
        inputs = signature.check(inputs)
        model(name, inputs)
        # TensorFlow takes other paths for one row and for many, each prepared once.
        for rows in {1, max_batch_size} if signature.batched else ():
            model(name, {key: _rows(rows, array) for key, array in inputs.items()})


def _rows(number: int, array: np.ndarray) -> np.ndarray:
    return np.resize(array, (number, *array.shape[1:]))  # repeats what is there


def _certified(model: _Model, path: Path) -> dict | None:
    if not (path / replay.CERTIFICATE).exists():
        return None
    certificate = replay.read(path)
    wrong = replay.changed_files(path, certificate)
    wrong = wrong or replay.replay(certificate, model)
    if wrong:
        raise ZooError(f"it is not what its certificate says: {'; '.join(wrong)}")
    return certificate
