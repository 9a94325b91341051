"""Connections that never send a whole request, beside some that do."""

import asyncio
import contextlib
import threading
import time

import pytest
import requests
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from tests.serving.live import connect, received, serving, until
from zoo.serving import answers
from zoo.serving.connections import Connections

LARGE = 20 * 2**20  # more than the buffers of the sockets take
WHOLE = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def application():
    app = FastAPI()

    @app.get("/")
    async def alive():
        return answers.json("alive")

    @app.post("/")
    async def size(request: Request):
        with contextlib.suppress(ClientDisconnect):
            return answers.json(len(await request.body()))

    @app.get("/large")
    async def large():
        return Response(bytes(LARGE))

    @app.post("/unread")
    async def unread():
        await asyncio.sleep(0.1)  # so that much of the body is here
        return answers.error("not read", 413, connection="close")

    return app


@contextlib.contextmanager
def server(**limits):
    connections = Connections(**limits)
    with serving(application(), connections) as port:
        yield port, connections


def answer(client, request=WHOLE):
    client.sendall(request)
    data = bytearray()
    while not data.endswith(b'"alive"'):
        data += (part := client.recv(65536))
        assert part, data
    return data


@pytest.fixture(scope="module")
def patient():
    """A server whose clients have much time."""
    with server(most=50, receive_seconds=60, idle_seconds=60) as started:
        yield started


@pytest.fixture(scope="module")
def strict():
    """A server whose clients have little time."""
    with server(receive_seconds=0.3, idle_seconds=0.3) as started:
        yield started


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 100\r\n\r\nhalf",
        WHOLE,  # and then nothing
    ],
)
def test_hundreds_of_half_requests_do_not_keep_others_out(patient, half):
    port, connections = patient
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(300):
            clients.append(stack.enter_context(connect(port)))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                clients[-1].sendall(half)
        url = f"http://127.0.0.1:{port}/"
        for _ in range(3):
            assert requests.get(url, timeout=20).json() == "alive"
        assert len(connections) <= 50
        for client in clients[:200]:  # the oldest are the ones that had to go
            received(client)
        assert requests.post(url, data=b"12345", timeout=20).json() == 5
    until(lambda: len(connections) == 0)


def test_a_request_in_flight_does_not_give_way():
    release, arrived = threading.Event(), threading.Semaphore(0)
    app = FastAPI()

    @app.get("/")
    def slow():
        arrived.release()
        release.wait(20)
        return answers.json("alive")

    connections = Connections(most=2)
    with serving(app, connections) as port, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(connect(port)) for _ in range(2)]
        for client in busy:
            client.sendall(WHOLE)
            assert arrived.acquire(timeout=20)
        assert received(stack.enter_context(connect(port))) == b""
        assert len(connections) == 2
        release.set()
        for client in busy:
            answer(client, b"")


@pytest.mark.parametrize(
    "half", [b"", b"\r\n", b"GET / HTTP/1.1\r\nhost:", WHOLE, WHOLE + b"GET /"]
)
def test_the_time_for_the_next_request_is_bounded(strict, half):
    port, connections = strict
    with connect(port) as client:
        client.sendall(half)
        data = received(client)
    assert (b"200 OK" in data) == half.startswith(WHOLE)
    until(lambda: len(connections) == 0)


def test_the_time_counts_from_the_first_byte_of_the_next_request():
    with server(receive_seconds=0.3, idle_seconds=60) as (port, _):
        with connect(port) as client:
            answer(client)
            client.sendall(b"GET /")
            assert received(client) == b""


def test_bytes_that_trickle_in_do_not_lengthen_the_time(strict):
    port, connections = strict
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        begin = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < begin + 20:
                client.sendall(b"a: b\r\n")
                time.sleep(0.05)
    until(lambda: len(connections) == 0)


@pytest.mark.parametrize("length", [b"1000000", b"18446744073709551615"])
def test_a_body_that_nobody_reads_is_not_awaited_for_ever(strict, length):
    port, connections = strict
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\ncontent-length: " + length + b"\r\n\r\nx")
        assert b"200 OK" in received(client)
    until(lambda: len(connections) == 0)


def test_a_connection_answers_one_request_after_the_other(patient):
    port, _ = patient
    with connect(port) as client:
        for _ in range(3):
            answer(client)
        body = b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"
        client.sendall(body + WHOLE + body + WHOLE)
        data = b""
        while data.count(b"\r\n\r\n") < 4 or not data.endswith(b'"alive"'):
            data += client.recv(65536)
        contents = [part[:7] for part in data.split(b"\r\n\r\n")[1:]]
        assert contents == [b"3HTTP/1", b'"alive"', b"3HTTP/1", b'"alive"']


def test_a_client_that_is_refused_while_it_sends_reads_the_reason(patient):
    port, _ = patient
    head = b"POST /unread HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % LARGE
    with connect(port) as client:
        client.sendall(head + bytes(LARGE))
        assert b"not read" in received(client)


