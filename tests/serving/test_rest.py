"""JSON <-> arrays, against examples of TensorFlow Serving's documentation."""

import base64
import json

import numpy as np
import orjson
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from tests.serving.fakes import SIGNATURES, FakeServable, signature
from zoo.serving import rest, values
from zoo.serving.errors import Refused
from zoo.serving.repository import Status

TWO = {
    "serving_default": signature(
        "serving_default",
        {"tag": ((None,), tf.string), "sensor": ((None, 2), tf.float32)},
        {"out": ((None,), tf.float32)},
    )
}
IMAGE = [[[1], [2]], [[3], [4]]]
FREE = tf.TensorSpec(None, tf.float32)


def ask(signatures=SIGNATURES, **content):
    return rest.question(json.dumps(content).encode(), signatures)


def refusal(signatures=SIGNATURES, **content):
    with pytest.raises(Refused) as refused:
        ask(signatures, **content)
    return reason_of(refused)


def reason_of(refused):
    assert refused.value.status == 400
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 300
    return str(refused.value)


def spec(dtype, *shape):
    return tf.TensorSpec(shape, dtype)


@pytest.mark.parametrize(
    "content",
    [
        {"instances": [IMAGE, IMAGE]},
        {"instances": [{"images": IMAGE}, {"images": IMAGE}]},
        {"inputs": [IMAGE, IMAGE]},
        {"inputs": {"images": [IMAGE, IMAGE]}, "signature_name": ""},
        {"inputs": [IMAGE, IMAGE], "signature_name": "serving_default"},
    ],
)
def test_the_ways_to_write_one_input(content):
    question = ask(**content)
    assert question.signature == "serving_default"
    assert question.rows == ("instances" in content)
    (images,) = question.inputs.values()
    assert images.dtype == np.uint8
    assert images.tolist() == [IMAGE, IMAGE]


@pytest.mark.parametrize(
    "content",
    [
        {"inputs": {"tag": ["a", "b"], "sensor": [[1, 0.5], [2, -1e-3]]}},
        {
            "instances": [
                {"tag": "a", "sensor": [1, 0.5]},
                {"sensor": [2, -1e-3], "tag": {"b64": "Yg=="}},
            ]
        },
    ],
)
def test_the_ways_to_write_two_inputs(content):
    inputs = ask(TWO, **content).inputs
    assert inputs["tag"].tolist() == [b"a", b"b"]
    assert inputs["sensor"].dtype == np.float32
    np.testing.assert_array_equal(inputs["sensor"], np.float32([[1, 0.5], [2, -1e-3]]))


def test_bytes_are_base64_and_text_is_utf8():
    data = bytes(range(256))
    text = {"b64": base64.b64encode(data).decode()}
    question = ask(instances=[text, "ä"], signature_name="serve_bytes")
    assert question.signature == "serve_bytes"
    assert question.inputs["image_bytes"].tolist() == [data, "ä".encode()]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON: "),
        (b"{", "the body is not JSON: "),
        (b'{"instances": [NaN]}', "the body is not JSON: "),
        (b'{"instances": [1e999]}', "the body is not JSON: "),
        (b"\xff\xfe", "the body is not JSON: "),
        (b"[" * 100_000, "the body is not JSON: "),
        (b"[1, 2]", "the body must be a JSON object. Received: a list of 2."),
        (b"null", "the body must be a JSON object. Received: null."),
    ],
)
def test_a_body_that_is_no_json_object(body, reason):
    with pytest.raises(Refused) as refused:
        rest.question(body, SIGNATURES)
    assert reason_of(refused).startswith(reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "either instances, a list with a row for each item, or inputs"),
        ({"inputs": [], "instances": []}, "Received: an object with inputs, instances"),
        ({"signature": "x", "inputs": []}, "Did you mean 'signature_name'?"),
        ({"inputs": [], "signature_name": 1}, "must be a string. Received: 1."),
        ({"inputs": [], "signature_name": "serve_byte"}, "Did you mean 'serve_bytes'?"),
        ({"inputs": [], "signature_name": "x" * 10**6}, "one of serving_default, "),
        ({"instances": []}, "a list with a row at least. Received: a list of 0."),
        ({"instances": "x" * 10**6}, 'Received: "xxx'),
        ({"instances": [{"image": IMAGE}]}, "item 0 of instances must be an object"),
        ({"instances": [{"images": IMAGE}, IMAGE]}, "item 1 of instances must be"),
        (
            {"inputs": {"image": [IMAGE]}},
            "object with images. Received: an object with",
        ),
        ({"inputs": {"x" * 99 + str(i): i for i in range(99)}}, "inputs must be an"),
    ],
)
def test_what_the_object_must_have(content, reason):
    assert reason in refusal(**content)


