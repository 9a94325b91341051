import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from zoo import ZooError
from zoo.training import meeting
from zoo.training.cluster import Cluster
from zoo.training.meeting import meet


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("", 0))) for _ in range(count)
        ]
        return [one.getsockname()[1] for one in sockets]


class Worker(threading.Thread):
    """One that meets, in a thread; `error` is what it was told in the end."""

    def __init__(self, workers, index, card=None, seconds=30.0):
        super().__init__(daemon=True)
        self.work = (Cluster(tuple(workers), index), card or {}, seconds)
        self.error = "still waiting"
        self.start()

    def run(self):
        try:
            self.error = meet(*self.work)
        except ZooError as error:
            self.error, self.exit_code = str(error), error.exit_code


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setenv("no_grpc_proxy", "")  # it is set again; leave no trace
    return [f"localhost:{port}" for port in free_ports(3)]


def errors(*group):
    for worker in group:
        worker.join(60)
    return [worker.error for worker in group]


def connect(address):
    """Connect as soon as somebody listens there."""
    until = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(meeting.host_and_port(address))
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_all_meet_whoever_comes_first(workers):
    late = [Worker(workers, index, {"--seed": "0"}) for index in (2, 1)]
    time.sleep(0.5)
    assert [worker.error for worker in late] == ["still waiting"] * 2
    assert errors(Worker(workers, 0, {"--seed": "0"}), *late) == [None] * 3
    assert os.environ["no_grpc_proxy"] == "localhost"
    for address in workers:  # nobody holds a port any more
        socket.create_server(("", meeting.host_and_port(address)[1])).close()


@pytest.mark.parametrize(
    "card, says",
    [
        (
            {"--seed": "0", "--learning-rate": "0.01"},
            "worker 1 runs with --learning-rate 0.01; the chief with --learning-rate "
            "0.005: start all workers with the same options, data and versions.",
        ),
        ({"--seed": "0"}, "with no --learning-rate; the chief with --learning-rate"),
        (
            {"--seed": "0", "--learning-rate": "0.005", "--flip": "True"},
            "worker 1 runs with --flip True; the chief with no --flip",
        ),
    ],
)
def test_everyone_hears_what_differs(card, says, workers):
    chiefs = {"--seed": "0", "--learning-rate": "0.005"}
    group = [Worker(workers, i, card if i == 1 else chiefs) for i in range(3)]
    first, *others = errors(*group)
    assert says in first and others == [first, first]


@pytest.mark.parametrize("index", [1, 3])
def test_everyone_hears_of_another_cluster(index, workers):
    others = [*workers[:2], "elsewhere:1", f"localhost:{free_ports(1)[0]}"]
    group = [Worker(workers, 0), Worker(others, index)]
    time.sleep(0.5)  # an index too many is not waited for
    group += [Worker(workers, i) for i in (1, 2) if i != index]
    first, *rest = errors(*group)
    assert {worker.exit_code for worker in group} == {2}  # it will not
    assert f"worker {index} runs with workers" in first and "elsewhere:1" in first
    assert rest == [first] * len(rest)


def test_everyone_hears_who_is_missing(workers, capsys, monkeypatch):
    monkeypatch.setattr(meeting, "QUIET", 0.5)
    group = Worker(workers, 0, seconds=1.5), Worker(workers, 2)
    first, second = errors(*group)
    assert [worker.exit_code for worker in group] == [75, 75]  # it may come next time
    assert first.startswith(f"worker 1 at {workers[1]} did not come within 1.5 s: ")
    assert "ZOO_MEETING_SECONDS" in first and second == first
    assert f"Waiting for worker 1 at {workers[1]} ..." in capsys.readouterr().err


@pytest.mark.parametrize(
    "chief, why", [("localhost:{}", "Connection refused"), ("nowhere.invalid:{}", "")]
)
def test_a_chief_that_cannot_be_reached(chief, why, workers):
    workers[0] = chief.format(free_ports(1)[0])
    [error] = errors(Worker(workers, 1, seconds=1))
    assert error.startswith(f"worker 0, the chief, at {workers[0]} cannot be reached")
    assert why in error and "\n" not in error


