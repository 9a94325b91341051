"""All workers meet before TensorFlow starts: is everybody there, and do they agree?

TensorFlow waits without a word for a worker that does not come, and workers that run
with different options hang or train nonsense. Here each worker hands the chief a card,
over the port that TensorFlow's server takes right after; the chief compares the cards
and answers everyone. A message is one line of JSON; nothing in it is executed.
"""

import asyncio
import contextlib
import errno
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from zoo.console import say
from zoo.errors import WorkerLost, ZooError, number

if TYPE_CHECKING:
    from zoo.training.cluster import Cluster

SECONDS = 60  # to wait for everybody, unless ZOO_MEETING_SECONDS says otherwise
PATIENCE = 10  # seconds within which who connects must say who it is
LONGEST = 1 << 20  # bytes of a message
QUIET, AGAIN = 2, 15  # seconds of waiting before it is mentioned, and between mentions
LONGER = "To wait longer, set ZOO_MEETING_SECONDS."
TWICE = "another process came as worker {}: each needs an index of its own."


def meet(
    cluster: "Cluster", card: dict[str, str], seconds: float | None = None
) -> None:
    """Wait until all workers are here, and compare what they run with.

    When it returns, the ports of all workers are free for TensorFlow's servers, and
    the environment variable `no_grpc_proxy` names their hosts.

    Args:
        cluster: the workers, and which of them this process is.
        card: what must be the same on every worker, by name, e.g.
            `{"--seed": "0", "TensorFlow": "2.21.0"}`.
        seconds: how long to wait for the others; None is the environment variable
            `ZOO_MEETING_SECONDS`, or 60 where there is none.

    Raises:
        WorkerLost: on every worker that takes part: a worker is missing, or cannot have
            its port. To start all again may help.
        ZooError: on every worker: one runs with something else than the chief.
    """
    seconds = patience() if seconds is None else seconds
    card = {"workers": " ".join(cluster.workers)} | card
    hello = {"worker": cluster.index, "card": _words(card)}
    try:
        server = _listen(cluster)
    except ZooError as error:
        if not cluster.chief:  # the others need not wait for this one
            _attend(cluster, hello | {"trouble": str(error)}, seconds)
        raise
    with server:
        if cluster.chief:
            error = asyncio.run(_receive(server, cluster, hello, seconds))
        else:
            error = _attend(cluster, hello, seconds)
    if error:
        raise error
    # gRPC would ask the proxy that http_proxy names for the others, and hang.
    hosts = {host_and_port(address)[0] for address in cluster.workers}
    os.environ["no_grpc_proxy"] = ",".join(sorted(hosts))


