"""What a training needs of memory, and what there is of it."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import keras
import psutil
import tensorflow as tf
from keras.src.backend.common import global_state  # has no public name

_CGROUPS = Path("/sys/fs/cgroup")
_Built = TypeVar("_Built")
_WAITING = "uninitialized_variables"  # Keras's list of those to initialize later


@contextlib.contextmanager
def shapes_alone() -> Iterator[None]:
    """Have layers add weights that have a shape and no value: none is allocated.

    A model built in it can be counted, and not used.
    """
    add_weight = keras.layers.Layer.add_weight

    def add_shape(*args, **kwargs):
        waiting = list(global_state.get_global_attribute(_WAITING, []))
        try:
            with keras.StatelessScope(initialize_variables=False):
                return add_weight(*args, **kwargs)
        finally:  # else Keras would allocate it at the end of the next such scope
            global_state.set_global_attribute(_WAITING, waiting)

    keras.layers.Layer.add_weight = add_shape
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight


def sparing(build: Callable[[], _Built]) -> _Built:
    """Return what `build()` returns, with `shapes_alone` if it leaves the weights be.

    Args:
        build: it is called again, with values, if it fails without: because it looks at
            the weights (`set_weights`, `Normalization.adapt`), or because it is wrong.
    """
    with contextlib.suppress(Exception), shapes_alone():
        return build()
    return build()


def needed(model: keras.Model, batch_size: int) -> int:
    """Return how many bytes a step of training takes, about, and at least.

    The weights, a gradient and the optimizer's slots for each that is trained, and
    for every example of the batch what each layer puts out, forward and backward.
    What a layer keeps inside is not counted, nor what a model puts out that is no
    graph of layers.

    Args:
        model: compiled; its weights need no values.
        batch_size: the examples of a step.
    """
    trained = _bytes(model.trainable_variables)
    per_weight = 1 + (_slots(model.optimizer) if model.optimizer else 0)
    outputs = 2 * sum(map(_output_bytes, _layers(model)))
    return _bytes(model.variables) + per_weight * trained + batch_size * outputs


def available() -> int | None:
    """Return the bytes that can be had, or `None` where models live on a GPU.

    There TensorFlow reports in the first step what does not fit.
    """
    if tf.config.list_physical_devices("GPU"):
        return None
    return min([psutil.virtual_memory().available, *_left_in_cgroups()])


def _left_in_cgroups(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")):
    """Yield what the process's control group (v2) and each above it leaves."""
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            if line.startswith("0::/"):
                group = root / line.removeprefix("0::/")
                for folder in (group, *group.parents):
                    with contextlib.suppress(OSError, ValueError):
                        limit = int((folder / "memory.max").read_text())
                        yield max(0, limit - _used(folder))


def _used(folder):
    used = int((folder / "memory.current").read_text())
    for line in (folder / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):  # the kernel gives it back when asked
            used -= int(line.split()[1])
    return used


def _bytes(variables):
    return sum(math.prod(v.shape) * _size(v.dtype) for v in variables)


def _size(dtype):
    return tf.dtypes.as_dtype(dtype).size


def _slots(optimizer):
    """Return how many values it keeps for a weight, from a small one."""
    weight = keras.Variable(initializer="zeros", shape=(16, 16))
    try:
        copy = type(optimizer).from_config(optimizer.get_config())
        before = _bytes(copy.variables)
        copy.build([weight])
    except Exception:  # it is not one that can be copied: none is counted
        return 0
    return int((_bytes(copy.variables) - before) / _bytes([weight]))


def _layers(layer):
    """Yield the layers of a model, and those of the models in it."""
    for inner in getattr(layer, "layers", []):
        yield inner
        yield from _layers(inner)


def _output_bytes(layer):
    """Return the size of what a layer puts out for one example."""
    try:
        return sum(
            math.prod(size or 1 for size in output.shape[1:]) * _size(output.dtype)
            for output in tf.nest.flatten(layer.output)
        )
    except (AttributeError, ValueError):  # it is in no graph
        return 0