def test_an_answer_that_nobody_takes_is_not_kept():
    with server(receive_seconds=60, answer_seconds=0.3, idle_seconds=60) as (port, of):
        with connect(port) as client:
            client.sendall(WHOLE.replace(b"/", b"/large", 1) * 2)
            until(lambda: len(of) == 1)
            until(lambda: len(of) == 0)


def test_the_time_to_take_an_answer_ends_when_it_is_taken(patient):
    port, connections = patient
    request = WHOLE.replace(b"/", b"/large", 1) + WHOLE
    with connect(port) as client:
        assert len(answer(client, request)) > LARGE
        (connection,) = connections._open
        assert connection._unread.cancelled()


def test_after_the_last_answer_the_connection_ends(patient):
    port, connections = patient
    with connect(port) as client:
        client.sendall(WHOLE.replace(b"host: x", b"connection: close"))
        assert received(client).endswith(b'"alive"')
        until(lambda: len(connections) == 0)


def test_an_unread_body_does_not_disturb_the_next_request(strict):
    port, _ = strict
    with connect(port) as client:
        head = b"GET / HTTP/1.1\r\ncontent-length: 200000\r\n\r\n"
        answer(client, head)
        client.sendall(bytes(200_000))
        answer(client)


def test_after_an_unread_body_the_time_is_that_between_requests():
    with server(receive_seconds=60, idle_seconds=0.3) as (port, _):
        with connect(port) as client:
            answer(client, b"GET / HTTP/1.1\r\ncontent-length: 9\r\n\r\n")
            client.sendall(bytes(9))
            assert received(client) == b""


def test_a_client_that_was_heard_out_is_let_go(patient):
    port, connections = patient
    head = b"GET / HTTP/1.1\r\nconnection: close\r\ncontent-length: 9\r\n\r\n"
    with connect(port) as client:
        client.sendall(head)
        assert b"200 OK" in received(client)
        assert len(connections) == 1
        client.sendall(bytes(9))
        until(lambda: len(connections) == 0)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\na: " + b"b" * 600_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 600_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000, b"431"),
        (b"no HTTP\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01", b"400"),  # TLS
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"400"),
        (b"GET \xff HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_what_is_not_http_gets_a_line_and_an_end(patient, request_, status):
    port, _ = patient
    with connect(port) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request_)
        data = received(client)
    assert not data or data.startswith(b"HTTP/1.1 " + status)
    if len(request_) < 1000:
        assert data.partition(b"\r\n\r\n")[2].startswith(b'{"error":"')


def test_a_body_that_is_no_body_ends_the_connection(patient):
    port, connections = patient
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    with connect(port) as client:
        client.sendall(head + b"no length\r\n")
        assert received(client).startswith(b"HTTP/1.1 400 ")
        until(lambda: len(connections) == 0)


def test_trailers_are_bounded_too(strict):
    port, connections = strict
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
    with connect(port) as client:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(head)
            while True:
                client.sendall(b"a: b\r\n" * 10_000)
    until(lambda: len(connections) == 0)


def test_many_requests_at_once_are_not_all_remembered(patient):
    port, connections = patient
    with connect(port) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(WHOLE * 5000)
        assert received(client).count(b"200 OK") < 5000
    until(lambda: len(connections) == 0)


def test_websockets_are_not_spoken(patient):
    port, _ = patient
    upgrade = b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    with connect(port) as client:
        assert b"200 OK" in answer(client, WHOLE[:-2] + upgrade)


def test_stopping_ends_connections_without_a_request():
    with contextlib.ExitStack() as stack:
        with server() as (port, connections):
            clients = [stack.enter_context(connect(port)) for _ in range(2)]
            clients[0].sendall(b"GET /")
            answer(clients[1])
            until(lambda: len(connections) == 2)
        assert len(connections) == 0
        assert [received(client) for client in clients] == [b"", b""]


def test_stopping_waits_for_a_body_and_for_an_answer_that_is_on_its_way():
    arrived, stack = threading.Event(), contextlib.ExitStack()
    app = application()

    @app.post("/slow")
    async def slow(request: Request):
        arrived.set()
        return answers.json(len(await request.body()))

    def finish():
        until(lambda: app.state.stopping)
        time.sleep(0.2)  # it stops within a tenth
        client.sendall(b"45")
        bodies.append(received(client))
        bodies.append(received(reader))

    bodies, finishing = [], threading.Thread(target=finish)
    app.state.stopping = False
    with stack, serving(app, Connections()) as port:
        client, reader = (stack.enter_context(connect(port)) for _ in range(2))
        client.sendall(b"POST /slow HTTP/1.1\r\ncontent-length: 5\r\n\r\n123")
        reader.sendall(WHOLE.replace(b"/", b"/large", 1))
        assert reader.recv(1) == b"H"
        assert arrived.wait(20)
        finishing.start()
    finishing.join(20)
    assert bodies[0].endswith(b"\r\n\r\n5")
    assert bodies[1].endswith(bytes(LARGE))
