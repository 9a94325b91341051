"""Clients as TensorFlow Serving has them, against the real server."""

import contextlib
import gc
import io
import socket
import threading
import weakref
from concurrent.futures import Future
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving import models
from tests.serving.live import until
from tests.serving.models import IMAGES, MEANS, TOTALS
from zoo import ZooError
from zoo.serving import grpc_api, grpc_server, tensors
from zoo.serving.metrics import Metrics
from zoo.serving.repository import Repository

CODES = grpc.StatusCode
PREDICT = "/tensorflow.serving.PredictionService/Predict"
MAX_BYTES, MAX_PIXELS = 100_000, 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.save(tmp_path_factory.mktemp("models"), 3, 12)


@pytest.fixture(scope="module")
def served(folder):
    metrics = Metrics()
    options = {"num_versions": 2, "max_batch_size": 1024}  # so many rows are large
    repository = Repository(folder, **options, metrics=metrics)
    repository.start()
    with listening(repository, metrics) as server:
        yield SimpleNamespace(metrics=metrics, port=server.port)
    repository.close()


@contextlib.contextmanager
def listening(repository, metrics=None):
    limits = {"max_message_bytes": MAX_BYTES, "max_pixels": MAX_PIXELS}
    metrics = metrics or Metrics()
    server, port = grpc_api.start(repository, metrics, "127.0.0.1", 0, **limits)
    assert port == server.port
    with contextlib.closing(SimpleNamespace(close=lambda: server.stop(0))):
        yield server


@contextlib.contextmanager
def channel_to(port):
    # A connection of its own, not one that another test has left.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        yield channel


@pytest.fixture
def channel(served):
    with channel_to(served.port) as channel:
        yield channel


