"""`tf.distribute` under Keras 3: which strategy, and what trains under it."""

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

import zoo
from zoo import console, replicas
from zoo.data.pipeline import ALONE, Share
from zoo.errors import ZooError, positive_integer, unknown
from zoo.training import cluster, resuming
from zoo.training.options import RunOptions, StrategyName
from zoo.training.replicated import prepare

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["NAMES", "batches", "learning_rate", "of_recipe", "prepare", "strategy"]

NAMES = get_args(StrategyName)


def strategy(
    name: str = "auto",
    *,
    batch_size: int | None = None,
    virtual_devices: int | None = None,
    card: dict[str, str] | None = None,
) -> "tf.distribute.Strategy":
    """Return what to train under, and say in one line what it is, and why.

    Call it before TensorFlow computes anything, and on every worker alike. The same
    call returns the same strategy again.

    Args:
        name: `"multi-worker"`: all workers that TF_CONFIG or Slurm names, and all GPUs
            of each. `"mirrored"`: all GPUs of this machine. `"one-device"`: the first
            GPU, or the processor. `"auto"`: the first of them that there is more than
            one device for.
        batch_size: of the whole batch, over all replicas; to say what each gets.
        virtual_devices: split the processor into so many devices, to try what runs on
            several; the cores are shared, so it is not faster.
        card: what must be the same on every worker, by name, such as its options.

    Returns:
        A `tf.distribute.Strategy`; for one device TensorFlow's default, under which
        nothing changes.

    Raises:
        ZooError: (a `ValueError`) the name is unknown, there are no such devices, the
            batch has fewer examples than there are replicas; or, on every worker, one
            is missing, or runs with another card.

    Example:
        >>> strategy = distribute.strategy("auto", batch_size=128)  # doctest: +SKIP
        >>> with strategy.scope():  # doctest: +SKIP
        ...     model = distribute.prepare(zoo.mlp())
        ...     model.compile("adam", "sparse_categorical_crossentropy")
    """
    import tensorflow as tf

    if name not in NAMES:
        raise unknown("strategy", name, NAMES)
    workers = cluster.from_environment()
    if virtual_devices is not None:
        _split_processor(positive_integer("virtual_devices", virtual_devices))
    gpus = [] if virtual_devices else tf.config.list_physical_devices("GPU")
    devices = len(gpus) or virtual_devices or 1
    kind, why = _choice(name, workers, devices, "GPU" if gpus else "virtual device")
    if workers and kind != "multi-worker":
        raise ZooError(
            f"{kind} trains with one process, but there are {len(workers.workers)} "
            "workers: choose auto or multi-worker, or unset TF_CONFIG."
        )
    if batch_size is not None:
        of_each = 1 if kind == "one-device" else devices
        Share(of_each * (len(workers.workers) if workers else 1)).check(batch_size)
    if kind == "multi-worker":
        cluster.meet(workers, card or {})
        result = _multi_worker(workers, devices, bool(gpus))
    elif kind == "mirrored":
        result = _mirrored(devices, bool(gpus))
    else:
        result = tf.distribute.get_strategy()
    if replicas.is_chief(result):
        shares = "" if batch_size is None else f", {_shares(batch_size, result)}"
        print(f"Strategy: {kind} ({why}){shares}", flush=True)
    return result


def of_recipe(config: RunOptions) -> "tf.distribute.Strategy":
    """Return the strategy that a recipe's options ask for.

    All workers must have been given the same options; all but the chief fall silent.
    """
    import tensorflow as tf

    result = strategy(
        config.strategy,
        batch_size=config.batch_size,
        virtual_devices=config.virtual_devices,
        card={
            "zoo": zoo.__version__,
            "TensorFlow": tf.__version__,
            "--resume": str(config.resume),
        }
        | {flag: str(value) for flag, value in resuming.effective(config).items()},
    )
    if not replicas.is_chief(result):
        console.leave_it_to_the_chief()
    return result


def learning_rate(config: RunOptions) -> float:
    """Return a recipe's learning rate, under the current strategy.

    With `scale_learning_rate` it grows with the replicas, for a batch that does too.

    Reference:
        Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
        arXiv:1706.02677, section 2.1.
    """
    import tensorflow as tf

    if not config.scale_learning_rate:
        return config.learning_rate
    return config.learning_rate * tf.distribute.get_strategy().num_replicas_in_sync


