"""A Keras model whose steps work on several replicas, where Keras's own do not."""

import contextlib
import functools
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zoo import replicas
from zoo.data.pipeline import Piece
from zoo.errors import ZooError

if TYPE_CHECKING:
    import keras

_replica = threading.local()  # each replica's step is traced in a thread of its own


def prepare(model: "keras.Model") -> "keras.Model":
    """Make `fit`, `evaluate` and `predict` of a model work under the current strategy.

    Call it in the strategy's scope, before `compile`. It changes how this one object
    runs its steps, not what it is: what is saved is the plain model.

    - Keras's losses are means over the global batch, however unevenly the replicas
      share it. Those that do not divide by the number of examples, as with masks or
      `mean_with_sample_weight`, are means of the shares, weighted by their sizes.
    - Gradients are summed over the replicas in one all-reduce, before the model's
      optimizer clips or checks them. Its `gradient_accumulation_steps` and
      `ema_overwrite_frequency` are refused: Keras's ways of them need one replica.
    - `BatchNormalization` uses the mean and the variance of the global batch.
    - Metrics count every example once; they are summed once an execution, not once a
      step.

    With one replica there is nothing to mend, and nothing is changed. Layers that keep
    numbers of what they saw, other than `BatchNormalization`, keep those of the share
    that each replica sees; dropout and random image layers draw other numbers than on
    one device. In a `train_step` of your own take the loss from `compute_loss` or a
    `keras.losses.Loss`: a mean of your own is R times too large on R replicas.

    Args:
        model: any `keras.Model`, made in the scope.

    Returns:
        The same model.

    Raises:
        ZooError: it was made outside of the strategy's scope.
    """
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1 or "make_train_function" in vars(model):
        return model
    if model._distribute_strategy is not strategy:
        raise ZooError(
            "the model was not made in the scope of this strategy: make it, prepare "
            "it and compile it in one `with strategy.scope():`."
        )
    model._maybe_symbolic_build = functools.partial(_build, model)
    model.make_train_function = functools.partial(_make_train_function, model)
    model.make_test_function = functools.partial(_make_test_function, model)
    model.predict_step = functools.partial(_predict_step, model.predict_step)
    model.predict_on_batch = functools.partial(_predict_on_batch, model)
    return model


def _make_train_function(model, force=False):
    if model.train_function is None or force:
        _refuse_conditions(model.optimizer)
        model.train_function = _executions(model, _training_step)


def _make_test_function(model, force=False):
    if model.test_function is None or force:
        model.test_function = _executions(model, _test_step)


def _refuse_conditions(optimizer):
    # Keras puts a condition around what merges the replicas, which cannot be.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of loss scaling
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        if getattr(optimizer, name, None):
            raise ZooError(
                f"the optimizer's {name} works with one replica only: leave it out, or "
                "train with the strategy one-device."
            )


def _build(model, iterator=None, data_batch=None):
    """Build what only a batch can build, in the scope, from one replica's share.

    Keras averages the shares instead, which fails for labels and across workers.
    """
    import keras

    if iterator is not None:
        specs = iterator._distributed_dataset.element_spec
        data_batch = keras.tree.map_structure(_symbol, _unshared(specs)[0])
    # Compiled before, the metrics' function would be that of the metrics before.
    own = {"get_metrics_result": functools.partial(_metrics_of_replica, model)}
    with model.distribute_strategy.scope(), _replaced(model, own):
        model._symbolic_build(data_batch=data_batch)


def _symbol(spec):
    import keras

    (spec, *_) = getattr(spec, "_value_specs", [spec])  # of several local replicas
    if spec.shape.rank is None:
        raise ZooError(
            "the data set does not tell the shapes of its elements: use "
            "from_generator(..., output_signature=...), or tf.ensure_shape."
        )
    return keras.KerasTensor((None, *spec.shape[1:]), spec.dtype.name)


