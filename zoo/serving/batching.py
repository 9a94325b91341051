"""Waiting requests -> batches: one thread that runs a model for all its clients."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from zoo.serving.errors import Refused, overloaded, too_large

Arrays = dict[str, np.ndarray]

BATCHES_QUEUED = 16  # so many largest batches may wait; who comes then is refused
LEAST_QUEUED = 1024  # rows, however small these batches
MAX_ANSWER_BYTES = 64 * 2**20  # of one request


class _Request:
    """A request whose answer comes in one piece or in several."""

    def __init__(self, num_pieces: int):
        self.future: Future[Arrays] = Future()
        self.num_pieces = num_pieces
        self._answers: list[Arrays | None] = [None] * num_pieces
        self._missing = num_pieces
        self._bytes = 0

    @property
    def wanted(self) -> bool:
        """Whether its next piece is to be run: it has not failed, nor its client."""
        return not self.future.done()

    def answer(self, piece: int, outputs: Arrays) -> None:
        self._answers[piece] = outputs
        self._missing -= 1
        self._bytes += sum(map(_num_bytes, outputs.values()))
        if self._bytes > MAX_ANSWER_BYTES:
            most = f"{MAX_ANSWER_BYTES / 2**20:g} MiB"
            self.fail(too_large(f"the answer has more than {most}: send fewer rows."))
        elif not self._missing:
            self._end(self.future.set_result, _concatenated(self._answers))

    def fail(self, error: Exception) -> None:
        if isinstance(error, Refused):
            error.with_traceback(None)  # its frames hold the inputs
        self._end(self.future.set_exception, error)

    def _end(self, finish, value):
        # Until here it can be cancelled.
        if self.wanted and self.future.set_running_or_notify_cancel():
            finish(value)


def _num_bytes(array: np.ndarray) -> int:
    return sum(map(len, array.flat)) if array.dtype == object else array.nbytes


@dataclass(eq=False, slots=True)
class _Piece:
    """What is run as a whole: a request, or so much of it as one batch takes."""

    request: _Request
    index: int
    signature: str
    inputs: Arrays
    rows: int
    number: int  # they are numbered as they come


def _concatenated(parts: list[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class Batcher:
    """One thread that gathers waiting requests of a signature into batches.

    It takes what waits as soon as it is free. Only if the batch before had several
    requests, whose clients may well send their next ones now, it waits until as many
    are there again, for `wait_seconds` at most: a client alone never waits.

    A request above `max_batch_size` rows is cut; smaller ones are not. If a batch
    fails, its halves are run, and so on, so that a bad request fails alone. What is
    left of a request that was cancelled or has failed is not run.

    Args:
        run: takes a signature's name and inputs, returns outputs. If it raises
            `Refused` or another exception, so does the request's future.
        name: of the thread, and in messages.
        max_batch_size: rows in a batch, at most.
        wait_seconds: for more requests, at most.
        observe: is told the number of rows of each call.

    Reference:
        Crankshaw et al., Clipper: A Low-Latency Online Prediction Serving System,
        NSDI 2017, section 4.3.
    """

    def __init__(
        self,
        run: Callable[[str, Arrays], Arrays],
        *,
        name: str,
        max_batch_size: int,
        wait_seconds: float,
        observe: Callable[[int], None],
    ):
        self._run, self._name, self._observe = run, name, observe
        self._max_rows, self._wait = max_batch_size, wait_seconds
        self._max_queued = max(BATCHES_QUEUED * max_batch_size, LEAST_QUEUED)
        # Reentrant: a finalizer that calls `stop` may run in any thread at any time.
        self._changed = threading.Condition(threading.RLock())
        self._queues: dict[Hashable, deque[_Piece]] = {}
        self._rows = 0  # that wait
        self._count = 0  # of pieces so far
        self._awaited = 1  # requests that end the thread's wait
        self._last: tuple[Hashable, int] = (None, 0)  # queue and requests of a batch
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(
        self, signature: str, inputs: Arrays, rows: int, *, joint: bool = True
    ) -> Future[Arrays]:
        """Queue a request.

        Args:
            signature: its name, for `run`.
            inputs: arrays with the same leading dimension, in the signature's order.
            rows: how many they count as; that dimension if `joint`.
            joint: it may share a batch, or be cut; if not, it is run alone.

        Returns:
            The future of the outputs. Cancel it, and what was not run yet is not run.

        Raises:
            Refused: it is more than may ever wait, too much waits already, or `stop`
                was called.
        """
        shapes = tuple(array.shape[1:] for array in inputs.values())
        key = (signature, shapes) if joint else object()
        with self._changed:
            self._check_room(rows)
            pieces = list(self._cut(inputs, rows)) if joint else [(inputs, rows)]
            request = _Request(len(pieces))
            queue = self._queues.setdefault(key, deque())
            for index, (piece, size) in enumerate(pieces):
                self._count += 1
                queue.append(
                    _Piece(request, index, signature, piece, size, self._count)
                )
                self._rows += size
            if len(queue) >= self._awaited or self._rows >= self._max_rows:
                self._changed.notify()
        return request.future

    def stop(self) -> None:
        """Refuse what comes from now on; the thread ends when the queue is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def close(self) -> None:
        """Stop, and wait until what was queued is answered."""
        self.stop()
        self._thread.join()

    def _cut(self, inputs, rows):
        for start in range(0, rows, self._max_rows):
            stop = min(start + self._max_rows, rows)
            yield (
                {name: array[start:stop] for name, array in inputs.items()},
                (stop - start),
            )

    def _check_room(self, rows):
        most = self._max_queued
        if rows > most:
            raise too_large(
                f"a request must have at most {most} rows. Received: {rows}; send "
                "several, or start the server with a larger --max-batch-size."
            )
        if self._closed:
            raise overloaded(f"{self._name} is being unloaded: send the request again.")
        if self._rows + rows > most:
            raise overloaded(
                f"{self._name} has {self._rows} rows waiting, {most} at most: send the "
                "request again later, or start more servers."
            )

    def _work(self):
        while self._answer_next():
            pass

    def _answer_next(self) -> bool:
        batch = self._next()
        if batch:
            self._answer(batch)
        return batch is not None

    def _next(self) -> list[_Piece] | None:
        with self._changed:
            while not self._queues:
                if self._closed:
                    return None
                self._changed.wait()
            key = min(self._queues, key=lambda key: self._queues[key][0].number)
            self._wait_for_more(key)
            return self._take(key)

    def _wait_for_more(self, key):
        last, num_requests = self._last
        queue = self._queues[key]
        deadline = time.monotonic() + self._wait
        self._awaited = num_requests if key == last else 1
        while len(queue) < self._awaited and self._rows < self._max_rows:
            left = deadline - time.monotonic()
            if left <= 0 or self._closed:
                break
            self._changed.wait(left)
        self._awaited = 1

    def _take(self, key) -> list[_Piece]:
        queue, batch, rows = self._queues[key], [], 0
        # A piece that must stay whole may alone be more than a batch.
        while queue and (not batch or rows + queue[0].rows <= self._max_rows):
            piece = queue.popleft()
            self._rows -= piece.rows
            if piece.request.wanted:
                batch.append(piece)
                rows += piece.rows
        if not queue:
            del self._queues[key]
        self._last = (key, len(batch))
        return batch

    def _answer(self, batch: list[_Piece]):
        try:
            outputs = self._outputs(batch)
        except Exception as error:  # it is the request's
            if len(batch) == 1:
                batch[0].request.fail(error)
                return
            outputs = None
        if outputs is None:
            half = len(batch) // 2
            self._answer(batch[:half])
            self._answer(batch[half:])
            return
        for piece, answer in zip(batch, outputs, strict=True):
            try:
                piece.request.answer(piece.index, answer)
            except Exception as error:  # else this thread ends, and all wait for ever
                piece.request.fail(error)

    def _outputs(self, batch) -> list[Arrays]:
        rows = sum(piece.rows for piece in batch)
        inputs = _concatenated([piece.inputs for piece in batch])
        outputs = self._run(batch[0].signature, inputs)
        self._observe(rows)
        if len(batch) == batch[0].request.num_pieces == 1:
            return [outputs]  # its own, whatever they are
        for name, array in outputs.items():
            if len(array) != rows:  # never give a client another one's answer
                raise RuntimeError(f"{name} has {len(array)} rows for {rows} of inputs")
        ends = np.cumsum([piece.rows for piece in batch])
        return [
            {name: array[end - piece.rows : end] for name, array in outputs.items()}
            for piece, end in zip(batch, ends, strict=True)
        ]
