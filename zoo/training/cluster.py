"""Who the workers of a training are: from TF_CONFIG, or from Slurm."""

import json
import operator
import os
from dataclasses import dataclass

from zoo import console
from zoo.errors import ZooError
from zoo.training.meeting import host_and_port, meet

__all__ = ["Cluster", "from_environment", "meet"]

EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
JOBS = ("chief", "master", "worker")  # in TensorFlow's order; master is its old name
SEARCH = "KERASTUNER_TUNER_ID"  # of a process that searches: it trains by itself
FIRST_PORT, SLOTS, TASKS = 10000, 340, 64  # below the ports that systems hand out


@dataclass(frozen=True)
class Cluster:
    """The workers of a training, and which of them this process is."""

    workers: tuple[str, ...]
    """The address of each, `"host:port"`, the chief's first."""
    index: int
    """The number of this process among them."""

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0


def num_cores() -> int:
    """Return how many of this machine's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def from_environment() -> Cluster | None:
    """Return the cluster that this process belongs to, None if it works alone.

    It is taken from the environment variable `TF_CONFIG`, as Kubeflow, Vertex AI, Ray
    and `zoo launch` set it, else from a step of several tasks that Slurm's `srun`
    started. A batch script that calls no `srun` is one process, and so is each of the
    processes of a search, which have Keras Tuner's `KERASTUNER_TUNER_ID`.

    Raises:
        ZooError: `TF_CONFIG` or Slurm's variables are not as they should be.
    """
    given = os.environ.get("TF_CONFIG", "").strip()
    if given and given != "{}":
        return _from_tf_config(given)
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    if tasks.isdigit() and int(tasks) > 1 and SEARCH not in os.environ:
        return _from_slurm()
    return None


def _from_tf_config(given: str) -> Cluster | None:
    try:
        config = json.loads(given)
        jobs = {job: list(of) for job, of in config["cluster"].items() if of}
        task, index = str(config["task"]["type"]), config["task"]["index"]
        index = int(index) if isinstance(index, str) else operator.index(index)
    except KeyError as error:
        raise _malformed(f"it has no {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise _malformed(f"it cannot be read ({error})") from None
    if unknown := [job for job in jobs if job not in JOBS]:
        raise _malformed(
            f"it has the job {unknown[0]!r}, but only a chief (or master) and workers "
            "train here"
        )
    if sum(len(jobs.get(job, ())) for job in JOBS[:2]) > 1:
        raise _malformed("it has more than one chief")
    if task not in jobs or not 0 <= index < len(jobs[task]):
        raise _malformed(f"its task, {task} {index}, is not in its cluster")
    workers = tuple(address for job in JOBS for address in jobs.get(job, ()))
    for address in workers:
        try:
            host_and_port(address)
        except (ValueError, AttributeError):
            raise _malformed(f"{address!r} is not HOST:PORT") from None
    if len(set(workers)) < len(workers):
        twice = next(address for address in workers if workers.count(address) > 1)
        raise _malformed(f"it has {twice} twice")
    if len(workers) == 1:
        return None
    return Cluster(workers, workers.index(jobs[task][index]))


def _malformed(what: str) -> ZooError:
    return ZooError(
        f"TF_CONFIG is not as it should be: {what}. It looks like {EXAMPLE}; unset it "
        "to train with one process."
    )


def _from_slurm() -> Cluster:
    console.import_keras()  # first: it silences TensorFlow's start
    import tensorflow as tf

    try:
        port = _slurm_port()
        # On nodes without GPUs the resolver divides by zero, so it is told of one a
        # task; Slurm itself assigns them (--gpus-per-task).
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=TASKS, gpus_per_task=1, auto_set_gpu=False
        )
        workers = tuple(resolver.cluster_spec().as_dict()["worker"])
        # Its order is not that of Slurm's ranks where names sort otherwise (n9, n10).
        node, local = os.environ["SLURMD_NODENAME"], int(os.environ["SLURM_LOCALID"])
        return Cluster(workers, workers.index(f"{node}:{port + local}"))
    except (RuntimeError, ValueError, LookupError) as error:
        raise ZooError(
            f"Slurm's variables name no cluster ({error}): start the workers with "
            f"srun, at most {TASKS} on a node, or set TF_CONFIG."
        ) from None


def _slurm_port() -> int:
    """Return the first port for this step; neighbouring jobs get others."""
    step = 31 * int(os.environ["SLURM_JOB_ID"]) + int(os.environ["SLURM_STEP_ID"])
    return FIRST_PORT + step % SLOTS * TASKS
