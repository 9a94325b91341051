"""`zoo serve`: what it says, and how it starts and ends."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from tests.serving.fakes import FakeRepository
from tests.serving.live import connect, serving, until
from tests.serving.test_app import IMAGE, MODEL
from zoo.errors import ZooError
from zoo.serving import app, running
from zoo.serving.metrics import Metrics
from zoo.serving.serve import Serve
from zoo.training import options

PROGRAM = """
import sys
from zoo import console
from zoo.serving.serve import Serve
from zoo.training import options
def main(argv):
    return options.parse(Serve, argv, "zoo serve")()
import atexit
atexit.register(lambda: print("Keras:", sys.modules.get("keras")))
console.command_line(main, sys.argv[1:])
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    class Twice(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def twice(self, x):
            return {"y": 2 * x}

    module = Twice()
    tf.saved_model.save(module, folder / "twice" / "7", module.twice)
    return folder


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_server_from_its_first_line_to_its_last(models, free_port):
    words = [str(models), "--port", "0", "--grpc-port", str(free_port)]
    server = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [server.stderr.readline().rstrip()]
        while lines[-1] and lines[-1] != "Ctrl-C stops it.":
            lines.append(server.stderr.readline().rstrip())
        # It has no warm-up request.
        lines = [line for line in lines if "without batching" not in line]
        url = re.fullmatch(r"page  (http://127.0.0.1:\d+)/", lines[2])[1]
        assert lines == [
            "Loading TensorFlow ...",
            "twice version 7 is served",
            f"page  {url}/",
            f"REST  {url}/v1/models/NAME:predict",
            f"gRPC  127.0.0.1:{free_port}",
            "Ctrl-C stops it.",
        ]
        path = f"{url}/v1/models/twice:predict"
        answer = requests.post(path, json={"instances": [1, 2.5]}, timeout=20)
        assert answer.json() == {"predictions": [2.0, 5.0]}
        assert requests.get(f"{url}/readyz", timeout=20).status_code == 200
        elsewhere = {"host": "elsewhere.example"}
        refused = requests.get(f"{url}/v1/models", headers=elsewhere, timeout=20)
        assert refused.status_code == 403
        assert states(free_port) == [7]
        with connect(int(url.rpartition(":")[2])):  # nothing to wait for
            server.send_signal(signal.SIGTERM)
            out, err = server.communicate(timeout=60)
        assert server.returncode == 0
        assert out == "Keras: None\n"
        assert err.splitlines() == [
            "stopping: what is in flight is answered; Ctrl-C again ends it at once"
        ]
    finally:
        server.kill()
        server.communicate()


def states(port):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "twice"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        answer = stub.GetModelStatus(request, timeout=20)
    return [one.version for one in answer.model_version_status]


def test_stopping_answers_what_is_in_flight_and_takes_no_more():
    repository, pending, answers = FakeRepository(), Future(), []
    servable = repository.get("things")
    servable.answers.append(pending)

    def ask():
        body = {"instances": [IMAGE]}
        answers.append(requests.post(f"{url}{MODEL}:predict", json=body, timeout=20))

    def answer_when_it_listens_no_more():
        until(lambda: refuses(port))
        answers.append("refused")
        pending.set_result({"y": np.array([1])})

    threads = [threading.Thread(target=ask)]
    with serving(app.create(repository, Metrics())) as port:
        url = f"http://127.0.0.1:{port}"
        threads[0].start()
        until(lambda: not servable.answers)
        threads.append(threading.Thread(target=answer_when_it_listens_no_more))
        threads[1].start()
    for thread in threads:
        thread.join(20)
    assert answers[0] == "refused"
    assert answers[1].json() == {"predictions": [1]}


def refuses(port):
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_grpc_stops_with_it():
    stopped = []

    class Grpc:
        def stop(self, grace):
            stopped.append(grace)

    listener = socket.create_server(("127.0.0.1", 0))
    application = app.create(FakeRepository(), Metrics())
    server = running.Server(running.config(application), Grpc())
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    server.end()
    thread.join(20)
    assert stopped == [30]


def test_the_second_signal_ends_it_at_once(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    application = app.create(FakeRepository(), Metrics())
    server = running.Server(running.config(application))
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit and application.state.stopping and not codes
    server.handle_exit(signal.SIGINT, None)
    assert codes == [130]


def test_nothing_to_serve_is_one_line_at_once(tmp_path, capsys):
    with pytest.raises(ZooError, match="has no model"):
        Serve(tmp_path, port=0, grpc_port=0)()
    with pytest.raises(ZooError, match="nowhere is not a folder: train and"):
        Serve(tmp_path / "nowhere", port=0, grpc_port=0)()
    assert "Loading" not in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    """A folder with a model that nobody gets to load."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").touch()
    return tmp_path


def test_a_port_in_use_is_one_line(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ZooError, match=f"port {port} of 127.0.0.1 is in use: "):
            Serve(folder, port=port)()
        with pytest.raises(ZooError, match="choose another port with --grpc-port"):
            Serve(folder, port=0, grpc_port=port)()


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.1",  # RFC 5737 keeps it for documentation
        ".x",
    ],
)
def test_a_host_of_another_machine_is_one_line(host, folder):
    with pytest.raises(ZooError, match="--host must be an address of this machine"):
        Serve(folder, host=host, port=0)()


def test_what_is_missing_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ZooError, match=r"needs fastapi, uvicorn, .*-e '\.\[serve\]'"):
        Serve()()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--port 65536", "--port must be an integer, at least 0 and below 65536"),
        ("--grpc-port -1", "--grpc-port must be an integer, at least 0"),
        ("--port 9 --grpc-port 9", "must be two ports. Received: 9 for both."),
        ("--num-versions 0", "--num-versions must be a positive integer"),
        ("--max-batch-size 0", "--max-batch-size must be a positive integer"),
        ("--batch-wait-ms nan", "--batch-wait-ms must be at least 0"),
        ("--max-body-mb 0", "--max-body-mb must be above 0"),
        ("--max-megapixels inf", "--max-megapixels must be above 0"),
        ("--ports 1", "Did you mean --port?"),
    ],
)
def test_impossible_options_are_one_line(words, reason):
    with pytest.raises(ZooError, match=re.escape(reason)):
        options.parse(Serve, words.split(), "zoo serve")


@pytest.mark.parametrize(
    ("host", "lines", "hosts"),
    [
        ("127.0.0.1", 4, {"localhost", "127.0.0.1", "[::1]"}),
        ("localhost", 4, {"localhost", "127.0.0.1", "[::1]"}),
        ("0.0.0.0", 5, None),
    ],
)
def test_what_it_means_to_listen_for_others(host, lines, hosts):
    with socket.create_server((host, 0)) as listener:
        serve = Serve(host=host)
        said = list(running._addresses(serve, listener))
        assert running._hosts(serve, listener) == hosts
    assert len(said) == lines
    warning = "everyone who reaches this machine may use the models"
    assert (warning in " ".join(said)) == (lines == 5)
