"""A server on a free port, in a thread of the test's process."""

import contextlib
import socket
import threading
import time

from zoo.serving import running


@contextlib.contextmanager
def serving(app, connections=None):
    """Give the port; the server stops in the end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = running.Server(running.config(app, connections))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.end()
        thread.join(20)  # less than the time that requests in flight are given
        assert not thread.is_alive()


def until(condition, seconds=20):
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def received(client):
    """Return all that comes until the server ends the connection."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(65536):
            data += chunk
    return bytes(data)
