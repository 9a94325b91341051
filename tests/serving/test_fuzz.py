"""Requests that nobody writes by hand: the server answers each, and goes on.

Set ZOO_FUZZ_EXAMPLES to look for longer, and with new requests each time. What that
finds becomes a test with a name, where the thing that it found is tested.
"""

import base64
import contextlib
import io
import json
import os
import socket

import grpc
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from tests.serving import live, models
from tests.serving.models import IMAGES, TOTALS
from zoo.serving import app, grpc_api
from zoo.serving.metrics import Metrics
from zoo.serving.repository import Repository

LONGER = os.environ.get("ZOO_FUZZ_EXAMPLES")
BOUNDED = settings(
    max_examples=int(LONGER or 50),
    derandomize=not LONGER,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
PREDICT = "/v1/models/sums:predict"
GRPC_PREDICT = "/tensorflow.serving.PredictionService/Predict"
REFUSED_BY_GRPC = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}


class Served:
    """A server of the model `sums` over both APIs, and its client."""

    def __init__(self, application, port, grpc_port):
        self.application, self.port = application, port
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")

    def close(self):
        self.session.close()
        self.channel.close()

    def post(self, body):
        response = self.session.post(self.url + PREDICT, data=body, timeout=20)
        assert response.status_code in (200, 400, 413, 503), response.text
        if response.status_code != 200:
            assert_one_line(response)
        return response


def assert_one_line(response):
    content = response.json()
    assert list(content) == ["error"], content
    assert content["error"] and "\n" not in content["error"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    metrics, limit = Metrics(), {"max_pixels": 10_000}
    folder = models.save(tmp_path_factory.mktemp("models"), 1)
    repository = Repository(folder, metrics=metrics)
    repository.start()
    application = app.create(repository, metrics, **limit)
    rpc, grpc_port = grpc_api.start(repository, metrics, "127.0.0.1", 0, **limit)
    with (
        live.serving(application) as port,
        contextlib.closing(Served(application, port, grpc_port)) as served,
    ):
        yield served
    rpc.stop(0)
    repository.close()


@pytest.fixture(autouse=True)
def alive(served):
    yield
    answer = served.post(json.dumps({"inputs": IMAGES.tolist()})).json()
    assert answer["outputs"]["totals"] == TOTALS


@pytest.fixture(scope="module")
def cases(served):
    """Return the strategy of all requests that /openapi.json describes, and more."""
    described = served.application.openapi()
    # Otherwise hardly a request would be for the model that there is.
    for operations in described["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                there = {"name": "sums", "version": 1}[parameter["name"]]
                parameter["schema"] = {"anyOf": [{"const": there}, parameter["schema"]]}
    schema = schemathesis.openapi.from_dict(described)
    return st.one_of(
        operation.ok().as_strategy(generation_mode=mode)
        for operation in schema.get_all_operations()
        for mode in schemathesis.GenerationMode
    )


schemathesis.checks.load_all_checks()
CHECKS = schemathesis.checks.CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    ]
)


@BOUNDED
@given(data=st.data())
def test_the_described_api(data, cases, served):
    case = data.draw(cases)
    response = case.call(base_url=served.url, session=served.session)
    if response.status_code != 405:  # a name with a slash or a ? is another path
        case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400 and case.method != "HEAD":
        assert_one_line(response)


numbers = st.one_of(
    st.integers(0, 255),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.builds(lambda data: {"b64": data}, st.one_of(st.text(max_size=9), st.none())),
)


def nested(items, depth):
    for _ in range(depth):
        items = st.lists(items, min_size=1, max_size=3)
    return items


def almost(shape):
    """Return lists of a shape, in which a few things may be wrong."""
    items = st.one_of(st.integers(0, 255), numbers)
    for size in reversed(shape):
        whole = st.lists(items, min_size=size, max_size=size)
        items = st.one_of(whole, whole, whole, st.lists(items, max_size=3), numbers)
    return items


values = st.one_of(
    almost((2, 2, 2)),
    st.integers(0, 6).flatmap(lambda depth: nested(numbers, depth)),
    st.recursive(numbers, lambda inner: st.dictionaries(st.text(max_size=3), inner)),
    st.dictionaries(st.sampled_from(["images", "image_bytes", ""]), almost((1, 2, 2))),
    st.lists(st.fixed_dictionaries({"images": almost((2, 2))}), max_size=3),
)
names = st.one_of(
    st.sampled_from(["serving_default", "pixels", "", "__saved_model_init_op"]),
    numbers,
)
contents = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"instances": values, "inputs": values, "signature_name": names}
    ),
    values,
)