def test_two_inputs_need_names():
    assert "must be an object with tag, sensor" in refusal(TWO, inputs=[1, 2])
    assert "item 0 of instances must be" in refusal(TWO, instances=[{"b64": "Yg=="}])


@pytest.mark.parametrize(
    ("value", "received"),
    [
        ([[[[300]]]], "300"),
        ([[[[-1]]]], "-1"),
        ([[[[3, -1, 300]]]], "300"),
        ([[[[2**70]]]], "1.1805916207174113e+21"),
        ([[[[1.5]]]], "1.5"),
        ([[[[1.0]]]], "1.0"),
        ([[[["a"]]]], '"a"'),
        ([[[[True]]]], "true"),
        ([[[[1, 2, True]]]], "true"),
        ([[[[None]]]], "null"),
        ([[[[[1]]]]], "a list of 1"),
        ([[[[{}]]]], "an object with nothing in it"),
        ([[[1]]], "1 where a list is due, 3 lists deep"),
        (7, "7 where a list is due, 0 lists deep"),
        ([[[[1]], "ab"]], '"ab" where a list is due, 2 lists deep'),
        ([[[[1]]], [[[1], [2]]]], "lists of 1 and of 2, 2 lists deep"),
        ([[], [[]]], "lists of 0 and of 1, 1 lists deep"),
    ],
)
def test_what_is_no_uint8_of_rank_4(value, received):
    with pytest.raises(Refused) as refused:
        values.to_array(
            "images", orjson.loads(json.dumps(value)), spec(tf.uint8, *[None] * 4)
        )
    reason = reason_of(refused)
    assert reason.startswith("images must be uint8 [n, any, any, any]. Received: ")
    assert reason.endswith(f"Received: {received}.")


@pytest.mark.parametrize(
    ("value", "of", "expected"),
    [
        (2**63 - 1, tf.int64, 2**63 - 1),
        (2**64 - 1, tf.uint64, 2**64 - 1),
        (255, tf.uint8, 255),
        (-128, tf.int8, -128),
        (3, tf.float32, 3.0),
        (0.1, tf.float32, np.float32(0.1)),
        (1e-60, tf.float32, 0.0),
        (0.1, tf.float64, 0.1),
        (0.25, tf.bfloat16, 0.25),
        (True, tf.bool, True),
    ],
)
def test_numbers_of_each_type(value, of, expected):
    array = values.to_array("x", [value], spec(of, None))
    assert array.dtype == of.as_numpy_dtype
    assert array.tolist() == [expected]


@pytest.mark.parametrize(
    ("value", "of", "received"),
    [
        (2**63, tf.int64, "9223372036854775808"),
        (-1, tf.uint64, "-1"),
        (1e39, tf.float32, r"1e\+39"),
        (70000, tf.float16, "70000"),
        (False, tf.float32, "false"),
        (1, tf.bool, "1"),
        (1, tf.string, "1"),
        ({"b64": "not base64"}, tf.string, 'a "b64" that is not base64: .*'),
        ({"b64": 1}, tf.string, "an object with b64"),
        ({"b64": "", "x": 1}, tf.string, "an object with b64, x"),
        ([], tf.float32, "a list of 0"),
    ],
)
def test_values_of_another_type(value, of, received):
    with pytest.raises(Refused, match=f"Received: {received}.$"):
        values.to_array("x", [value], spec(of, None))


def test_a_type_that_json_has_not():
    with pytest.raises(Refused, match=r"x is complex64, which is not in JSON\.$"):
        values.to_array("x", [1], spec(tf.complex64, None))
    with pytest.raises(Refused, match=r"y is complex64, which is not in JSON\.$"):
        values.from_array("y", np.array([1 + 2j], np.complex64))


