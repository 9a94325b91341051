"""The processes of one start of `zoo launch`: they live and end together."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys

from zoo.console import say

GRACE = 20  # seconds for a worker to end when another has ended, before it is killed
SETTLE = 2  # seconds for the others to say why they end too, before they are told to
LOST = os.EX_TEMPFAIL  # the exit code of a worker that lost another one
LONGEST = 1 << 16  # bytes of a line


class Group:
    """Processes of one command that end when one of them fails.

    What they print appears on this process's standard output, each line after the
    number of its process; standard error too, so that the order is kept.

    Args:
        command: the words of the command.
        environments: for each process, what its environment has besides this one's.

    Attributes:
        stopped: whether SIGINT or SIGTERM came, which is passed on to all processes
            once; at the second they are killed.
    """

    def __init__(self, command: list[str], environments: list[dict[str, str]]):
        self.stopped: signal.Signals | None = None
        self._command, self._environments = command, environments
        self._processes: list[asyncio.subprocess.Process] = []
        self._failures: list[tuple[int, int]] = []  # worker, exit code; first to last

    async def run(self) -> int:
        """Start them, wait for them, return the exit code of the first that failed."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, number)
        try:
            tasks = set()
            for number, environment in enumerate(self._environments):
                output = await self._start(environment)
                tasks.add(asyncio.create_task(self._follow(number, output)))
            if self.stopped:
                self._send(self.stopped)
            return await self._end(tasks)
        finally:
            self._kill()

    async def _start(self, environment: dict[str, str]) -> int:
        """Start a process; return the end of the pipe to read its output from."""
        output, its_end = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=os.environ | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=its_end,  # asyncio's own would wait for what it has started, too
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C comes from us, once
            preexec_fn=ends_with(os.getpid(), signal.SIGKILL),
        )
        os.close(its_end)
        self._processes.append(process)
        return output

    async def _follow(self, number: int, output: int) -> None:
        """Show what a process prints until it ends; note how it did."""
        reader = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb", 0)
        )
        showing = asyncio.create_task(self._show(number, reader))
        code = await self._processes[number].wait()
        await asyncio.wait([showing], timeout=SETTLE)  # then others may still have it
        showing.cancel()
        pipe.close()
        if code:
            self._failures.append((number, code))

    async def _end(self, running: set[asyncio.Task]) -> int:
        while running and not self._failures:
            done, running = await asyncio.wait(
                running, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        if not self._failures:
            return 0
        asyncio.get_running_loop().call_later(GRACE, self._kill)
        if running:
            await asyncio.wait(running, timeout=SETTLE)
        if self.stopped:
            code = -self.stopped
        else:
            code = self._tell_the_cause()
            self._send(signal.SIGTERM)
        if running:
            await asyncio.wait(running)
        return 128 - code if code < 0 else code

    def _tell_the_cause(self) -> int:
        # A worker that lost another one may end before that one has.
        causes = [failure for failure in self._failures if failure[1] != LOST]
        number, code = (causes or self._failures)[0]
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        others = len(self._environments) > 1
        say(f"Worker {number} {how}{'; all workers end' if others else ''}.")
        return code

    def _stop(self, number: signal.Signals) -> None:
        if self.stopped:
            say("Killing the workers.")
            self._kill()
            return
        self.stopped = number
        if len(self._processes) == len(self._environments):  # else when all are there
            self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def _kill(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started

    async def _show(self, number: int, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(LONGEST):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST:
                rest = _as_on_a_terminal(rest)
            if len(rest) > LONGEST:
                lines, rest = [*lines, rest], b""
            self._print(number, lines)
        if rest:
            self._print(number, [rest])

    def _print(self, number: int, lines: list[bytes]) -> None:
        text = b"".join(b"[%d] %b\n" % (number, _as_on_a_terminal(x)) for x in lines)
        try:
            sys.stdout.buffer.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads any more, as in `zoo launch ... | head`
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            if not self.stopped:
                self._stop(signal.SIGTERM)


def _as_on_a_terminal(line: bytes) -> bytes:
    """Return what is left to see of a line, e.g. of the states of a progress bar."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def ends_with(parent: int, number: signal.Signals):
    """Return what has a process get a signal when its parent ends, however it does.

    Args:
        parent: the process whose main thread starts it.
        number: the signal.

    Returns:
        The `preexec_fn` of `subprocess.Popen`; `None` where there is no Linux.
    """
    if sys.platform != "linux":
        return None
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1

    def before_the_command():
        prctl(set_parent_death_signal, number)
        if os.getppid() != parent:  # it ended before that
            os.kill(os.getpid(), number)

    return before_the_command
