"""What the workers and replicas of a `tf.distribute` strategy tell one another.

A worker is a process; a replica is a device of it that computes with a copy of the
model. Every function here that communicates must be called by all workers alike.
"""

import contextlib
import functools
import hashlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import WorkerLost, ZooError

if TYPE_CHECKING:
    import tensorflow as tf

_summed = threading.Event()  # set while prepared steps hand summed gradients on


def num_workers(strategy: "tf.distribute.Strategy") -> int:
    """Return how many processes train together; 1 without a multi-worker strategy."""
    return max(1, getattr(strategy.extended, "_num_workers", 1))


def is_chief(strategy: "tf.distribute.Strategy") -> bool:
    """Return whether this process writes for all of them."""
    return worker(strategy) == 0


def worker(strategy: "tf.distribute.Strategy") -> int:
    """Return this process's number, from 0, the chief."""
    if num_workers(strategy) == 1:
        return 0
    return strategy.cluster_resolver.task_id


def gather(strategy: "tf.distribute.Strategy", array) -> list[np.ndarray]:
    """Return what each worker passed: arrays of one shape and type."""
    array = np.asarray(array)
    if num_workers(strategy) == 1:
        return [array]
    rows = np.zeros((num_workers(strategy), *array.shape), array.dtype)
    rows[worker(strategy)] = array
    return list(_sum(strategy, rows))


def any_worker(strategy: "tf.distribute.Strategy", flag: bool) -> bool:
    """Return whether any worker passed a true flag."""
    return any(gather(strategy, np.int32(flag)))


def from_chief(strategy: "tf.distribute.Strategy", content: bytes) -> bytes:
    """Return the bytes that the chief passed; what others pass does not count."""
    if num_workers(strategy) == 1:
        return content
    content = content if is_chief(strategy) else b""
    length = max(gather(strategy, len(content)))
    padded = np.zeros(length, np.int32)  # gRPC adds no bytes
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return _sum(strategy, padded).astype(np.uint8).tobytes()


def wait_for_all(strategy: "tf.distribute.Strategy") -> None:
    """Return when all workers have called this, or one is gone: the work is done."""
    with contextlib.suppress(WorkerLost):
        any_worker(strategy, False)


def check_same(strategy: "tf.distribute.Strategy", what: str, text: str) -> None:
    """Raise on every worker if one of them passed another text.

    Args:
        strategy: of all of them.
        what: stands for, e.g. `"the digest of the data"`.
        text: what must be the same.

    Raises:
        ZooError: one that differs from the chief's.
    """
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    chief, *others = gather(strategy, digest.astype(np.int32))
    for number, other in enumerate(others, start=1):
        if (other != chief).any():
            raise ZooError(
                f"{what} of worker {number} is not the chief's, worker 0's: give all "
                "workers the same."
            )


@contextlib.contextmanager
def losing_no_worker(strategy: "tf.distribute.Strategy") -> Iterator[None]:
    """Turn what TensorFlow says when another worker is gone into one line.

    Raises:
        WorkerLost: another worker ended, or cannot be reached.
    """
    import tensorflow as tf

    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    try:
        yield
    except gone as error:
        if num_workers(strategy) == 1:
            raise
        raise WorkerLost(
            "another worker ended or cannot be reached: see what it says, then start "
            "all of them again with --resume auto."
        ) from error


@contextlib.contextmanager
def gradients_are_summed():
    """While in it, an optimizer is handed gradients that are summed over replicas."""
    _summed.set()
    try:
        yield
    finally:
        _summed.clear()


def are_gradients_summed() -> bool:
    """Return whether the gradients handed to the optimizer are summed already."""
    return _summed.is_set()


def _sum(strategy, array):
    if not array.size:  # TensorFlow 2.21 crashes in an exchange of nothing
        return array
    with losing_no_worker(strategy):
        total = _adder(strategy, array.dtype)(array.ravel())
        return total.numpy().reshape(array.shape)


@functools.cache
def _adder(strategy, dtype):
    import tensorflow as tf

    local = strategy.num_replicas_in_sync // num_workers(strategy)

    @tf.function(input_signature=[tf.TensorSpec([None], dtype)])
    def added(value):
        def in_replica():
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % local == 0
            mine = tf.where(first, value, tf.zeros_like(value))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return strategy.experimental_local_results(strategy.run(in_replica))[0]

    return added