def test_lists_deeper_than_numpy_has_dimensions():
    value = 1
    for _ in range(70):
        value = [value]
    with pytest.raises(Refused, match="lists 70 deep"):
        values.to_array("x", value, tf.TensorSpec(None, tf.float32))


def test_shapes_without_elements_and_of_any_rank():
    assert values.to_array("x", [[], []], spec(tf.uint8, None, None, 3)).shape == (
        2,
        0,
        0,
    )
    assert values.to_array("x", 5, spec(tf.uint8)).shape == ()
    assert values.to_array("x", [[1, 2, 3]], FREE).shape == (1, 3)
    assert values.to_array("x", [], FREE).shape == (0,)


@pytest.mark.parametrize(
    ("outputs", "rows", "columns"),
    [
        (
            {"a": np.float32([[0.1, 1e-8]]), "b": np.int64([7])},
            {"predictions": [{"a": [0.1, 1e-8], "b": 7}]},
            {"outputs": {"a": [[0.1, 1e-8]], "b": [7]}},
        ),
        (
            {"a": np.float32([0.1, np.nan])},
            {"predictions": [0.1, None]},
            {"outputs": [0.1, None]},
        ),
        (
            {"name": np.array([[b"\xc3\xa4"]], object)},
            {"predictions": [["ä"]]},
            {"outputs": [["ä"]]},
        ),
        (
            {"name_bytes": np.array([b"\xff"], object)},
            {"predictions": [{"b64": "/w=="}]},
            {"outputs": [{"b64": "/w=="}]},
        ),
        (
            {"a": np.array([0.5], tf.bfloat16.as_numpy_dtype), "b": np.array([True])},
            {"predictions": [{"a": 0.5, "b": True}]},
            {"outputs": {"a": [0.5], "b": [True]}},
        ),
        (
            {"a": np.arange(6, dtype=np.uint8).reshape(2, 3).T},  # not in C order
            {"predictions": [[0, 3], [1, 4], [2, 5]]},
            {"outputs": [[0, 3], [1, 4], [2, 5]]},
        ),
    ],
)
def test_answers(outputs, rows, columns):
    assert json.loads(rest.answer(outputs, rows=True)) == rows
    assert json.loads(rest.answer(outputs, rows=False)) == columns


def test_a_float32_has_the_fewest_digits_that_tell_it():
    outputs = {"p": np.array([0.1, 1 / 3], np.float32)}
    assert rest.answer(outputs, rows=True) == b'{"predictions":[0.1,0.33333334]}'


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": np.float32(1.5)},
        {"a": np.zeros(2), "b": np.zeros(3)},
        {"a": np.zeros(2), "b": np.float32(1)},
    ],
)
def test_outputs_without_common_rows_are_for_columns(outputs):
    with pytest.raises(Refused, match="ask with inputs instead"):
        rest.answer(outputs, rows=True)
    assert b'{"outputs":' in rest.answer(outputs, rows=False)


def test_the_status_is_the_proto_in_json():
    from google.protobuf import json_format

    statuses = [Status(2, "AVAILABLE"), Status(1, "END", "broken")]
    message = json_format.ParseDict(
        rest.status(statuses), get_model_status_pb2.GetModelStatusResponse()
    )
    new, old = message.model_version_status
    assert (new.version, new.state, new.status.error_code) == (2, new.AVAILABLE, 0)
    assert (old.version, old.state, old.status.error_message) == (1, old.END, "broken")


def test_the_metadata_is_the_proto_in_json():
    from google.protobuf import json_format

    metadata = rest.metadata(FakeServable("things", 2))
    assert metadata["model_spec"] == {
        "name": "things",
        "signature_name": "",
        "version": "2",
    }
    # As the documentation of TensorFlow Serving shows it.
    described = metadata["metadata"]["signature_def"]["signature_def"]
    assert described["serving_default"]["inputs"]["images"] == {
        "dtype": "DT_UINT8",
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in (-1, 2, 2, 1)],
            "unknown_rank": False,
        },
    }
    parsed = json_format.ParseDict(
        metadata["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap()
    )
    assert set(parsed.signature_def) == set(FakeServable.signatures)
