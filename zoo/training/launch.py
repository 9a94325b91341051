"""Start several workers of a recipe on this machine: the command `zoo launch`."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from dataclasses import dataclass

from zoo import recipes
from zoo.console import INTERRUPTED, say
from zoo.errors import ZooError, integer, positive_integer
from zoo.training import options
from zoo.training.cluster import num_cores
from zoo.training.workers import Group

PORTS = range(20_000, 32_000)  # below those that a system hands out by itself
HELP = {"-h", "--help"}
FINAL = (0, 2, INTERRUPTED, 128 + signal.SIGTERM)  # starting again would not help


@dataclass(frozen=True)
class Launch:
    """Start several workers of a recipe on this machine, which train together.

    After the options below come the recipe's name and its own options:
    zoo launch --workers 2 --max-restarts 3 fashion_mnist --model mlp --seed 1

    Each line that a worker prints is shown after its number; worker 0 is the chief,
    the one that writes. Ctrl-C and SIGTERM are passed on to all workers, a second one
    kills them. When a worker fails, all end, and its exit code is that of the command.
    """

    workers: int
    """How many workers; they share the cores of the processor."""
    max_restarts: int = 0
    """How often to start all again, with --resume auto, after a worker was lost."""

    def __post_init__(self):
        positive_integer("workers", self.workers)
        integer("max_restarts", self.max_restarts, least=0)


def main(argv: list[str]) -> int:
    """Run `zoo launch` with these arguments; return its exit code.

    Raises:
        ZooError: an impossible option, ours or the recipe's, or no such recipe;
            nothing was started.
    """
    ours, name, theirs = _split(argv)
    given = name and any(word.startswith("--workers") for word in ours)
    if not given and not HELP & set(ours):
        raise ZooError(
            "zoo launch needs --workers N, and then a recipe: zoo launch --workers 2 "
            "fashion_mnist. See zoo launch --help."
        )
    launch = options.parse(Launch, ours, "zoo launch")
    recipe = recipes.model(name, "launch")
    # One error, or one help, instead of one from each worker.
    options.parse_recipe(recipe.NAME, recipe.PRESETS, theirs, recipe.__doc__)
    command = [sys.executable, "-m", recipe.__name__, *theirs]
    return run(command, launch.workers, launch.max_restarts)


def _split(argv: list[str]) -> tuple[list[str], str, list[str]]:
    """Return our words, the recipe's name, and its own words."""
    at = 0
    while at < len(argv) and argv[at].startswith("-") and argv[at] != "--":
        at += 1 if "=" in argv[at] or argv[at] in HELP else 2
    rest = argv[at + 1 :] if argv[at : at + 1] == ["--"] else argv[at:]
    return argv[:at], "".join(rest[:1]), rest[1:]


def run(command: list[str], workers: int, max_restarts: int = 0) -> int:
    """Run several processes of a command as one TensorFlow cluster.

    Args:
        command: its words; each process finds its place in `TF_CONFIG`.
        workers: how many processes.
        max_restarts: how often all are started again, with `--resume auto`, after one
            was killed or ended with a code other than 0, 2, 130 and 143.

    Returns:
        0, or the exit code of the worker that failed first, 128 + n where signal n
        ended it.
    """
    for restart in range(1, max_restarts + 2):
        group = Group(command, _environments(workers))
        code = asyncio.run(group.run())
        if group.stopped or code in FINAL or restart > max_restarts:
            return code
        say(
            f"Starting all workers again, from the last checkpoint ({restart} of "
            f"{max_restarts})."
        )
        command = _resuming(command)


def _resuming(command: list[str]) -> list[str]:
    words, kept = iter(command), []
    for word in words:
        if word == "--resume":
            next(words, None)  # its value
        elif not word.startswith("--resume="):
            kept.append(word)
    return [*kept, "--resume", "auto"]


def _environments(workers: int) -> list[dict[str, str]]:
    """Return what each worker's environment has besides this process's own."""
    common = share(workers) | {options.LAUNCHED: str(workers)}
    return [common | {"TF_CONFIG": config} for config in tf_configs(workers)]


def share(processes: int) -> dict[str, str]:
    """Return the environment of each of so many processes that share the cores."""
    cores = str(max(1, num_cores() // processes))
    return {
        # For NumPy's and for TensorFlow's arithmetic, unless the user chose.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", cores),
        "TF_NUM_INTRAOP_THREADS": os.environ.get("TF_NUM_INTRAOP_THREADS", cores),
        "PYTHONUNBUFFERED": "1",  # so that output and errors come in order
        "PYTHONIOENCODING": "utf-8",
    }


def tf_configs(workers: int) -> list[str]:
    """Return a `TF_CONFIG` for each of so many workers of this machine."""
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    return [
        json.dumps(
            {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            }
        )
        for index in range(workers)
    ]


def free_ports(count: int) -> list[int]:
    """Return so many ports of this machine that nobody has now."""
    ports = []
    with contextlib.ExitStack() as taken:
        for port in random.sample(PORTS, len(PORTS)):
            if len(ports) == count:
                break
            with contextlib.suppress(OSError):
                taken.enter_context(socket.create_server(("", port)))
                ports.append(port)
    if len(ports) < count:
        raise ZooError(
            f"{count} workers need as many ports, of which {len(ports)} can be had: "
            "start fewer, or raise the limit of open files (ulimit -n)."
        )
    return ports
