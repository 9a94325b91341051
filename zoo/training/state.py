"""All that a training changes: read from a model and its callbacks, and put back."""

import csv
import random
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator  # has no public name

from zoo import replicas
from zoo.errors import ZooError

KEPT = "the list of callbacks that carry something on"
# Keras's own callbacks that carry something from step to step, and what.
_ATTRIBUTES = {
    keras.callbacks.History: ("history", "epoch"),
    keras.callbacks.EarlyStopping: (
        "best", "best_epoch", "best_weights", "wait", "stopped_epoch",
    ),
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        "best", "_batches_seen_since_last_saving", "_last_batch_seen",
    ),
    keras.callbacks.TensorBoard: ("_global_train_batch", "_global_test_batch"),
}  # fmt: skip
_STATELESS = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.TerminateOnNaN,
)


def build(model: keras.Model) -> None:
    """Make the optimizer's variables, as `fit` does with its first batch.

    Raises:
        ZooError: the model has no weights yet.
    """
    if not model.built:
        raise ZooError(
            "the training is complete, but the model has no weights yet: begin it with "
            "keras.Input, or call it once before fit."
        )
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def make_generator() -> None:
    """Make Keras's global seed generator, before the training rather than in it.

    That draws from Python's random numbers: a checkpoint must not be the first to ask.
    """
    global_seed_generator()


def refuse_unfit(model: keras.Model, callbacks: list) -> None:
    """Raise if a model or a callback has a state that could not be put back.

    Raises:
        ZooError: which, and what to do.
    """
    for name, optimizer in _optimizers(model).items():
        if optimizer is not model.optimizer and not optimizer.built:
            raise ZooError(
                f"the model's optimizer {name} has no variables yet to be kept: call "
                f"model.{name}.build(variables), with those that it trains, before fit."
            )
    for callback in callbacks:
        if hasattr(callback, "get_state") != hasattr(callback, "set_state"):
            raise ZooError(
                f"{type(callback).__name__} must have both get_state() and "
                "set_state(state), or neither: then it begins anew."
            )


def read(model: keras.Model, callbacks: list, metrics: bool) -> dict:
    """Return all that a training has changed so far, for `checkpoint.encode`.

    With several workers all must call it at the same step.

    Args:
        model: a compiled model that was built.
        callbacks: those that watch its training.
        metrics: whether to include the metrics.
    """
    strategy = model.distribute_strategy
    shared, own = _variables(model, metrics)
    own = [tf.stack(_copies(strategy, variable)).numpy() for variable in own]
    return {
        "metrics": metrics,
        "variables": [variable.numpy() for variable in shared],
        "of_replicas": _of_workers(strategy, own),
        "callbacks": {
            name: _state_of(callback) for name, callback in _stateful(callbacks).items()
        },
        "python": random.getstate(),
        "numpy": np.random.get_state(),
    }


def put_back(model: keras.Model, callbacks: list, state: dict) -> None:
    """Put back what `read` returned of a training that is laid out alike."""
    strategy = model.distribute_strategy
    shared, own = _variables(model, state["metrics"])
    for variable, value in zip(shared, state["variables"], strict=True):
        variable.assign(value)
    of_worker = state["of_replicas"][replicas.worker(strategy)]
    for variable, values in zip(own, of_worker, strict=True):
        for copy, value in zip(_copies(strategy, variable), values, strict=True):
            copy.assign(value)
    for name, callback in _stateful(callbacks).items():
        if name in state["callbacks"]:  # what is not there, the chief does not have
            _give(callback, state["callbacks"][name])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])


def layout(model: keras.Model, callbacks: list, metrics: bool) -> dict:
    """Return what must be alike for a state to fit: a name -> what it is there.

    Args:
        model: a compiled model that was built.
        callbacks: those that watch its training.
        metrics: whether the metrics were built, too.
    """
    strategy = model.distribute_strategy
    parts = {
        "the number of replicas": strategy.num_replicas_in_sync,
        "the number of workers": replicas.num_workers(strategy),
        "steps_per_execution": model.steps_per_execution,
        KEPT: ", ".join(_stateful(callbacks)),
    }
    for name, optimizer in _optimizers(model).items():
        parts[f"the {name}"] = type(optimizer).__name__
    for number, variable in enumerate(model.variables, start=1):
        parts[f"variable {number} of the model"] = _described(variable)
    for name, optimizer in _optimizers(model).items():
        for number, variable in enumerate(optimizer.variables, start=1):
            # Without its name, which Keras numbers from one model to the next.
            described = _described(variable, name=False)
            parts[f"variable {number} of the {name}"] = described
    for number, variable in enumerate(model.metrics_variables if metrics else (), 1):
        parts[f"variable {number} of the metrics"] = _described(variable)
    return parts


