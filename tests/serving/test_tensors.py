import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from zoo.serving import tensors

MAX_BYTES = 1000
STRINGS = np.array([[b"a", b"\xff\x00"], [b"", b"d"]], object)
DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


def array_of(dtype):
    if dtype == "bfloat16":
        return np.array([[0.5, 2.0], [-3.0, 1.0]], tf.bfloat16.as_numpy_dtype)
    if dtype == "string":
        return STRINGS
    return np.array([[0, 1], [2, 100]]).astype(dtype)


def proto(dtype, shape, **fields):
    made = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16", "string"])
def test_what_tensorflow_writes_is_read_and_the_other_way_round(dtype):
    array = array_of(dtype)
    read = tensors.to_array(tf.make_tensor_proto(array), MAX_BYTES)
    written = tf.make_ndarray(tensors.to_proto(array))
    for other in (read, written):
        assert other.dtype == array.dtype and other.shape == array.shape
        np.testing.assert_array_equal(other, array)


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16", "string"])
def test_values_in_the_field_of_their_type_are_read(dtype):
    written = tensors.to_proto(array_of(dtype))
    assert not written.tensor_content  # TensorFlow Serving does not use it in answers
    read = tensors.to_array(written, MAX_BYTES)
    np.testing.assert_array_equal(read, array_of(dtype))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_scalars_and_arrays_without_values_make_the_round_trip(shape):
    array = np.ones(shape, np.float32)
    for made in (tensors.to_proto(array), tf.make_tensor_proto(array)):
        read = tensors.to_array(made, MAX_BYTES)
        assert read.shape == shape
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (proto("uint8", [2**40], int_val=[1]), "takes 1,099,511,627,776 bytes"),
        (proto("uint8", [2**62, 2**62]), "and the limit is 1,000"),
        (proto("float32", [251]), "takes 1,004 bytes"),
        (proto("string", [2_000_000], string_val=[b"a"]), "2,000,000 values, .*_val 1"),
        (proto("string", [2**40]), "has 1,099,511,627,776 values, string_val 0"),
        (proto("uint8", [3], int_val=[7]), "has 3 values, int_val 1"),
        (proto("float32", [2]), "has 2 values, float_val 0"),
        (proto("uint8", [0, 2**62, 2**62]), "array is too big"),
        (proto("uint8", [-1, 4]), "shape is not fully known"),
        (proto("uint8", [1] * 65), "65 dimensions"),
        (proto("uint8", [2, 2], tensor_content=b"abc"), "needs 4 bytes .* it has 3"),
        (proto("float32", [1], tensor_content=b"abcde"), "needs 4 bytes .* it has 5"),
        (proto("string", [1], tensor_content=b"a"), "belong into string_val"),
        (proto("uint8", [1], int_val=[1, 2]), "has 1 values, int_val 2"),
        (proto("uint8", [1], int_val=[300]), "out of the range of uint8"),
        (proto("float16", [1], half_val=[70000]), "out of the range of float16"),
        (proto("complex64", [1]), "complex64 is not served"),
        (proto("resource", [1]), "resource is not served"),
        (tensor_pb2.TensorProto(dtype=99), "dtype 99 is none of TensorFlow's"),
        (tensor_pb2.TensorProto(), "dtype 0 is none of TensorFlow's"),
    ],
)
def test_what_describes_no_array_of_allowed_size_is_refused(given, why):
    with pytest.raises(ValueError, match=why):
        tensors.to_array(given, MAX_BYTES)


def test_an_unknown_rank_is_refused():
    given = proto("uint8", [])
    given.tensor_shape.unknown_rank = True
    with pytest.raises(ValueError, match="not fully known"):
        tensors.to_array(given, MAX_BYTES)