@pytest.fixture
def predict(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return lambda request: stub.Predict(request, timeout=20)


def request(signature="", inputs=None, name="sums"):
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = name, signature
    for key, array in (inputs or {"images": IMAGES}).items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    return made


def files(*contents):
    return request("pixels", {"image_bytes": np.array(contents, object)})


def png(height, width):
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


@contextlib.contextmanager
def refused(code, why):
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code() == code, caught.value
    assert why in caught.value.details()
    assert "\n" not in caught.value.details()


def test_predict_answers_as_tensorflow_serving_does(predict):
    response = predict(request())
    spec = response.model_spec
    assert (spec.name, spec.version.value) == ("sums", 12)
    assert spec.signature_name == "serving_default"
    assert set(response.outputs) == {"totals", "means"}
    assert list(response.outputs["totals"].int64_val) == TOTALS
    assert list(response.outputs["means"].float_val) == MEANS
    assert response.outputs["means"].dtype == tf.float32.as_datatype_enum
    assert [d.size for d in response.outputs["means"].tensor_shape.dim] == [2]


def test_a_signature_is_chosen_by_name(predict):
    response = predict(files(png(2, 2), png(3, 5)))
    assert response.model_spec.signature_name == "pixels"
    assert tf.make_ndarray(response.outputs["pixels"]).tolist() == [4, 15]


def test_a_version_is_chosen_by_number(predict):
    asked = request()
    asked.model_spec.version.value = 3
    assert predict(asked).model_spec.version.value == 3


def test_the_output_filter_chooses_outputs(predict):
    asked = request()
    asked.output_filter.append("totals")
    assert set(predict(asked).outputs) == {"totals"}


def test_a_large_request_is_answered(predict):
    many = np.repeat(IMAGES, 5000, axis=0)
    outputs = predict(request(inputs={"images": many})).outputs
    np.testing.assert_array_equal(outputs["totals"].int64_val, np.repeat(TOTALS, 5000))


def with_spec(**fields):
    asked = request()
    for name, value in fields.items():
        if name == "version":
            asked.model_spec.version.value = value
        else:
            setattr(asked.model_spec, name, value)
    return asked


def with_filter(*names):
    asked = request()
    asked.output_filter.extend(names)
    return asked


def with_tensor(**fields):
    asked = request()
    for name, value in fields.items():
        setattr(asked.inputs["images"], name, value)
    return asked


def filled(signature, name, value):
    """Describe a thousand values by one."""
    tensor = tf.make_tensor_proto([value])
    tensor.tensor_shape.dim[0].size = 1000
    asked = request(signature)
    asked.inputs.clear()
    asked.inputs[name].CopyFrom(tensor)
    return asked


BAD, LOST, FULL = CODES.INVALID_ARGUMENT, CODES.NOT_FOUND, CODES.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        (predict_pb2.PredictRequest(), BAD, "model_spec is missing"),
        (with_spec(name="other"), LOST, "'other'"),
        (with_spec(name="../models/sums"), LOST, "'../models/sums'"),
        (with_spec(name="a\nb" * 10_000), LOST, "model must be one of sums"),
        (with_spec(version=4), LOST, "4"),
        (with_spec(version=-1), LOST, "-1"),
        (with_spec(version_label="stable"), BAD, "no version labels here: 'stable'"),
        (with_spec(signature_name="serving"), BAD, "'serving_default'?"),
        (with_filter("total"), BAD, "among means, totals. Received: 'total'"),
        (with_filter("means", "means"), BAD, "an output twice: means, means"),
        (request(inputs={"image": IMAGES}), BAD, "takes the inputs images"),
        (request(inputs={"images": IMAGES[0]}), BAD, "uint8 [n, 2, 2]"),
        (request(inputs={"images": IMAGES / 2}), BAD, "Received: float64 [2, 2, 2]"),
        (
            with_tensor(tensor_content=b"12345"),
            BAD,
            "'images' is wrong: shape [2, 2, 2]",
        ),
        (filled("pixels", "image_bytes", b"image"), BAD, "1,000 values, string_val 1."),
        (with_tensor(dtype=77), BAD, "'images' is wrong: dtype 77"),
        (files(b"GIF89a"), BAD, "must be a whole PNG"),
        (files(png(20, 21)), FULL, "at most 400"),
        (files(png(20, 15), png(20, 15)), FULL, "at most 400"),
        (
            request(inputs={"images": np.zeros((30_000, 2, 2), np.uint8)}),
            FULL,
            "larger",
        ),
    ],
)
def test_a_bad_request_is_refused_in_one_line(asked, code, why, predict):
    with refused(code, why):
        predict(asked)
    assert predict(request()).outputs["totals"].int64_val == TOTALS


@pytest.mark.parametrize("message", [b"\xff\xff", b"GET / HTTP/1.1", b"\x0a\xff"])
def test_a_message_that_is_none_is_refused(message, channel):
    with refused(BAD, "the message is no PredictRequest"):
        channel.unary_unary(PREDICT)(message, timeout=20)


def test_a_call_without_a_message_is_refused(channel):
    with refused(BAD, "ended without a message"):
        channel.stream_unary(PREDICT)(iter(()), timeout=20)


def test_other_methods_are_unimplemented(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with refused(CODES.UNIMPLEMENTED, ""):
        stub.Classify(classification_pb2.ClassificationRequest(), timeout=20)


def test_metadata_is_that_of_the_file(channel, folder):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    asked = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=["signature_def"]
    )
    asked.model_spec.name = "sums"
    response = stub.GetModelMetadata(asked, timeout=20)
    assert response.model_spec.version.value == 12
    answered = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(answered)
    file = (folder / "sums/12/saved_model.pb").read_bytes()
    written = saved_model_pb2.SavedModel.FromString(file).meta_graphs[0].signature_def
    assert set(answered.signature_def) == {"serving_default", "pixels"}
    for name, signature in answered.signature_def.items():
        for info in (*written[name].inputs.values(), *written[name].outputs.values()):
            info.ClearField("name")
        written[name].ClearField("defaults")
        assert signature == written[name]
    asked.metadata_field[:] = ["weights"]
    with refused(BAD, "metadata_field must be signature_def. Received: weights."):
        stub.GetModelMetadata(asked, timeout=20)
    asked.metadata_field[:] = []
    with refused(BAD, "Received: none."):
        stub.GetModelMetadata(asked, timeout=20)