def test_a_name_that_is_not_known_yet_is_asked_again(workers, monkeypatch):
    real, asked = socket.getaddrinfo, []

    def later(host, *args, **kwargs):
        if host == "chief.invalid":
            asked.append(host)
            if len(asked) < 3:
                raise socket.gaierror(-2, "Name or service not known")
            host = "localhost"
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", later)
    workers = [workers[0].replace("localhost", "chief.invalid"), workers[1]]
    assert errors(*(Worker(workers, index) for index in (0, 1))) == [None, None]
    assert len(asked) == 3


def test_a_port_in_use_is_told_to_everyone(workers):
    with socket.create_server(("", meeting.host_and_port(workers[1])[1])):
        found = errors(*(Worker(workers, index) for index in range(3)))
    assert "is in use, where worker 1 at localhost:" in found[1]
    assert found == [found[1]] * 3


def test_the_chiefs_port_in_use(workers):
    with socket.create_server(("", meeting.host_and_port(workers[0])[1])):
        [error] = errors(Worker(workers, 0))
    assert "is in use, where worker 0, the chief, at localhost:" in error


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff\xfe",
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"{}\n",
        b'{"worker": "one", "card": {}}\n',
        b'{"worker": 1, "card": 3}\n',
        b"x" * (1 << 21),
    ],
)
def test_strangers_keep_nobody_waiting(garbage, workers):
    chief = Worker(workers, 0)
    with connect(workers[0]) as stranger, connect(workers[0]):  # the second is silent
        with contextlib.suppress(OSError):
            stranger.sendall(garbage)
        assert errors(chief, *(Worker(workers, i) for i in (1, 2))) == [None] * 3


def test_who_does_not_say_who_he_is_is_sent_away(workers, monkeypatch):
    monkeypatch.setattr(meeting, "PATIENCE", 0.2)
    Worker(workers, 0, seconds=5)
    with connect(workers[0]) as stranger:
        stranger.settimeout(4)
        assert stranger.recv(1) == b""


def test_a_worker_that_died_must_come_again(workers):
    chief = Worker(workers, 0)
    with connect(workers[0]) as died:
        card = {"workers": " ".join(workers)}
        died.sendall(json.dumps({"worker": 1, "card": card}).encode() + b"\n")
        time.sleep(0.2)
    time.sleep(0.2)
    second = Worker(workers, 2)
    time.sleep(0.5)
    assert chief.error == second.error == "still waiting"
    assert errors(chief, second, Worker(workers, 1)) == [None] * 3


def test_of_two_with_one_index_the_later_stays(workers):
    chief = Worker(workers, 0)
    with connect(workers[0]) as first, first.makefile("rb") as answer:
        card = {"workers": " ".join(workers)}
        first.sendall(json.dumps({"worker": 1, "card": card}).encode() + b"\n")
        time.sleep(0.2)
        second = Worker(workers, 1)
        assert b"another process came as worker 1" in answer.readline()
    assert errors(chief, second, Worker(workers, 2)) == [None] * 3


def test_a_chief_that_dies_is_waited_for(workers):
    port = meeting.host_and_port(workers[0])[1]
    with socket.create_server(("", port)) as dying:
        others = [Worker(workers, index) for index in (1, 2)]
        for _ in others:
            dying.accept()[0].close()
    assert errors(Worker(workers, 0), *others) == [None] * 3


@pytest.mark.parametrize("index", [0, 1])
def test_ctrl_c_ends_the_waiting(index, workers):
    code = (
        "import signal\n"  # which is ignored in what a shell runs in the background
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from zoo.training.cluster import Cluster, meet\n"
        "print(1, flush=True)\n"
        f"meet(Cluster({tuple(workers)}, {index}), {{}}, 60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        if index == 0:
            connect(workers[0]).close()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert error.splitlines()[-1] == "KeyboardInterrupt"
    assert "never retrieved" not in error and "Exception in callback" not in error


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
def test_the_seconds_from_the_environment(given, workers, monkeypatch):
    monkeypatch.setenv("ZOO_MEETING_SECONDS", given)
    with pytest.raises(ZooError, match="ZOO_MEETING_SECONDS must be above 0"):
        meet(Cluster(tuple(workers), 0), {})
    monkeypatch.setenv("ZOO_MEETING_SECONDS", "0.5")
    with pytest.raises(ZooError, match="did not come within 0.5 s"):
        meet(Cluster(tuple(workers), 0), {})
