"""The bodies of requests: bounded each, bounded together, and bounded in time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
from starlette.requests import Request

from zoo.serving.errors import Refused

MAX_BYTES = 16 * 2**20
SECONDS = 30.0  # for a whole body
_TOGETHER = 4  # so many of the largest may be here at a time


class Unread(Refused):
    """A request is refused before its body is read, so its connection must end."""


class Bodies:
    """Reads bodies, and knows how much of them is in memory.

    When they are too large together, the one that has been on its way for longest gives
    way: those that are never sent whole go, and do not keep the others out.

    Args:
        max_bytes: of one body; all together have four times as much.
        seconds: that a client has to send one.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, seconds: float = SECONDS):
        self._max_bytes, self._seconds = max_bytes, seconds
        self._room = _TOGETHER * max_bytes
        self._arriving: dict[asyncio.Timeout, bytearray] = {}  # the oldest first

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """Give the whole body of a request; it counts as long as the context is open.

        Raises:
            Unread: it is too large (413) or too slow (408), all together are too large
                (503), or it is compressed (415).
        """
        self._check_headers(request)
        body = bytearray()
        try:
            await self._receive(request, body)
            yield body
        finally:
            self._room += len(body)

    async def _receive(self, request, body):
        try:
            async with asyncio.timeout(self._seconds) as time:
                self._arriving[time] = body
                async for chunk in request.stream():
                    self._take(body, chunk)
        except TimeoutError:
            if time in self._arriving:
                raise self._too_slow() from None
        finally:
            gave_way = self._arriving.pop(time, None) is None
        if gave_way:
            raise self._full()

    def _check_headers(self, request):
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise Unread(
                f"the body must not be compressed. Received: {coding[:20]!r}.",
                415,
                grpc.StatusCode.UNIMPLEMENTED,
            )
        # The parser has seen to it that it is a number.
        if int(request.headers.get("content-length", 0)) > self._max_bytes:
            raise self._too_large()

    def _take(self, body, chunk):
        if len(body) + len(chunk) > self._max_bytes:
            raise self._too_large()
        while len(chunk) > self._room:
            self._make_room(body)
        self._room -= len(chunk)
        body += chunk

    def _make_room(self, body):
        oldest = next((time for time, of in self._arriving.items() if of), None)
        if oldest is None or self._arriving[oldest] is body:
            raise self._full()
        other = self._arriving.pop(oldest)
        self._room += len(other)
        other.clear()
        if not oldest.expired():  # else it is ending already
            oldest.reschedule(0)  # which is past: it ends now

    def _full(self):
        return Unread(
            "the requests in flight fill the memory for them: try again later.",
            503,
            grpc.StatusCode.UNAVAILABLE,
        )

    def _too_slow(self):
        return Unread(
            f"no whole body came in {self._seconds:g} s: send it faster, or less.",
            408,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )

    def _too_large(self):
        return Unread(
            f"the body is larger than {self._max_bytes / 2**20:g} MB: send fewer "
            "images at a time, or encoded ones; zoo serve --max-body-mb allows more.",
            413,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