def test_status_tells_all_versions_or_one(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "sums"
    statuses = stub.GetModelStatus(asked, timeout=20).model_version_status
    assert sorted(status.version for status in statuses) == [3, 12]
    asked.model_spec.version.value = 3
    (status,) = stub.GetModelStatus(asked, timeout=20).model_version_status
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert (status.status.error_code, status.status.error_message) == (0, "")
    asked.model_spec.version.value = 4
    with refused(LOST, "4"):
        stub.GetModelStatus(asked, timeout=20)


def test_a_failed_version_tells_its_error():
    broken = SimpleNamespace(version=1, state="END", error="it is empty")
    repository = SimpleNamespace(status=lambda name, version: [broken])
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "any"
    with listening(repository) as server, channel_to(server.port) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        (status,) = stub.GetModelStatus(asked, timeout=20).model_version_status
    assert status.state == get_model_status_pb2.ModelVersionStatus.END
    assert (status.status.error_code, status.status.error_message) == (2, "it is empty")


def test_predictions_are_counted_by_their_status(served, channel, predict):
    def count(model, status):
        labels = f'{{api="grpc",model="{model}",status="{status}"}}'
        lines = served.metrics.text().decode().splitlines()
        found = [line.split() for line in lines if labels in line]
        return sum(float(value) for name, value in found if "requests_total" in name)

    counted = [("sums", "OK"), ("sums", "INVALID_ARGUMENT"), ("unknown", "NOT_FOUND")]
    before = [count(*labels) for labels in counted]
    predict(request())
    with refused(BAD, ""):
        predict(with_filter("total"))
    with refused(LOST, ""):
        predict(with_spec(name="other"))
    asked = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "sums"})
    model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked, timeout=20)
    after = [count(*labels) for labels in counted]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]


def test_a_refused_request_is_let_go_at_once(predict, monkeypatch):
    """Otherwise memory grows until Python looks for cycles, which may be gigabytes."""
    arrays, read = [], tensors.to_array

    def noted(*arguments):
        array = read(*arguments)
        arrays.append(weakref.ref(array))
        return array

    monkeypatch.setattr(tensors, "to_array", noted)
    gc.disable()
    try:
        for asked in (with_filter("total"), files(b"no image"), with_spec(name="x")):
            with pytest.raises(grpc.RpcError):
                predict(asked)
        assert len(arrays) == 3
        until(lambda: all(array() is None for array in arrays))
    finally:
        gc.enable()


class Held:
    """A repository of one model, whose answers the test gives."""

    def __init__(self):
        self.asked = threading.Semaphore(0)
        self.futures = []

    def get(self, name, version):
        return SimpleNamespace(name=name, version=1, signatures={}, submit=self.submit)

    def submit(self, signature, inputs):
        self.futures.append(Future())
        self.asked.release()
        return self.futures[-1]

    def wait(self):
        assert self.asked.acquire(timeout=20)
        return self.futures[-1]


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def holding(held):
    with listening(held) as server, channel_to(server.port) as channel:
        yield SimpleNamespace(
            server=server,
            channel=channel,
            stub=prediction_service_pb2_grpc.PredictionServiceStub(channel),
        )


def test_stopping_answers_what_is_in_flight(held, holding):
    call = holding.stub.Predict.future(request(), timeout=20)
    future = held.wait()
    stopping = threading.Thread(target=holding.server.stop, args=(20,))
    stopping.start()
    with pytest.raises(grpc.RpcError):  # from now on nobody is let in
        until(lambda: holding.stub.Predict(request(), timeout=0.1) is None)
    future.set_result({"totals": np.array([7])})
    assert call.result().outputs["totals"].int64_val == [7]
    stopping.join(20)
    assert not stopping.is_alive()
    holding.server.stop = lambda grace: None


def test_a_client_that_goes_takes_its_request_back(held, holding):
    call = holding.stub.Predict.future(request(), timeout=20)
    future = held.wait()
    call.cancel()
    until(future.cancelled)


