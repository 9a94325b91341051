"""gRPC's own server on an event loop of its own, with every wait and size bounded."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from zoo.errors import ZooError
from zoo.serving.errors import Refused, invalid, overloaded, report

MAX_CONNECTIONS = 256
MAX_CONCURRENT = 128  # requests
RECEIVE_SECONDS = 10.0  # for the whole of a request
_ARRIVING = 16  # so many requests may be on their way in at a time, each in memory
_TOGETHER = 4  # so many of the largest requests may be worked on at a time
_MOST_TEXT = 500  # characters of an error: it may quote what a client sent
_MINUTE = 60_000  # milliseconds

Answer = Callable[[bytes], Awaitable[bytes]]


class Server:
    """A server that listens from the beginning, in a thread.

    Args:
        services: by the full name of a service and the name of a method, the coroutine
            function that answers: serialized request -> serialized response. It raises
            `Refused`. gRPC answers UNIMPLEMENTED to all other methods.
        address: `HOST:PORT`; 0 lets the system choose the port.
        max_message_bytes: of a request; a larger one is RESOURCE_EXHAUSTED.

    Attributes:
        port: that it listens on.

    Raises:
        ZooError: it cannot listen there.
    """

    def __init__(
        self,
        services: dict[str, dict[str, Answer]],
        address: str,
        max_message_bytes: int,
    ):
        self._loop = asyncio.new_event_loop()
        # So few that large messages cannot take all the memory at once.
        self._loop.set_default_executor(ThreadPoolExecutor(2, "grpc-large"))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self.port = self._run(self._start(services, address, max_message_bytes))
        except RuntimeError:
            self._end()
            raise ZooError(
                f"cannot listen for gRPC on {address}: the port may be in use, or the "
                "host not one of this machine's; choose another port with --grpc-port."
            ) from None

    async def _start(self, services, address, max_message_bytes):
        self._server = grpc.aio.server(
            options=list(_options(max_message_bytes).items()),
            maximum_concurrent_rpcs=MAX_CONCURRENT,
        )
        room = _Room(_TOGETHER * max_message_bytes)
        self._arriving = asyncio.Semaphore(_ARRIVING)
        for service, methods in services.items():
            handlers = {
                name: _handler(answer, room, self._arriving)
                for name, answer in methods.items()
            }
            generic = grpc.method_handlers_generic_handler(service, handlers)
            self._server.add_generic_rpc_handlers([generic])
        port = self._server.add_insecure_port(address)
        await self._server.start()
        return port

    def stop(self, grace: float | None) -> None:
        """Take no more requests; return when those in flight are answered.

        Args:
            grace: the seconds that they have; then they are cancelled.
        """
        self._run(self._server.stop(grace))
        self._end()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end(self):
        self._run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _options(max_message_bytes):
    return {
        "grpc.so_reuseport": 0,  # or a second server would share the port
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.http2.bdp_probe": 0,  # or it takes megabytes of what nobody reads yet
        "grpc.max_allowed_incoming_connections": MAX_CONNECTIONS,
        "grpc.server_handshake_timeout_ms": int(1000 * RECEIVE_SECONDS),
        "grpc.max_connection_idle_ms": 5 * _MINUTE,
        # Ends those who ask and then never read the answer.
        "grpc.max_connection_age_ms": 30 * _MINUTE,
        "grpc.max_connection_age_grace_ms": _MINUTE,
        "grpc.keepalive_time_ms": _MINUTE,  # finds clients that are gone
        "grpc.keepalive_permit_without_calls": 1,
        # Clients that ping as often as this are not sent away.
        "grpc.http2.min_ping_interval_without_data_ms": _MINUTE // 6,
    }


class _Room:
    """The memory for requests that are worked on; used on the event loop only."""

    def __init__(self, size: int):
        self._free = size

    @contextlib.contextmanager
    def holding(self, request: bytes):
        """Count a request while it is worked on."""
        if len(request) > self._free:
            raise overloaded("too much is being worked on: send it again later.")
        self._free -= len(request)
        try:
            yield
        finally:
            self._free += len(request)


def _handler(
    answer: Answer, room: _Room, arriving: asyncio.Semaphore
) -> grpc.RpcMethodHandler:
    async def handle(_, context):
        try:
            request = await _received(context, arriving)
            with room.holding(request):
                return await answer(request)
        except Refused as refused:
            code, why = refused.code, " ".join(str(refused).split())[:_MOST_TEXT]
        except Exception as error:
            report(error)
            code, why = grpc.StatusCode.INTERNAL, "a defect of the server; see its log."
        # Not `context.abort`: gRPC would keep its exception, and that the request.
        context.set_code(code)
        context.set_details(why)
        return b""

    # On the wire, a stream of one message is a message; but gRPC calls the handler of
    # a stream at once, so that the time until the message is there can be bounded.
    return grpc.stream_unary_rpc_method_handler(handle)


async def _received(context, arriving) -> bytes:
    # Of a message that nobody reads yet, gRPC takes no more than its first 64 KiB.
    try:
        async with asyncio.timeout(RECEIVE_SECONDS), arriving:
            request = await context.read()
    except TimeoutError:
        late = f"no whole request came in {RECEIVE_SECONDS:g} s."
        raise Refused(late, 408, grpc.StatusCode.DEADLINE_EXCEEDED) from None
    if request is grpc.aio.EOF:
        raise invalid("the call ended without a message.")
    return request
