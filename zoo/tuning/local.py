"""The workers of a search on this machine: `zoo tune --workers N`."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from zoo.console import say
from zoo.errors import WorkerLost, ZooError, positive_integer
from zoo.files import writable
from zoo.training.launch import free_ports, share
from zoo.training.workers import GRACE, ends_with
from zoo.tuning import place

MOST_STARTS = 4  # of a worker, while no trial ends
BAD_INPUT = ZooError.exit_code
ALONE = 45  # seconds without any worker: more than the chief takes to miss them


@contextlib.contextmanager
def workers(number: int, command: list[str], directory: Path) -> Iterator["Group"]:
    """Start the workers of a search; this process is its chief while they run.

    Its environment, and theirs, has Keras Tuner's three variables. At the end of the
    `with` block the workers have ended: in order after the search, by SIGTERM, which
    leaves checkpoints, after an exception; by SIGKILL after 20 seconds. A chief that is
    killed takes them along on Linux; elsewhere they notice it.

    Args:
        number: how many; they share the cores of the processor.
        command: the words that start one.
        directory: of the search; what worker N prints is in its `workers/N.log`.

    Raises:
        ZooError: the three variables are set already; nothing was started.
    """
    positive_integer("workers", number)
    place.refuse_another()
    (port,) = free_ports(1)
    address = {place.HOST: "127.0.0.1", place.PORT: str(port)}
    logs = writable(directory / "workers", "--directory")
    group = Group(command, address | share(number), logs)
    os.environ.update(address | {place.ID: "chief"})
    in_order = False
    try:
        for worker in range(number):
            group.start(worker)
        yield group
        in_order = True
    finally:
        for name in (*address, place.ID):
            del os.environ[name]
        group.end(in_order)


class Group:
    """The worker processes: those that are lost are started again.

    Args:
        command: the words that start one.
        environment: what each has besides this process's own.
        logs: where what they print goes.
    """

    def __init__(self, command: list[str], environment: dict[str, str], logs: Path):
        self._command, self._environment, self._logs = command, environment, logs
        self._running: dict[int, subprocess.Popen] = {}
        self._starts: dict[int, int] = {}  # since a trial ended
        self._ended = 0
        self._last = time.monotonic()  # when there was a worker

    def start(self, worker: int) -> None:
        """Start a worker, or start it again, under the same name."""
        self._starts[worker] = self._starts.get(worker, 0) + 1
        with self._log(worker).open("ab") as log:
            self._running[worker] = subprocess.Popen(
                self._command,
                env=os.environ | self._environment | {place.ID: _name(worker)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C comes from us, once
                preexec_fn=ends_with(os.getpid(), signal.SIGTERM),
            )

    def check(self, ended: int) -> None:
        """Start those again that were lost, a few times while no further trial ends.

        Args:
            ended: how many trials have ended.

        Raises:
            ZooError: a worker cannot work, with what it says.
            WorkerLost: none is left.
        """
        if ended > self._ended:
            self._ended, self._starts = ended, dict.fromkeys(self._starts, 0)
        for worker, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[worker]
            if code:
                self._replace(worker, code)
        if self._running:
            self._last = time.monotonic()
        elif time.monotonic() > self._last + ALONE:
            raise WorkerLost(
                f"the workers ended before the search did: {self._logs} tells why."
            )

    def _replace(self, worker, code):
        if code == BAD_INPUT:
            raise ZooError(self._last_line(worker).removeprefix("error: "))
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        if self._starts[worker] < MOST_STARTS:
            say(f"Worker {_name(worker)} {how}; it is started again.")
            return self.start(worker)
        times = f"{MOST_STARTS} times in a row"
        what = f"Worker {_name(worker)} {how}, {times}: {self._log(worker)}"
        if not self._running:
            raise WorkerLost(
                f"{what} tells why. No worker is left; the same command goes on with "
                "the search."
            )
        say(f"{what} tells why. It is not started again.")

    def _log(self, worker):
        return self._logs / f"{worker}.log"

    def _last_line(self, worker):
        text = self._log(worker).read_text(encoding="utf8", errors="replace")
        return (text.strip().splitlines() or ["a worker ended without a word"])[-1]

    def end(self, in_order: bool) -> None:
        """Wait for the workers to end; have them end if they do not by themselves."""
        try:
            if not in_order or not self._wait():
                for process in self._running.values():
                    process.terminate()
                self._wait()
        finally:
            for process in self._running.values():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # and what it has started
                process.wait()

    def _wait(self) -> bool:
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            if all(process.poll() is not None for process in self._running.values()):
                return True
            time.sleep(0.05)
        return False


def _name(worker):
    return f"tuner{worker}"
