"""Limits of bodies, over real connections."""

import json

import pytest
from fastapi import FastAPI, Request

from tests.serving.live import connect, received, serving, until
from zoo.serving import answers
from zoo.serving.bodies import Bodies

MOST = 100_000


@pytest.fixture(scope="module")
def bodies():
    return Bodies(MOST, seconds=0.3)


@pytest.fixture(scope="module")
def held():
    """Sizes of the bodies that have been read."""
    return []


@pytest.fixture(scope="module")
def port(bodies, held):
    app = FastAPI()
    answers.explain_errors(app)

    @app.post("/")
    async def size(request: Request):
        async with bodies.read(request) as body:
            held.append(len(body))
            return answers.json({"size": len(body)})

    with serving(app) as port:
        yield port


def send(port, *parts, headers=()):
    """Return the head and the content of the answer to these bytes."""
    with connect(port) as client:
        head = ["POST / HTTP/1.1", "host: x", *headers, "", ""]
        client.sendall("\r\n".join(head).encode())
        for part in parts:
            client.sendall(part)
        return answer_of(client)


def answer_of(client):
    data = b""
    while not data.endswith(b"}"):
        data += (part := client.recv(65536))
        assert part, data
    head, _, content = data.partition(b"\r\n\r\n")
    return head.decode().lower(), json.loads(content)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_a_body_of_the_largest_size(port, bodies):
    head, content = send(port, bytes(MOST), headers=[f"content-length: {MOST}"])
    assert content == {"size": MOST}
    assert "connection: close" not in head
    parts = [chunk(bytes(MOST // 4))] * 4 + [b"0\r\n\r\n"]
    assert send(port, *parts, headers=["transfer-encoding: chunked"])[1] == {
        "size": MOST
    }
    assert bodies._room == 4 * MOST


def test_a_length_above_the_limit_is_refused_before_the_body_comes(port):
    head, content = send(port, headers=[f"content-length: {10**12}"])
    assert head.startswith("http/1.1 413 ")
    assert "connection: close" in head
    assert content["error"].startswith("the body is larger than 0.095")


def test_chunks_above_the_limit_are_refused_and_the_connection_ends(port, bodies):
    with connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        client.sendall(chunk(bytes(MOST // 2)) * 3)
        data = received(client)  # though the last chunk never came
    assert data.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in data
    assert bodies._room == 4 * MOST


def test_a_client_that_sends_all_of_a_large_body_first_reads_the_reason(port):
    size = 50 * 2**20  # more than the buffers of the sockets take
    head, content = send(port, bytes(size), headers=[f"content-length: {size}"])
    assert head.startswith("http/1.1 413 ")
    assert "send fewer images" in content["error"]


def test_a_body_that_does_not_come_in_time(port, bodies):
    head, content = send(port, b"[1", headers=["content-length: 10"])
    assert head.startswith("http/1.1 408 ")
    assert "connection: close" in head
    assert content["error"] == "no whole body came in 0.3 s: send it faster, or less."
    assert bodies._room == 4 * MOST


def half_sent(port, bodies):
    client, room = connect(port), bodies._room
    client.sendall(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % MOST)
    client.sendall(bytes(MOST - 1))
    until(lambda: bodies._room == room - MOST + 1)
    return client


def test_bodies_that_never_come_whole_do_not_keep_others_out(port, bodies, monkeypatch):
    monkeypatch.setattr(bodies, "_seconds", 20)
    clients = [half_sent(port, bodies) for _ in range(4)]
    assert send(port, bytes(4), headers=["content-length: 4"])[1] == {"size": 4}
    assert send(port, bytes(5), headers=["content-length: 5"])[1] == {"size": 5}
    oldest, *others = clients
    head, content = answer_of(oldest)  # which gave way
    assert head.startswith("http/1.1 503 ")
    assert "connection: close" in head
    assert "try again later" in content["error"]
    for client in others:
        client.sendall(b"0")
        assert answer_of(client)[1] == {"size": MOST}
    for client in clients:
        client.close()
    assert bodies._room == 4 * MOST


def test_bodies_that_are_whole_do_not_give_way(port, bodies, monkeypatch):
    monkeypatch.setattr(bodies, "_room", 4)
    head, content = send(port, bytes(5), headers=["content-length: 5"])
    assert head.startswith("http/1.1 503 ")
    assert "try again later" in content["error"]
    assert bodies._room == 4


def test_a_client_that_hangs_up_gives_its_room_back(port, bodies, held):
    held.clear()
    with connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n" + bytes(999))
        until(lambda: bodies._room == 4 * MOST - 999)
    until(lambda: bodies._room == 4 * MOST)
    assert held == []


def test_a_compressed_body_is_refused(port):
    headers = ["content-length: 3", "content-encoding: gzip"]
    head, content = send(port, b"abc", headers=headers)
    assert head.startswith("http/1.1 415 ")
    assert content["error"] == "the body must not be compressed. Received: 'gzip'."
