"""Clients in a process of their own: each asks again as soon as it has its answer.

A REST client writes bytes that were made beforehand to a socket and reads the answer's
length, no more, so that what is measured is the server.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_PAUSE = 0.1  # seconds, after a failure


@dataclasses.dataclass(frozen=True)
class Load:
    """What some clients ask.

    Attributes:
        port: of the server on this machine.
        requests: asked one after the other, from the beginning again: whole HTTP
            requests, or serialized `PredictRequest`s.
        answers: for each request, byte strings of which its answer must have one.
        clients: how many ask at the same time.
        grpc: whether they do over gRPC.
    """

    port: int
    requests: list[bytes]
    answers: list[tuple[bytes, ...]]
    clients: int = 1
    grpc: bool = False


@dataclasses.dataclass
class Outcome:
    """What the clients of a `Load` found.

    Attributes:
        seconds: that each answered request took.
        duration: in seconds, of all of it.
        failures: an account of each.
    """

    seconds: list[float]
    duration: float
    failures: list[str]


class Clients:
    """The process; a context manager."""

    def __enter__(self):
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import clients; clients.main()"],
            cwd=Path(__file__).parent,
            stdin=pipe,
            stdout=pipe,
        )
        return self

    def __exit__(self, *error):
        self._process.stdin.close()  # which it takes for its end
        if self._process.wait() and error[0] is None:
            raise SystemExit("the clients failed")

    def start(self, loads: list[Load], seconds: float, warm_up: float = 0.0) -> None:
        """Have all of them ask at the same time; do not wait for the end.

        Args:
            loads: what they ask.
            seconds: for how long.
            warm_up: how long before that they ask without being counted.
        """
        pickle.dump((loads, seconds, warm_up), self._process.stdin)
        self._process.stdin.flush()

    def finish(self) -> list[Outcome]:
        """Wait for the end; return what the clients of each load found."""
        return pickle.load(self._process.stdout)

    def ask(self, *loads: Load, seconds: float, warm_up: float = 0.0) -> list[Outcome]:
        """Do both."""
        self.start(list(loads), seconds, warm_up)
        return self.finish()


def main() -> None:
    """Ask what the parent process says, until it closes the pipe."""
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(asyncio.run(_all(*request)), sys.stdout.buffer)
        sys.stdout.buffer.flush()


async def _all(loads, seconds, warm_up):
    begin = time.perf_counter() + warm_up
    runs = [_Run(load, begin, begin + seconds) for load in loads]
    await asyncio.gather(*(run.all_clients() for run in runs))
    return [run.outcome for run in runs]


class _Run:
    def __init__(self, load, begin, end):
        self._load, self._begin, self._end = load, begin, end
        pairs = zip(load.requests, load.answers, strict=True)
        self._questions = itertools.cycle(list(pairs))
        self.outcome = Outcome([], end - begin, [])

    async def all_clients(self):
        client = self._over_grpc if self._load.grpc else self._over_rest
        await asyncio.gather(*(client() for _ in range(self._load.clients)))

    async def _over_rest(self):
        loop, address = asyncio.get_running_loop(), ("127.0.0.1", self._load.port)
        while time.perf_counter() < self._end:
            try:
                _, connection = await loop.create_connection(_Connection, *address)
                with contextlib.closing(connection):
                    await self._ask_on(connection.ask)
            except (OSError, ValueError) as error:
                await self._failed(error)

    async def _over_grpc(self):
        import grpc

        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each client
        while time.perf_counter() < self._end:
            try:
                address = f"127.0.0.1:{self._load.port}"
                async with grpc.aio.insecure_channel(address, own) as channel:
                    await self._ask_on(channel.unary_unary(PREDICT))
            except (grpc.RpcError, ValueError) as error:
                await self._failed(error)

    async def _ask_on(self, ask):
        while (asked := time.perf_counter()) < self._end:
            request, expected = next(self._questions)
            answer = await ask(request)
            answered = time.perf_counter()
            if not any(one in answer for one in expected):
                raise ValueError(f"{answer[:300]!r} has none of {expected}")
            if asked >= self._begin:
                self.outcome.seconds.append(answered - asked)

    async def _failed(self, error):
        self.outcome.failures.append(f"{type(error).__name__}: {error}"[:500])
        await asyncio.sleep(_PAUSE)


class _Connection(asyncio.Protocol):
    """An HTTP connection that asks one request at a time."""

    def connection_made(self, transport):
        self._transport, self._received, self._answer = transport, b"", None

    async def ask(self, request):
        """Return the whole answer, head and body, to a whole request."""
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data):
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = int(_LENGTH.search(self._received, 0, head + 4)[1])
        if len(self._received) >= head + 4 + length and not self._answer.done():
            self._answer.set_result(self._received)

    def connection_lost(self, error):
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"ended by the server {error}"))

    def close(self):
        self._transport.close()