@st.composite
def damaged(draw, whole):
    """Return bytes of which some are others, or missing, or there twice."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data[start:end] = draw(st.one_of(st.binary(max_size=8), st.just(data[end:])))
    return bytes(data)


bodies = st.one_of(
    contents.map(json.dumps),
    damaged(contents.map(lambda content: json.dumps(content).encode())),
    st.builds(
        lambda n, text: text * n, st.integers(1, 10**5), st.sampled_from('[{"0 ')
    ),
    st.binary(max_size=100),
)


@BOUNDED
@given(body=bodies)
def test_bodies(body, served):
    served.post(body)


def image_files():
    for kind in ("PNG", "JPEG", "BMP", "GIF"):
        for mode in ("L", "RGB", "P", "1"):
            file = io.BytesIO()
            with contextlib.suppress(OSError):  # JPEG has no palettes
                Image.new(mode, (5, 3)).save(file, kind)
                yield file.getvalue()


@BOUNDED
@given(
    files=st.lists(damaged(st.sampled_from([*image_files()])), min_size=1, max_size=3)
)
def test_image_files(files, served):
    inputs = [{"b64": base64.b64encode(file).decode()} for file in files]
    served.post(json.dumps({"signature_name": "pixels", "inputs": inputs}))


heads = st.builds(
    "{} {} HTTP/{}\r\nHost: x\r\n{}: {}\r\n\r\n{}".format,
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PRI", "\0"]),
    st.sampled_from(
        ["/", "/healthz", PREDICT, "*", "/v1/models/..%2f..", "//", "/%ff"]
    ),
    st.sampled_from(["1.1", "1.0", "2.0", "0.9", "1.1\r\nConnection: close"]),
    st.sampled_from(["Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "X"]),
    st.sampled_from(
        ["0", "2", "-1", "9" * 30, "chunked", "100-continue", "h2c", "a, b"]
    ),
    st.sampled_from(["", "{}", "2\r\n{}\r\n0\r\n\r\n", "ffffffffffffffff\r\n", "0"]),
)


@BOUNDED
@given(message=damaged(heads.map(str.encode)))
def test_what_is_hardly_http(message, served):
    with live.connect(served.port) as connection:
        with contextlib.suppress(ConnectionError):  # ended before all was sent
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(100_000)
            assert not answer or answer.startswith(b"HTTP/1.1 ")
            assert b" 500 " not in answer.split(b"\r\n")[0]


tensors = st.builds(
    dict,
    dtype=st.one_of(st.sampled_from([1, 4, 7]), st.integers(-1, 130)),
    tensor_content=st.one_of(st.just(b""), st.binary(max_size=9), st.just(bytes(8))),
    int_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9),
    string_val=st.lists(st.binary(max_size=9), max_size=3),
    dims=st.one_of(
        st.sampled_from([(2, 2, 2), (1, 2, 2), (1,), (2**40,), (0, 2**62, 2**62)]),
        st.lists(st.integers(-1, 3) | st.integers(-(2**63), 2**63 - 1), max_size=70),
    ),
)


def message(tensor, key, signature, version):
    dims = tensor.pop("dims")
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "sums", signature
    if version is not None:
        request.model_spec.version.value = version
    given = request.inputs[key]
    for field, value in tensor.items():
        if field.endswith("_val"):
            getattr(given, field).extend(value)
        else:
            setattr(given, field, value)
    for size in dims:
        given.tensor_shape.dim.add(size=size)
    return request.SerializeToString()


messages = st.builds(
    message,
    tensors,
    st.sampled_from(["images", "image_bytes", ""]),
    st.sampled_from(["serving_default", "pixels", "\u2028"]),
    st.one_of(st.none(), st.just(1), st.integers(-(2**63), 2**63 - 1)),
)


@BOUNDED
@given(message=st.one_of(messages, damaged(messages)))
def test_grpc_messages(message, served):
    try:
        served.channel.unary_unary(GRPC_PREDICT)(message, timeout=20)
    except grpc.RpcError as error:
        assert error.code().name in REFUSED_BY_GRPC, error
        assert error.details() and "\n" not in error.details()
