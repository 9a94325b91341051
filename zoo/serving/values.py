"""A value of JSON <-> an array."""

import base64
from itertools import chain

import numpy as np
import orjson

from zoo.serving.errors import Refused, invalid
from zoo.serving.signature import described

_MOST_TEXT = 80  # characters of what a client sent, in a message


def to_array(name: str, value: object, spec) -> np.ndarray:
    """Return nested lists as an array of the type and rank that a signature wants.

    Args:
        name: of the input, for messages.
        value: what `orjson` makes of JSON.
        spec: a `tf.TensorSpec`; its sizes are not looked at.

    Raises:
        Refused: lists of different lengths side by side, or lists too deep or not deep
            enough, or a number that is not exactly of the type: neither 300 nor 1.5
            is a uint8. Only fractions are rounded, to the nearest float.
    """
    rank = _depth(value) if spec.shape.rank is None else spec.shape.rank
    if rank > 64:  # NumPy has no more
        raise _misfit(name, spec, f"lists {rank} deep")
    shape, items = [], [value]
    for depth in range(rank):
        if {*map(type, items)} - {list}:
            wrong = next(item for item in items if type(item) is not list)
            received = f"{shown(wrong)} where a list is due, {depth} lists deep"
            raise _misfit(name, spec, received)
        sizes = sorted({*map(len, items)})
        if len(sizes) > 1:
            received = f"lists of {sizes[0]} and of {sizes[1]}, {depth} lists deep"
            raise _misfit(name, spec, received)
        shape += sizes or [0]
        items = [*chain.from_iterable(items)]
    return _elements(name, items, spec).reshape(shape)


def _depth(value):
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = value[0] if value else None
    return depth


def _elements(name, items, spec):
    if spec.dtype.name == "string":
        elements = np.empty(len(items), object)
        elements[:] = [_bytes(name, item, spec) for item in items]
        return elements
    if spec.dtype.is_floating:
        return _floats(name, _of({int, float}, name, items, spec), spec)
    if spec.dtype.is_bool:
        return np.array(_of({bool}, name, items, spec), bool)
    if spec.dtype.is_integer:
        return _integers(name, _of({int}, name, items, spec), spec)
    raise invalid(f"{name} is {spec.dtype.name}, which is not in JSON.")


def _of(types, name, items, spec):
    """Return the items if they are of these types; `bool` is not an `int` here."""
    if {*map(type, items)} - types:
        wrong = next(item for item in items if type(item) not in types)
        raise _misfit(name, spec, shown(wrong))
    return items


def _integers(name, items, spec):
    try:
        return np.array(items, spec.dtype.as_numpy_dtype)
    except OverflowError:
        largest = max(items)
        wrong = largest if largest > spec.dtype.max else min(items)
        raise _misfit(name, spec, shown(wrong)) from None


def _floats(name, items, spec):
    with np.errstate(over="ignore"):
        array = np.array(items, np.float64).astype(spec.dtype.as_numpy_dtype)
    finite = np.isfinite(array)
    if not finite.all():  # JSON has no infinity, so it is too large
        raise _misfit(name, spec, shown(items[int(np.argmin(finite))]))
    return array


def _bytes(name, item, spec):
    if isinstance(item, str):
        return item.encode()
    if is_base64(item):
        try:
            return base64.b64decode(item["b64"], validate=True)
        except ValueError as error:
            received = f'a "b64" that is not base64: {error}'
            raise _misfit(name, spec, received) from None
    raise _misfit(name, spec, shown(item))


def is_base64(value: object) -> bool:
    """Return whether a value is `{"b64": TEXT}`, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and type(value.get("b64")) is str


def _misfit(name: str, spec, received: str) -> Refused:
    bytes_too = ', text or {"b64": base64 of bytes}' * (spec.dtype.name == "string")
    return invalid(
        f"{name} must be {described(spec)}{bytes_too}. Received: {received}."
    )


def shown(value: object) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object with {_cut(', '.join(value)) or 'nothing in it'}"
    return _cut(orjson.dumps(value).decode())


def _cut(text):
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} ..."


def from_array(name: str, array: np.ndarray):
    """Return what `orjson` writes for an array, with its `OPT_SERIALIZE_NUMPY`.

    A float32 has as many digits as tell it from all others; what is not finite becomes
    null, for which JSON has no other word.

    Args:
        name: of the output. Strings are base64 if it ends in `_bytes`, else text.
        array: the output.

    Raises:
        Refused: it is complex.
    """
    if array.dtype == object:
        strings = np.empty(array.size, object)
        as_json = _base64 if name.endswith("_bytes") else _text
        strings[:] = [as_json(item) for item in array.flat]
        return strings.reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        raise invalid(f"{name} is {array.dtype.name}, which is not in JSON.")
    if array.dtype.kind not in "biuf":  # bfloat16 and its like
        array = array.astype(np.float32)
    return array[()] if array.ndim == 0 else np.ascontiguousarray(array)


def _text(value):
    return value.decode(errors="replace")


def _base64(value):
    return {"b64": base64.b64encode(value).decode()}
