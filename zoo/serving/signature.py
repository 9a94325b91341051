"""What a signature of a model takes and returns."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from zoo.serving.errors import invalid

Arrays = dict[str, np.ndarray]
DEFAULT = "serving_default"  # the signature of a request that names none


@dataclass(frozen=True)
class Signature:
    """What a signature takes and returns.

    Attributes:
        name: e.g. `serving_default`.
        inputs: their types and shapes by name.
        outputs: likewise.
        batched: all of them have a free leading dimension, and each row is answered
            for itself, so that requests can share a batch.
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

    def num_rows(self, inputs: Arrays) -> int:
        """Return how many rows inputs have: 1 if none has a free leading dimension."""
        free = [
            len(inputs[name])
            for name, spec in self.inputs.items()
            if inputs[name].ndim and not spec.shape[:1].is_fully_defined()
        ]
        return max(free, default=1)


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
