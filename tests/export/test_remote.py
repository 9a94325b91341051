"""Against stand-ins that answer as TensorFlow Serving's documentation has it."""

import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from zoo import ZooError
from zoo.export import remote


def spec(dtype, *sizes):
    dim = [{"size": str(size), "name": ""} for size in sizes]
    shape = {"dim": dim, "unknown_rank": False}
    return {"dtype": dtype, "tensor_shape": shape, "name": "node:0"}


# As TensorFlow Serving writes it: numbers of 64 bits as strings, defaults in full.
METADATA = {
    "model_spec": {"name": "things", "signature_name": "", "version": "7"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {"images": spec("DT_UINT8", -1, 2)},
                    "outputs": {
                        "probabilities": spec("DT_FLOAT", -1, 2),
                        "class_ids": spec("DT_INT64", -1),
                        "class_names": spec("DT_STRING", -1),
                    },
                    "method_name": "tensorflow/serving/predict",
                },
                "decode": {
                    "inputs": {"image_bytes": spec("DT_STRING", -1)},
                    "outputs": {"images": spec("DT_UINT8", -1, 2)},
                    "method_name": "tensorflow/serving/predict",
                },
            }
        }
    },
}
NAMED = {
    "outputs": {
        "probabilities": [[0.25, 0.75], [1, 0]],
        "class_ids": [1, 0],
        "class_names": ["déjà", {"b64": "/w=="}],
    }
}


class StandIn(ThreadingHTTPServer):
    """Answers with what `answers` has for a path, and keeps what was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers, self.asked = {}, []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, body and json.loads(body)))
        status, answer = self.server.answers.get(self.path, (404, {"error": "lost\n!"}))
        text = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def running():
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stand_in(running):
    running.asked.clear()
    running.answers = {
        "/v1/models/things/metadata": (200, METADATA),
        "/v1/models/things:predict": (200, NAMED),
    }
    return running


IMAGES = {"images": np.array([[1, 2], [3, 255]], np.uint8)}


def test_rest_asks_in_columns_and_reads_named_outputs(stand_in):
    answers = remote.rest(stand_in.url + "/", "things")("serving_default", IMAGES)
    body = {
        "signature_name": "serving_default",
        "inputs": {"images": [[1, 2], [3, 255]]},
    }
    assert stand_in.asked == [
        ("GET", "/v1/models/things/metadata", b""),
        ("POST", "/v1/models/things:predict", body),
    ]
    assert answers["probabilities"].dtype == np.float32
    assert answers["probabilities"].tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert answers["class_ids"].dtype == np.int64
    assert answers["class_ids"].tolist() == [1, 0]
    assert answers["class_names"].tolist() == ["déjà".encode(), b"\xff"]


def test_rest_asks_with_bytes_a_version_and_reads_an_output_without_a_name(stand_in):
    path = "/v1/models/a%20b%2Fc/versions/7"
    stand_in.answers = {
        f"{path}/metadata": (200, METADATA),
        f"{path}:predict": (200, {"outputs": [[1, 2]]}),
    }
    ask = remote.rest(stand_in.url, "a b/c", 7)
    answers = ask("decode", {"image_bytes": np.array([b"\x00\xff"], object)})
    assert stand_in.asked[1][2]["inputs"] == {"image_bytes": [{"b64": "AP8="}]}
    assert set(answers) == {"images"}
    assert answers["images"].dtype == np.uint8
    assert answers["images"].tolist() == [[1, 2]]


def without(key):
    outputs = {name: value for name, value in NAMED["outputs"].items() if name != key}
    return {"outputs": outputs}


FOREIGN = "does not speak TensorFlow Serving's API"


@pytest.mark.parametrize(
    ("metadata", "predicted", "why"),
    [
        ((404, {"error": "no\nmodel"}), None, "/metadata answers 404: no model$"),
        ((500, {"detail": "x"}), None, "/metadata answers 500: {'detail': 'x'}"),
        ((200, "<html>hello</html>"), None, FOREIGN),
        ((200, []), None, FOREIGN),
        ((200, {"metadata": {}}), None, FOREIGN),
        ((200, METADATA), (400, {"error": "shape"}), ":predict answers 400: shape"),
        ((200, METADATA), (200, {"predictions": []}), FOREIGN),
        ((200, METADATA), (200, without("class_ids")), FOREIGN),
        ((200, METADATA), (200, {"outputs": [1, 2]}), FOREIGN),
        (
            (200, METADATA),
            (200, {"outputs": dict.fromkeys(NAMED["outputs"], "x")}),
            FOREIGN,
        ),
    ],
)
def test_what_rest_does_not_understand_is_one_line(metadata, predicted, why, stand_in):
    stand_in.answers = {
        "/v1/models/things/metadata": metadata,
        "/v1/models/things:predict": predicted,
    }
    with pytest.raises(ZooError, match=why) as caught:
        remote.rest(stand_in.url, "things")("serving_default", IMAGES)
    assert "\n" not in str(caught.value)


def test_a_signature_that_is_not_served_is_one_line(stand_in):
    with pytest.raises(ZooError, match="has no signature features"):
        remote.rest(stand_in.url, "things")("features", IMAGES)


@contextlib.contextmanager
def silent_port():
    """A server that lets in and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port():
    with silent_port() as port:
        pass
    return port


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://localhost", "", "http://"])
def test_a_url_that_is_none_is_one_line(url):
    received = f"must be like http://localhost:8501. Received: {url!r}$"
    with pytest.raises(ZooError, match=received):
        remote.rest(url, "things")


