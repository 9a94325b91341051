"""Connections that are bounded in number, in time, and in what is read for a request.

uvicorn waits for the rest of a request as long as the client likes; a few thousand
clients that never send it would take all its file descriptors.
"""

import asyncio
import functools

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zoo.serving import answers

MOST = 1000
RECEIVE_SECONDS = 10.0  # for the headers of a request, once it has begun
ANSWER_SECONDS = 30.0  # to take so much of an answer that the rest is on its way
IDLE_SECONDS = 60.0  # between two requests
MAX_HEADER_BYTES = 64 * 1024
MAX_PIPELINED = 16  # requests that wait for the answer before them


class Connections:
    """The open connections of a server.

    When they are too many, the one that has waited longest for the rest of a request
    gives way to the new one: those that never send it go, clients that do stay.

    Args:
        most: that are open at a time.
        receive_seconds: that a client has for the headers of a request.
        answer_seconds: that a client has to take an answer, once it is kept waiting.
        idle_seconds: that a connection stays open without a request.

    Attributes:
        protocol: what uvicorn's `Config` takes as `http`.
    """

    def __init__(
        self,
        most: int = MOST,
        receive_seconds: float = RECEIVE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ):
        self.receive_seconds, self.idle_seconds = receive_seconds, idle_seconds
        self.answer_seconds = answer_seconds
        self.protocol = functools.partial(Connection, self)
        self._most = most
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}  # the first has waited longest

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: "Connection") -> None:
        """Take in a new connection, for which an old one may have to go."""
        self._open.add(connection)
        self.wait(connection)
        if len(self._open) > self._most:
            next(iter(self._waiting)).drop()

    def remove(self, connection: "Connection") -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def wait(self, connection: "Connection") -> None:
        """Note that a whole request is awaited from a connection, from now on."""
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def whole(self, connection: "Connection") -> None:
        """Note that the whole request is there."""
        self._waiting.pop(connection, None)


class Connection(HttpToolsProtocol):
    """One connection, as uvicorn makes them.

    Args:
        connections: all of them.
        **of_uvicorn: what uvicorn passes.
    """

    def __init__(self, connections: Connections, **of_uvicorn):
        super().__init__(**of_uvicorn)
        self._all = connections
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_headers = self._in_body = False
        self._unparsed = 0  # bytes since the last that was a part of a body

    def connection_made(self, transport):
        """Count it, and give it time to send a request."""
        super().connection_made(_Heard(transport, self))
        self._allow(self._all.receive_seconds)
        self._all.add(self)

    def connection_lost(self, exc):
        """Forget it."""
        self._allow(None)
        if self._unread is not None:
            self._unread.cancel()
        self._all.remove(self)
        super().connection_lost(exc)

    def drop(self):
        """End it at once, for another one."""
        self._all.remove(self)
        self.transport.abort()

    def pause_writing(self):
        """Begin the time for the client to take an answer: it fills the buffers."""
        super().pause_writing()
        seconds = self._all.answer_seconds
        self._unread = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self):
        """End that time."""
        super().resume_writing()
        self._unread.cancel()

    def data_received(self, data):
        """Parse what came, if it is not headers without end."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._refuse(431, f"the headers are longer than {MAX_HEADER_BYTES} bytes")

    def on_message_begin(self):
        """Begin the time for a request's headers."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BufferError("too many requests without waiting for an answer")
        super().on_message_begin()
        self._in_headers = True
        if not self._is_busy():
            self._all.wait(self)
            self._allow(self._all.receive_seconds)

    def on_headers_complete(self):
        """End that time; the application has one for the body."""
        self._in_headers, self._in_body, self._unparsed = False, True, 0
        if not self._is_busy():
            self._allow(None)
        super().on_headers_complete()

    def on_body(self, body):
        """Hand it on."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self):
        """Begin to wait for the answer, or, if it has been given, for a request."""
        self._in_body = False
        super().on_message_complete()
        if self._is_busy():
            self._all.whole(self)
        elif self.transport.is_closing():
            self.transport.heard()
        else:
            self._allow(self._all.idle_seconds)

    def on_response_complete(self):
        """Begin the time for the next request, or for the rest of this one."""
        super().on_response_complete()
        if self.transport.is_closing() or (self._is_busy() and not self._in_body):
            return
        self._all.wait(self)
        if not self._is_busy():
            unfinished = self._in_headers or self._in_body
            times = self._all.receive_seconds, self._all.idle_seconds
            self._allow(times[0] if unfinished else times[1])

    def send_400_response(self, msg):
        """Say in our own form that this is not HTTP."""
        self._refuse(400, msg)

    def hear_out(self):
        """Give the client time to take the answer; return whether it still sends.

        If a socket is closed while the client sends, the client's system throws away
        the answer that it has not read yet.
        """
        self._allow(self._all.receive_seconds)
        self.flow.resume_reading()
        return self._in_body

    def _is_busy(self):
        return self.cycle is not None and not self.cycle.response_complete

    def _allow(self, seconds):
        if self._timer is not None:
            self._timer.cancel()
        self._timer = seconds and self.loop.call_later(seconds, self.transport.abort)

    def _refuse(self, status, reason):
        response = answers.error(reason, status, connection="close")
        lines = [f"HTTP/1.1 {status} Refused".encode()]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", response.body]))
        self._in_body = False
        self.transport.close()


class _Heard:
    """A transport that closes for the client first, and for good when it has ended."""

    def __init__(self, transport, connection):
        self._transport, self._connection = transport, connection
        self._ending = False

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def is_closing(self):
        return self._ending or self._transport.is_closing()

    def close(self):
        if not self.is_closing() and self._connection.hear_out():
            self._ending = True
            self._transport.write_eof()
        elif not self._ending:
            self._transport.close()

    def heard(self):
        self._transport.close()