def _executions(model, step):
    """Return what Keras calls `train_function`: the steps of an execution at a time.

    Keras's own keeps an optional result in its loop, which no strategy can place, and
    averages the replicas' metrics at every step.
    """
    import tensorflow as tf

    strategy = model.distribute_strategy
    metrics = set()

    def in_replica(data):
        outputs = step(model, data)
        metrics.update(set(outputs) & set(model.get_metrics_result()))
        return {name: outputs[name] for name in outputs if name not in metrics}

    def run(data):
        with _mended(model):
            outputs = strategy.run(in_replica, args=(data,))
        return {name: _local_mean(strategy, outputs[name]) for name in outputs}

    @tf.autograph.experimental.do_not_convert
    def execute(iterator):
        def next_step(number, data_left, outputs):
            data = iterator.get_next_as_optional()
            data_left = data.has_value()
            outputs = tf.cond(data_left, lambda: run(data.get_value()), lambda: outputs)
            return number + 1, data_left, outputs

        def unfinished(number, data_left, outputs):
            return data_left & (number < model.steps_per_execution)

        outputs = run(iterator.get_next())
        if model.steps_per_execution > 1:
            state = (tf.constant(1), tf.constant(True), outputs)
            _, _, outputs = tf.while_loop(unfinished, next_step, state)
        results = _results(model, outputs)
        wanted = metrics | set(outputs)
        return {name: results[name] for name in results if name in wanted}

    # Read eagerly, each variable would be summed by itself.
    of_all = tf.function(functools.partial(_results, model, {}), autograph=False)
    model.get_metrics_result = functools.partial(_metrics_result, model, of_all)
    if not model.run_eagerly:
        execute = tf.function(execute, reduce_retracing=True)

    def function(iterator):
        if not isinstance(iterator, tf.distribute.DistributedIterator):
            iterator = _shared(strategy, next(iterator))
        try:
            return execute(iterator)
        except tf.errors.OutOfRangeError:
            raise StopIteration from None

    return function


def _shared(strategy, batch):
    """Return the iterator over one batch, of `train_on_batch` or `test_on_batch`."""
    import tensorflow as tf

    batch = tuple(part for part in batch if part is not None)
    dataset = tf.data.Dataset.from_tensors(batch)
    return iter(strategy.experimental_distribute_dataset(dataset))


def _metrics_result(model, of_all):
    """Return the metrics over all replicas; in a replica, its own."""
    import tensorflow as tf

    if tf.distribute.in_cross_replica_context():
        return of_all()
    return _metrics_of_replica(model)


def _metrics_of_replica(model):
    return type(model).get_metrics_result(model)


def _results(model, outputs):
    """Return the metrics over all replicas, and the mean of the other outputs.

    Args:
        model: what was trained or evaluated.
        outputs: name -> mean over the replicas of this worker.
    """
    import keras
    import tensorflow as tf

    strategy, variables = model.distribute_strategy, model.metrics_variables

    def in_replica():
        context = tf.distribute.get_replica_context()
        values = [tf.convert_to_tensor(variable.value) for variable in variables]
        summed = _all_reduce_by_dtype(context, [*values, *outputs.values()])
        return values, summed

    values, summed = strategy.run(in_replica)
    first = [strategy.experimental_local_results(value)[0] for value in summed]
    mapping = []
    for variable, own, total in zip(variables, values, first, strict=False):
        if variable.aggregation == "mean":
            total /= strategy.num_replicas_in_sync
        elif variable.aggregation != "sum":
            total = strategy.experimental_local_results(own)[0]
        mapping.append((variable, total))
    with keras.StatelessScope(state_mapping=mapping):
        results = _metrics_of_replica(model)
    others = first[len(variables) :]
    return results | {
        name: total / strategy.num_replicas_in_sync
        for name, total in zip(outputs, others, strict=True)
    }


def _all_reduce_by_dtype(context, tensors):
    """Sum each tensor over all replicas; one collective for each type of number."""
    import tensorflow as tf

    result = list(tensors)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        places = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        parts = [tf.reshape(tensors[i], [-1]) for i in places]
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.concat(parts, 0))
        parts = tf.split(total, [tf.size(part) for part in parts], num=len(parts))
        for i, part in zip(places, parts, strict=True):
            result[i] = tf.reshape(part, tf.shape(tensors[i]))
    return result