def refuse_another(now: dict, before: dict) -> None:
    """Raise if two dicts differ, naming the first difference.

    Raises:
        ZooError: what it is now, what it was, and what to do.
    """
    for name in [*now, *before]:
        if now.get(name) != before.get(name):
            is_now, was = now.get(name, "not there"), before.get(name, "not there")
            raise ZooError(
                f"{name} is {is_now}, and was {was} when the checkpoint was written: "
                "go on with what it was, or begin a new training."
            )


def forgetful(callbacks: list) -> list[str]:
    """Return the class names of callbacks whose state, if any, nobody knows."""
    known = (*_ATTRIBUTES, *_STATELESS, keras.callbacks.CSVLogger)
    return [
        type(callback).__name__
        for callback in callbacks
        if type(callback) not in known and not hasattr(callback, "get_state")
    ]


def _optimizers(model):
    """Return `model.optimizer` and those of the model's own, by their names in it."""
    kind = keras.optimizers.Optimizer
    return {name: o for name, o in vars(model).items() if isinstance(o, kind)}


def _variables(model, metrics):
    """Return the variables that all replicas share, and those that each has its own."""
    variables = [*model.variables, global_seed_generator().state]
    for optimizer in _optimizers(model).values():
        variables += optimizer.variables
    if metrics:
        variables += model.metrics_variables
    on_read = tf.VariableSynchronization.ON_READ
    shared = [v for v in variables if v.value.synchronization != on_read]
    return shared, [v for v in variables if v.value.synchronization == on_read]


def _copies(strategy, variable):
    return strategy.experimental_local_results(variable.value)


def _of_workers(strategy, arrays):
    """Return a list like this one for each worker, in one exchange for them all."""
    content = b"".join(array.tobytes() for array in arrays)
    packed = np.frombuffer(content, np.uint8).astype(np.int32)  # what gRPC can gather
    lists = []
    for row in replicas.gather(strategy, packed):
        content, offset, of_worker = row.astype(np.uint8).tobytes(), 0, []
        for array in arrays:
            flat = np.frombuffer(content, array.dtype, array.size, offset)
            of_worker.append(flat.reshape(array.shape))
            offset += array.nbytes
        lists.append(of_worker)
    return lists


def _stateful(callbacks):
    """Return the callbacks that carry something on, by the name of their class."""
    named = {}
    for callback in callbacks:
        kept = (*_ATTRIBUTES, keras.callbacks.CSVLogger)
        if hasattr(callback, "get_state") or isinstance(callback, kept):
            name = type(callback).__name__
            number = 1 + sum(key.split()[0] == name for key in named)
            named[name if number == 1 else f"{name} {number}"] = callback
    return named


def _state_of(callback):
    if hasattr(callback, "get_state"):
        return callback.get_state()
    if isinstance(callback, keras.callbacks.CSVLogger):
        path = Path(callback.filename)
        return {"text": path.read_bytes().decode(), "keys": callback.keys}
    return {name: getattr(callback, name) for name in _attributes(callback)}


def _give(callback, state):
    if hasattr(callback, "get_state"):
        callback.set_state(state)
    elif isinstance(callback, keras.callbacks.CSVLogger):
        _rewrite(callback, **state)
    else:
        for name in _attributes(callback):
            setattr(callback, name, state[name])


def _attributes(callback):
    (names,) = (n for kind, n in _ATTRIBUTES.items() if isinstance(callback, kind))
    return [name for name in names if hasattr(callback, name)]


def _rewrite(logger, text, keys):
    # Rows of epochs that were trained after the checkpoint will come once more.
    ended = logger.csv_file.closed
    logger.csv_file.close()
    Path(logger.filename).write_bytes(text.encode())
    if ended:
        return
    logger.csv_file, logger.keys = open(logger.filename, "a"), keys
    if keys is not None:
        names = ["epoch", *keys]
        logger.writer = csv.DictWriter(logger.csv_file, names, delimiter=logger.sep)


def _described(variable, name=True):
    shape = tuple(variable.shape)
    return f"{variable.name if name else ''} {shape} {variable.dtype}".strip()