def test_a_defect_is_told_to_the_log_and_not_to_the_client(held, holding, capfd):
    """Once: who can cause it could otherwise fill the disk."""
    for _ in range(2):
        call = holding.stub.Predict.future(request(), timeout=20)
        held.wait().set_exception(KeyError("secret"))
        with refused(CODES.INTERNAL, "a defect of the server; see its log."):
            call.result()
    assert capfd.readouterr().err.count("KeyError: 'secret'") == 1


def test_requests_that_are_worked_on_share_a_limit_of_bytes(held, holding):
    large = request(inputs={"images": np.zeros((24_000, 2, 2), np.uint8)})
    calls = [holding.stub.Predict.future(large, timeout=20) for _ in range(4)]
    for _ in calls:
        held.wait()
    with refused(CODES.UNAVAILABLE, "too much is being worked on"):
        holding.stub.Predict(large, timeout=20)
    for future in held.futures:
        future.set_result({})
    for call in calls:
        call.result()
    again = holding.stub.Predict.future(large, timeout=20)
    held.wait().set_result({})
    again.result()


def test_requests_at_a_time_are_bounded(held, monkeypatch):
    monkeypatch.setattr(grpc_server, "MAX_CONCURRENT", 2)
    with listening(held) as server, channel_to(server.port) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        calls = [stub.Predict.future(request(), timeout=20) for _ in range(2)]
        for _ in calls:
            held.wait()
        with refused(FULL, "limit exceeded"):
            stub.Predict(request(), timeout=20)


def test_requests_on_their_way_in_are_bounded(held, monkeypatch):
    """Of what is not read yet gRPC holds a little, of what is read all that came."""
    monkeypatch.setattr(grpc_server, "_ARRIVING", 1)
    never = threading.Event()
    with listening(held) as server, channel_to(server.port) as channel:
        first = channel.stream_unary(PREDICT).future(
            iter(lambda: never.wait(20), None), timeout=20
        )
        until(lambda: server._arriving.locked())
        second = channel.unary_unary(PREDICT).future(
            request().SerializeToString(), timeout=20
        )
        assert not held.asked.acquire(timeout=0.2)
        first.cancel()
        held.wait().set_result({})
        second.result()
    never.set()


def test_a_request_that_never_comes_whole_is_ended(held, monkeypatch):
    monkeypatch.setattr(grpc_server, "RECEIVE_SECONDS", 0.2)
    never, hold = threading.Event(), iter(lambda: never.wait(20), None)
    with listening(held) as server, channel_to(server.port) as channel:
        call = channel.stream_unary(PREDICT)
        with refused(CODES.DEADLINE_EXCEEDED, "no whole request came in 0.2 s"):
            call(hold, timeout=20)
    never.set()


def silent(stack, server, number):
    """Open connections that never say a word."""
    address = ("127.0.0.1", server.port)
    return [
        stack.enter_context(socket.create_connection(address)) for _ in range(number)
    ]


def num_ended(connections):
    ended = 0
    for connection in connections:
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while connection.recv(4096):  # the server speaks first
                pass
            ended += 1
    return ended


def test_connections_are_bounded(held, monkeypatch):
    monkeypatch.setattr(grpc_server, "MAX_CONNECTIONS", 20)
    with listening(held) as server, contextlib.ExitStack() as stack:
        connections = silent(stack, server, 100)
        until(lambda: num_ended(connections) == 80)


def test_silent_connections_are_ended(held, monkeypatch):
    monkeypatch.setattr(grpc_server, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(grpc_server, "RECEIVE_SECONDS", 0.3)
    with listening(held) as server, contextlib.ExitStack() as stack:
        connections = silent(stack, server, 20)
        until(lambda: num_ended(connections) == 20)
        channel = stack.enter_context(channel_to(server.port))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        call = stub.Predict.future(request(), timeout=20)
        held.wait().set_result({})
        assert call.result().model_spec.name == "sums"


def test_a_port_in_use_is_one_line(held):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ZooError, match=f"cannot listen for gRPC on .*:{port}: "):
            grpc_api.start(held, Metrics(), "127.0.0.1", port)