def _choice(name, workers, devices, device) -> tuple[str, str]:
    """Return which strategy, and why."""
    several = {
        "multi-worker": workers is not None,
        "mirrored": devices > 1,
        "one-device": True,
    }
    reasons = {
        "multi-worker": workers and f"{len(workers.workers)} workers",
        "mirrored": f"{devices} {device}s",
        "one-device": "one process, and not two GPUs",
    }
    if name == "auto":
        name = next(kind for kind, there in several.items() if there)
        return name, reasons[name]
    if not several[name]:
        wanted = {
            "multi-worker": "workers in TF_CONFIG: zoo launch --workers 2 sets it",
            "mirrored": "two GPUs, or two virtual devices to try it: "
            "--virtual-devices 2",
        }
        raise ZooError(f"the strategy {name} needs {wanted[name]}.")
    return name, "as you chose"


def _shares(batch_size, strategy):
    number = strategy.num_replicas_in_sync
    if number == 1:
        return f"batches of {batch_size}"
    least, rest = divmod(batch_size, number)
    of_each = f"{least} or {least + 1}" if rest else f"{least}"
    return f"{number} replicas, {of_each} of each batch of {batch_size}"


def _split_processor(number):
    import tensorflow as tf

    cores = cluster.num_cores()
    if number > cores:
        raise ZooError(
            f"virtual_devices must be at most the cores of this machine, {cores}. "
            f"Received: virtual_devices={number}"
        )
    (processor,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * number
    try:
        if tf.config.get_logical_device_configuration(processor) != devices:
            tf.config.set_logical_device_configuration(processor, devices)
    except RuntimeError:
        raise ZooError(
            "virtual devices must be chosen before TensorFlow computes anything: call "
            "distribute.strategy first, in a new process."
        ) from None


# The same object again: two of the same devices would take one another's messages.
@functools.cache
def _mirrored(devices, are_gpus):
    import tensorflow as tf

    names = [f"{'GPU' if are_gpus else 'CPU'}:{i}" for i in range(devices)]
    of_one_worker = os.environ.pop("TF_CONFIG", None)  # TensorFlow would read it
    try:
        return tf.distribute.MirroredStrategy(names)
    finally:
        if of_one_worker is not None:
            os.environ["TF_CONFIG"] = of_one_worker


@functools.cache
def _multi_worker(workers, devices, are_gpus):
    import tensorflow as tf
    from tensorflow.python.distribute import (
        collective_all_reduce_strategy,
        collective_util,
    )

    class VirtualDevices(collective_all_reduce_strategy.CollectiveAllReduceExtended):
        def _initialize_local_devices(self, cluster_resolver, worker_device):
            return tuple(
                f"{worker_device}/device:CPU:{i}" for i in range(devices)
            ), "CPU"

    class OfVirtualDevices(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self, cluster_resolver):
            options = collective_util.Options()
            extended = VirtualDevices(self, cluster_resolver, options)
            tf.distribute.Strategy.__init__(self, extended)

    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(workers.workers)}),
        task_type="worker",
        task_id=workers.index,
        num_accelerators={"GPU": devices} if are_gpus else None,
        rpc_layer="grpc",
    )
    if are_gpus or devices == 1:
        kind = tf.distribute.MultiWorkerMirroredStrategy
    else:  # TensorFlow takes one processor for one device
        kind = OfVirtualDevices
    try:
        return kind(cluster_resolver=resolver)
    except (RuntimeError, tf.errors.OpError) as error:
        raise ZooError(
            f"TensorFlow cannot start worker {workers.index}: call distribute.strategy "
            "before anything else of TensorFlow, and see that the port is free "
            f"({console.one_line(error)})."
        ) from error


def batches(
    strategy: "tf.distribute.Strategy", share_of: Callable[[Share], "tf.data.Dataset"]
):
    """Return what a prepared model fits on, each worker with its own share of it.

    A `tf.data` set that is handed to `fit` as it is works as well, but every worker
    computes all of it, to use a part.

    Args:
        strategy: what the model was made under.
        share_of: gives the endless batches of a `Share`, as
            `zoo.data.pipeline.training` and `zoo.data.stream.training` do.
    """
    import tensorflow as tf

    if strategy.num_replicas_in_sync == 1:
        return share_of(ALONE)
    # Known to be endless, nobody has to ask the others at every step for more.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)

    def of_worker(context):
        worker = context.input_pipeline_id
        share = Share(
            strategy.num_replicas_in_sync, context.num_input_pipelines, worker
        )
        return share_of(share).apply(endless)

    return strategy.distribute_datasets_from_function(of_worker)
