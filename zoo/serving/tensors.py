"""Tensors as they travel: `TensorProto` <-> NumPy, with nothing taken on trust."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

# The field that holds the values of a type where `tensor_content` does not.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.float16: "half_val",
    tf.bfloat16: "half_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def to_array(proto: tensor_pb2.TensorProto, max_bytes: int) -> np.ndarray:
    """Return the array that a `TensorProto` of a stranger describes.

    Each value must be there. TensorFlow takes the last one for all that are left out,
    by which a message of a few bytes describes an array of any size.

    Args:
        proto: what was received.
        max_bytes: of the array.

    Returns:
        The array; strings are bytes objects.

    Raises:
        ValueError: it describes none, or one that is too large; the message says why.
    """
    dtype = _dtype(proto.dtype)
    shape = _shape(proto.tensor_shape)
    size = math.prod(shape)
    if size * dtype.size > max_bytes:
        raise ValueError(
            f"shape {shape} of {dtype.name} takes {size * dtype.size:,} bytes, and the "
            f"limit is {max_bytes:,}"
        )
    if proto.tensor_content:
        return _content(proto.tensor_content, dtype, shape)
    field = _FIELDS[dtype]
    values = getattr(proto, field)
    if len(values) != size:
        raise ValueError(f"shape {shape} has {size:,} values, {field} {len(values):,}")
    return _numbers(values, dtype, field).reshape(shape)


def _dtype(number):
    try:
        dtype = tf.dtypes.as_dtype(number)
    except TypeError:
        raise ValueError(f"dtype {number} is none of TensorFlow's") from None
    if dtype not in _FIELDS:
        raise ValueError(f"dtype {dtype.name} is not served")
    return dtype


def _shape(proto):
    shape = [dimension.size for dimension in proto.dim]
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("its shape is not fully known")
    if len(shape) > 64:  # NumPy has no more
        raise ValueError(f"it has {len(shape)} dimensions")
    return shape


def _content(content, dtype, shape):
    if dtype == tf.string:
        raise ValueError("strings belong into string_val, not into tensor_content")
    expected = math.prod(shape) * dtype.size
    if len(content) != expected:
        raise ValueError(
            f"shape {shape} of {dtype.name} needs {expected:,} bytes of "
            f"tensor_content; it has {len(content):,}"
        )
    return np.frombuffer(content, dtype.as_numpy_dtype).reshape(shape)


def _numbers(values, dtype, field):
    if dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = list(values)
        return array
    stored = np.uint16 if field == "half_val" else dtype.as_numpy_dtype  # its bits
    try:
        array = np.fromiter(values, stored, len(values))
    except OverflowError:
        raise ValueError(
            f"{field} has a value out of the range of {dtype.name}"
        ) from None
    return array.view(dtype.as_numpy_dtype)


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Return an array as TensorFlow Serving answers it: in the field of its type.

    Args:
        array: of any type that is served; strings are bytes objects.
    """
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    if dtype not in _FIELDS:  # complex: TensorFlow knows how
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    field = _FIELDS[dtype]
    values = array.view(np.uint16) if field == "half_val" else array
    getattr(proto, field).extend(values.ravel().tolist())
    return proto