def _local_mean(strategy, value):
    import tensorflow as tf

    return tf.reduce_mean(strategy.experimental_local_results(value), axis=0)


def _training_step(model, data):
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    data, global_size = _unshared(data)
    _replica.size = _num_examples(data)
    whole = global_size is not None  # a `Piece`, which has an example at least
    if not whole:
        global_size = context.all_reduce(tf.distribute.ReduceOp.SUM, _replica.size)
    _replica.share = _replica.size / tf.cast(global_size, _replica.size.dtype)
    _replica.shared = False
    step = model.train_step
    outputs = step(data) if whole else _counted(model, step, data)
    own_step = not type(model).train_step.__module__.startswith("keras.")
    if own_step and not _replica.shared:
        warnings.warn(
            f"train_step of {type(model).__name__} uses none of Keras's losses: if its "
            "loss is a mean, the step is too large by the number of replicas.",
            stacklevel=2,
        )
    return outputs


def _test_step(model, data):
    import tensorflow as tf

    data, _ = _unshared(data)
    _replica.size, _replica.share = _num_examples(data), tf.constant(1.0)
    if _losses_of_outputs(model):  # Keras gives each batch the same weight
        context = tf.distribute.get_replica_context()
        global_size = context.all_reduce(tf.distribute.ReduceOp.SUM, _replica.size)
        _replica.share = _replica.size / global_size
    return _counted(model, model.test_step, data)


def _predict_step(predict_step, data):
    import keras

    size = _num_examples(data)
    outputs = predict_step(_filled(data, size))
    return keras.tree.map_structure(lambda output: output[:size], outputs)


def _predict_on_batch(model, x):
    # Keras hands the whole batch to every replica, and joins the answers.
    return model.predict(x, batch_size=int(_num_examples(x)), verbose=0)


def _counted(model, step, data):
    """Run a step; a share without examples leaves the metrics as they were."""
    import tensorflow as tf

    variables = model.metrics_variables
    before = [tf.identity(tf.convert_to_tensor(v.value)) for v in variables]
    outputs = step(_filled(data, _replica.size))

    def forget():
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    tf.cond(tf.equal(_replica.size, 0), forget, lambda: None)
    return outputs


def _filled(data, size):
    """Return the share itself, or one example of zeros if it has none.

    A last batch smaller than the others may leave a replica without examples, and
    TensorFlow's convolutions fail for a batch of none.
    """
    import keras
    import tensorflow as tf

    def one_of_zeros():
        return keras.tree.map_structure(
            lambda value: tf.zeros(
                tf.concat([[1], tf.shape(value)[1:]], 0), value.dtype
            ),
            data,
        )

    filled = tf.cond(tf.equal(size, 0), one_of_zeros, lambda: data)
    for value, before in zip(*map(keras.tree.flatten, (filled, data)), strict=True):
        value.set_shape([None, *before.shape[1:]])  # which the condition forgets
    return filled


def _unshared(data):
    """Return the examples, and the size of the whole batch where it is known."""
    return data if isinstance(data, Piece) else (data, None)


def _num_examples(data):
    import keras
    import tensorflow as tf

    return tf.shape(next(t for t in keras.tree.flatten(data) if t is not None))[0]