def test_no_rest_server_is_one_line(closed_port, monkeypatch):
    why = f"no server answers at http://127.0.0.1:{closed_port}.*Connection refused"
    with pytest.raises(ZooError, match=why):
        remote.rest(f"http://127.0.0.1:{closed_port}", "things")
    monkeypatch.setattr(remote, "TIMEOUT", 0.1)
    with (
        silent_port() as port,
        pytest.raises(ZooError, match="not answer within 0.1 s"),
    ):
        remote.rest(f"http://127.0.0.1:{port}", "things")


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Keeps what it is asked; answers the double, unless the model is another."""

    def Predict(self, request, context):
        self.request = request
        if request.model_spec.name != "things":
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not\nfound")
        response = predict_pb2.PredictResponse()
        doubled = 2.5 * tf.make_ndarray(request.inputs["images"])
        response.outputs["doubled"].CopyFrom(tf.make_tensor_proto(doubled))
        response.outputs["names"].CopyFrom(tf.make_tensor_proto([b"\xff"]))
        return response


@pytest.fixture(scope="module")
def service():
    service = Service()
    server = grpc.server(ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    service.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service
    server.stop(None).wait()


def test_grpc_asks_and_reads(service):
    ask = remote.grpc(f"127.0.0.1:{service.port}", "things", 7)
    answers = ask("serving_default", IMAGES)
    spec, given = service.request.model_spec, service.request.inputs["images"]
    assert (spec.name, spec.version.value) == ("things", 7)
    assert spec.signature_name == "serving_default"
    assert given.dtype == tf.uint8.as_datatype_enum
    np.testing.assert_array_equal(tf.make_ndarray(given), IMAGES["images"])
    assert answers["doubled"].tolist() == [[2.5, 5.0], [7.5, 637.5]]
    assert answers["names"].tolist() == [b"\xff"]
    remote.grpc(f"127.0.0.1:{service.port}", "things")("serving_default", IMAGES)
    assert not service.request.model_spec.HasField("version")


def test_grpc_sends_bytes(service):
    ask = remote.grpc(f"127.0.0.1:{service.port}", "other")
    with pytest.raises(ZooError, match="answers NOT_FOUND: Servable not found$"):
        ask("decode", {"image_bytes": np.array([b"\x00", b""], object)})
    assert list(service.request.inputs["image_bytes"].string_val) == [b"\x00", b""]


@pytest.mark.parametrize(
    "address", ["localhost", "http://localhost:8500", "localhost:port", ""]
)
def test_an_address_that_is_none_is_one_line(address):
    with pytest.raises(ZooError, match="must be HOST:PORT, like localhost:8500"):
        remote.grpc(address, "things")


def test_a_grpc_port_is_no_url(service):
    with pytest.raises(ZooError, match="not speak HTTP: .*8501 unless"):
        remote.rest(f"http://127.0.0.1:{service.port}", "things")


def test_no_grpc_server_is_one_line(closed_port, stand_in, monkeypatch):
    with pytest.raises(ZooError, match=f"no gRPC server answers at .*:{closed_port} "):
        remote.grpc(f"127.0.0.1:{closed_port}", "things")("features", IMAGES)
    with pytest.raises(ZooError, match="no gRPC server answers at"):  # it speaks HTTP
        remote.grpc(f"127.0.0.1:{stand_in.server_port}", "things")("features", IMAGES)
    monkeypatch.setattr(remote, "TIMEOUT", 0.1)
    with (
        silent_port() as port,
        pytest.raises(ZooError, match="not answer within 0.1 s"),
    ):
        remote.grpc(f"127.0.0.1:{port}", "things")("features", IMAGES)


def test_another_grpc_server_is_one_line():
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(ZooError, match=FOREIGN):
        remote.grpc(f"127.0.0.1:{port}", "things")("features", IMAGES)
    server.stop(None).wait()