def host_and_port(address: str) -> tuple[str, int]:
    """Split `"host:port"`; raise `ValueError` if it is something else."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(address)
    return host.removeprefix("[").removesuffix("]"), int(port)


def patience() -> float:
    """Return how many seconds to wait for others: ZOO_MEETING_SECONDS, or 60."""
    given = os.environ.get("ZOO_MEETING_SECONDS", SECONDS)
    with contextlib.suppress(ValueError):
        given = float(given)
    return number("ZOO_MEETING_SECONDS", given, above=0)


def _listen(cluster) -> socket.socket:
    """Take this worker's own port, on all interfaces as TensorFlow's server does."""
    _, port = host_and_port(cluster.workers[cluster.index])
    try:
        # Only a socket that listens keeps another process from the same port.
        return socket.create_server(("", port), backlog=len(cluster.workers) + 8)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = "is in use" if in_use else f"cannot be had ({error.strerror})"
        raise WorkerLost(
            f"port {port} {why}, where {_named(cluster, cluster.index)} should listen: "
            "end the process that has it (an earlier worker?), or give this worker "
            "another port, on all workers."
        ) from None


def _named(cluster, index: int) -> str:
    return f"worker {index}{', the chief,' * (index == 0)} at {cluster.workers[index]}"


def _some(things) -> str:
    first, *others = things
    return f"{first} and {len(others)} more" if others else first


def _words(card: dict) -> dict[str, str]:
    return {name: str(value) for name, value in dict(card).items()}


def _line(message: dict) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _attend(cluster, hello: dict, seconds: float) -> ZooError | None:
    """Hand the card to the chief; return what is wrong, None if nothing is."""
    chief = host_and_port(cluster.workers[0])
    began = time.monotonic()
    mention, why = began + QUIET, "no answer"
    while (left := began + seconds - time.monotonic()) > 0:
        try:
            with socket.create_connection(chief, min(left, PATIENCE)) as connection:
                # A free port of this machine may connect to itself.
                if connection.getsockname() != connection.getpeername():
                    connection.sendall(_line(hello))
                    connection.settimeout(left + PATIENCE)
                    with connection.makefile("rb") as answer:
                        return _error(json.loads(answer.readline(LONGEST)))
        except OSError as error:  # a name that is not known yet, too
            why = error.strerror or str(error)
        except (ValueError, LookupError, TypeError):
            why = "what answers there is not the chief, or it ended"
        if time.monotonic() > mention:
            say(f"Waiting for {_named(cluster, 0)} ({why}) ...")
            mention = time.monotonic() + AGAIN
        time.sleep(0.2)
    return WorkerLost(
        f"{_named(cluster, 0)} cannot be reached from worker {cluster.index} within "
        f"{seconds:g} s ({why}): check that it was started, what it says, and that its "
        f"host and port can be reached from here. {LONGER}"
    )


async def _receive(server, cluster, hello: dict, seconds: float) -> ZooError | None:
    """Wait for all workers and answer them; return what is wrong, None if nothing is.

    Strangers may connect; they are told nothing and keep nobody waiting.
    """
    here = {}

    async def greet(reader, writer):
        index = None
        try:
            guest = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE))
            index = guest["worker"] = int(guest["worker"])
            guest["card"] = _words(guest["card"])
            if index in here:  # it was started again, or twice
                await _answer(here[index][1], ZooError(TWICE.format(index)))
            here[index] = guest, writer
            while await reader.read(1 << 16):  # until it ends
                pass
        except (OSError, ValueError, LookupError, TypeError, asyncio.CancelledError):
            pass
        finally:
            if index in here and here[index][1] is writer:
                del here[index]
            writer.close()

    def missing():
        return [i for i in range(1, len(cluster.workers)) if i not in here]

    listening = await asyncio.start_server(greet, sock=server, limit=LONGEST)
    began = time.monotonic()
    mention = began + QUIET
    while missing() and time.monotonic() < began + seconds:
        if time.monotonic() > mention:
            say(f"Waiting for {_some(_named(cluster, i) for i in missing())} ...")
            mention = time.monotonic() + AGAIN
        await asyncio.sleep(0.05)
    listening.close()  # before the answers: TensorFlow's server takes the port now
    guests, writers = zip(*here.values(), strict=True) if here else ((), ())
    error = _trouble(guests) or _differences(hello["card"], guests)
    if not error and missing():
        error = WorkerLost(
            f"{_some(_named(cluster, i) for i in missing())} did not come within "
            f"{seconds:g} s: check that it was started, what it says, and that it can "
            f"reach {_named(cluster, 0)}. {LONGER}"
        )
    await asyncio.gather(*(_answer(writer, error) for writer in writers))
    return error


async def _answer(writer, error: ZooError | None) -> None:
    with contextlib.suppress(OSError):
        lost = isinstance(error, WorkerLost)
        writer.write(_line({"error": error and str(error), "lost": lost}))
        await asyncio.wait_for(writer.drain(), PATIENCE)
    writer.close()


def _error(answer: dict) -> ZooError | None:
    if answer["error"] is None:
        return None
    return (WorkerLost if answer["lost"] else ZooError)(answer["error"])


def _trouble(guests) -> ZooError | None:
    troubles = [guest["trouble"] for guest in guests if "trouble" in guest]
    return WorkerLost(troubles[0]) if troubles else None


def _differences(wanted: dict[str, str], guests) -> ZooError | None:
    """Return a line that says how the first worker that differs does so."""
    for guest in sorted(guests, key=lambda guest: guest["worker"]):
        card = guest["card"]
        names = [n for n in wanted | card if wanted.get(n) != card.get(n)]
        if names:
            theirs = ", ".join(_entry(card, name) for name in names[:4])
            ours = ", ".join(_entry(wanted, name) for name in names[:4])
            return ZooError(
                f"worker {guest['worker']} runs with {theirs}; the chief with {ours}: "
                "start all workers with the same options, data and versions."
            )
    return None


def _entry(card: dict[str, str], name: str) -> str:
    return f"{name} {card[name]:.80}" if name in card else f"no {name}"