@contextlib.contextmanager
def _mended(model) -> Iterator[None]:
    """Replace, while a step is traced, what is wrong with several replicas."""
    import keras
    from keras.src.losses import loss  # where replicas come in; it has no public name

    optimizer = model.optimizer
    scaling = {
        "scale_loss_for_distribution": _shared_loss,
        "unscale_loss_for_distribution": _unshared_loss,
    }
    mends = [(loss, scaling)]
    mends += [
        (metric, {"update_state": functools.partial(_update, metric.update_state)})
        for metric in _losses_of_outputs(model)
    ]
    mends += [
        (layer, {"_moments": functools.partial(_moments, layer)})
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if optimizer is not None:
        mends.append((optimizer, _summing(optimizer)))
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        mends.append((inner, {"_all_reduce_sum_gradients": lambda pairs: pairs}))
    with contextlib.ExitStack() as stack:
        for owner, replacements in mends:
            stack.enter_context(_replaced(owner, replacements))
        stack.enter_context(replicas.gradients_are_summed())
        yield


@contextlib.contextmanager
def _replaced(owner, replacements):
    before = {name: vars(owner)[name] for name in replacements if name in vars(owner)}
    vars(owner).update(replacements)
    try:
        yield
    finally:
        for name in replacements:
            del vars(owner)[name]
        vars(owner).update(before)


def _shared_loss(value):
    """Return this replica's part of the mean over the global batch.

    Keras divides by the number of replicas, as if their shares were equal.
    """
    import tensorflow as tf

    _replica.shared = True
    return value * tf.cast(_replica.share, value.dtype)


def _unshared_loss(value):
    import tensorflow as tf

    return value / tf.cast(_replica.share, value.dtype)


def _losses_of_outputs(model):
    """Return the metrics of the losses of single outputs; none if there is one."""
    if model._compile_loss is None:
        return []
    return [metric for metric in model._compile_loss.metrics if metric is not None]


def _update(update_state, value, sample_weight=None):
    return update_state(
        value, _replica.share if sample_weight is None else sample_weight
    )


def _summing(optimizer):
    import tensorflow as tf

    apply = optimizer.apply

    def of_examples(grad):
        # Of an example of zeros, the gradient may be NaN.
        if isinstance(grad, tf.IndexedSlices):
            values = of_examples(grad.values)
            return tf.IndexedSlices(values, grad.indices, grad.dense_shape)
        return tf.where(_replica.size > 0, grad, tf.zeros_like(grad))

    def summing(grads, trainable_variables=None):
        grads = list(grads)
        context = tf.distribute.get_replica_context()
        there = [i for i, grad in enumerate(grads) if grad is not None]
        summed = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [of_examples(grads[i]) for i in there]
        )
        for i, total in zip(there, summed, strict=True):
            grads[i] = total
        apply(grads, trainable_variables)

    return {"apply": summing}


def _moments(layer, inputs, mask=None):
    """Return mean and variance over the batches of all replicas, in one all-reduce.

    Reference:
        Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
        Computing Sample Variances", 1979: a difference of sums of squares loses digits.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    axes, shape = layer._reduction_axes, [1] * inputs.shape.rank
    shape[layer.axis] = channels = inputs.shape[layer.axis]
    if mask is None:
        count = tf.size(inputs) // channels
        mean = tf.reduce_mean(inputs, axes)
        centred = inputs - tf.reshape(mean, shape)
    else:  # Keras has masks for the last axis alone
        mask = tf.cast(mask, tf.bool)[..., None]
        count = tf.math.count_nonzero(mask, dtype=tf.int32)
        total = tf.reduce_sum(tf.where(mask, inputs, 0.0), axes)
        mean = tf.math.divide_no_nan(total, tf.cast(count, inputs.dtype))
        centred = tf.where(mask, inputs - tf.reshape(mean, shape), 0.0)
    counts = tf.fill([channels], tf.cast(count, inputs.dtype))
    own = tf.stack([counts, mean, tf.reduce_sum(tf.square(centred), axes)])
    own = tf.where(_replica.size > 0, own, tf.zeros_like(own))
    # Each replica writes a row of its own.
    row = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync)
    rows = tf.cast(row, own.dtype)[:, None, None] * own
    of_all = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
    counts, means, squares = tf.unstack(of_all, axis=1)
    total = tf.reduce_sum(counts, axis=0)
    mean = tf.reduce_sum(counts * means, axis=0) / total
    squares += counts * tf.square(means - mean)
    return mean, tf.reduce_sum(squares, axis=0) / total
