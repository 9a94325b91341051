"""What the optimizer is handed, summed up inside the compiled step (TensorFlow)."""

import keras
import numpy as np
import tensorflow as tf


class GradientStatistics:
    """Stands before `optimizer.apply` while the step is traced, and keeps count.

    Its arrays have a column for each variable, then each layer, then the whole model.
    Norms are taken at every step. The details (largest component, zeros, update, weight
    norm) cost several passes over the weights: they are taken at the first update of an
    epoch and at every `detail_every`-th after it.

    Args:
        model: a compiled and built `keras.Model`.
        layer_of: for each of its trainable variables, the number of its layer.
        detail_every: updates from one with details to the next.
        stop_on_nonfinite: leave out the update that has a NaN or an infinity in its
            gradients, and all that follow.

    Attributes:
        unconnected: numbers of the variables that no gradient reaches; known once the
            step is traced.
    """

    def __init__(self, model, layer_of, detail_every, stop_on_nonfinite):
        self.optimizer = model.optimizer
        self.variables = [variable.value for variable in model.trainable_variables]
        self.layer_of, self.num_layers = layer_of, max(layer_of) + 1
        self.detail_every = detail_every
        self.stop_on_nonfinite = stop_on_nonfinite
        self.unconnected = set()
        self._sizes = self._columns(
            tf.constant([float(np.prod(v.shape)) for v in self.variables])
        )
        columns = self._sizes.shape
        with model.distribute_strategy.scope():
            self._step = _state((), tf.int64)
            self._updates_to_detail = _state((), tf.int64)
            self._stopped = _state((), tf.bool)
            self._first_norm = _state(columns)
            self._nonfinite_step = _state(columns, tf.int64)
            self._weights_before = [_state(v.shape, v.dtype) for v in self.variables]
            self._of_epoch = {
                "norm": _state((2, *columns)),  # sum, and how many
                "norm_max": _state(columns),
                "nonfinite": _state(columns),
                "largest": _state(columns),
                "zeros": _state((2, *columns)),
                "weight": _state((2, *columns)),
                "ratio": _state((2, *columns)),
            }

    def apply(self, apply, grads, variables=None):
        """Record the gradients, then hand them to the optimizer's own `apply`."""
        grads = list(grads)
        observed = self._observed(grads, variables)
        self._step.assign_add(1)
        squares = self._columns(tf.stack([2 * tf.nn.l2_loss(g) for g in observed]))
        norms, finite = tf.cond(
            tf.math.is_finite(squares[-1]),
            lambda: (tf.sqrt(squares), tf.ones_like(squares, tf.bool)),
            lambda: self._look_closer(observed),
        )
        _add(self._of_epoch["norm"], norms, finite)
        _raise_to(self._of_epoch["norm_max"], norms)
        due = self._updates_to_detail <= 0
        tf.cond(due, self._remember_weights, _nothing)
        iterations = tf.convert_to_tensor(self.optimizer.iterations)
        if self.stop_on_nonfinite:
            _apply_unless(self._stopped.read_value(), apply, grads, variables)
        else:
            apply(grads, variables)
        updated = tf.not_equal(iterations, self.optimizer.iterations)
        tf.cond(
            due & updated & tf.reduce_all(finite),
            lambda: self._record_details(observed, norms),
            _nothing,
        )
        self._updates_to_detail.assign_sub(tf.cast(updated, tf.int64))

    def end_of_epoch(self) -> dict[str, np.ndarray]:
        """Return the epoch's numbers, a column each, and start afresh.

        Keys: `gradient_norm` (mean over steps), `gradient_norm_max`, `nonfinite` (NaN
        and infinite components, over all steps), `nonfinite_step` (the first such step
        of the training, from 1; 0 is none), `largest_component`, `zero_share`,
        `weight_norm`, `update_ratio` (norm of the update / norm of the weights, mean),
        `first_norm` (gradient norm at the first update of the training). NaN stands for
        what was never measured.
        """
        now = {name: v.read_value().numpy() for name, v in self._of_epoch.items()}
        means = {k: _mean(*now[k]) for k in ("norm", "zeros", "weight", "ratio")}
        for state in (*self._of_epoch.values(), self._updates_to_detail):
            state.assign(tf.zeros_like(state.read_value()))
        return {
            "gradient_norm": means["norm"],
            "gradient_norm_max": now["norm_max"],
            "update_ratio": means["ratio"],
            "weight_norm": means["weight"],
            "largest_component": now["largest"],
            "zero_share": means["zeros"] / self._sizes.numpy(),
            "nonfinite": now["nonfinite"],
            "nonfinite_step": self._nonfinite_step.read_value().numpy(),
            "first_norm": self._first_norm.read_value().numpy(),
        }

    @property
    def steps(self) -> int:
        """The steps seen so far."""
        return int(self._step.read_value())

    @property
    def stopped(self) -> bool:
        """Whether an update was left out since it was not finite."""
        return bool(self._stopped.read_value())

    def _observed(self, grads, variables):
        # A dense float32 gradient for each of our variables: unscaled, before clipping,
        # and summed over the replicas, as the optimizer will sum them.
        variables = self.variables if variables is None else variables
        given = {_key(v): g for g, v in zip(grads, variables, strict=True)}
        found = [given.get(_key(variable)) for variable in self.variables]
        self.unconnected = {n for n, g in enumerate(found) if g is None}
        tensors = [
            tf.cast(tf.convert_to_tensor(g), tf.float32) for g in found if g is not None
        ]
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            tensors = context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
        scale = self._loss_scale()
        if scale is not None:
            tensors = [tensor / scale for tensor in tensors]
        tensors = iter(tensors)
        return [
            tf.zeros(v.shape) if g is None else next(tensors)
            for g, v in zip(found, self.variables, strict=True)
        ]

    def _loss_scale(self):
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return tf.convert_to_tensor(self.optimizer.dynamic_scale)
        return self.optimizer.loss_scale_factor

    def _columns(self, values, combine="sum"):
        of_layers = getattr(tf.math, f"unsorted_segment_{combine}")(
            values, self.layer_of, self.num_layers
        )
        of_model = getattr(tf, f"reduce_{combine}")(values, keepdims=True)
        return tf.concat([values, of_layers, of_model], axis=0)

    def _look_closer(self, observed):
        # The squares may have overflowed alone: they are added in float64, and what is
        # not finite is counted and left out.
        wide = [tf.cast(g, tf.float64) for g in observed]
        finite = [tf.math.is_finite(g) for g in wide]
        counts = [tf.reduce_sum(tf.cast(~f, tf.float32)) for f in finite]
        squares = [
            tf.reduce_sum(tf.where(f, g * g, tf.zeros_like(g)))
            for f, g in zip(finite, wide, strict=True)
        ]
        counts = self._columns(tf.stack(counts))
        bad = counts > 0
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # At a scale above 1 that is no surprise: the optimizer will lower it.
            bad &= self._loss_scale() <= 1
        self._of_epoch["nonfinite"].assign_add(tf.where(bad, counts, 0.0))
        first = bad & (self._nonfinite_step == 0)
        self._nonfinite_step.assign(tf.where(first, self._step, self._nonfinite_step))
        self._stopped.assign(self._stopped | tf.reduce_any(bad))
        norms = tf.sqrt(self._columns(tf.stack(squares)))
        return tf.cast(norms, tf.float32), counts == 0

    def _remember_weights(self):
        for before, variable in zip(self._weights_before, self.variables, strict=True):
            before.assign(variable.read_value())

    def _record_details(self, observed, norms):
        pairs = list(zip(self._weights_before, self.variables, strict=True))
        weights = [_norm_squared(before) for before, _ in pairs]
        updates = [_norm_squared(variable - before) for before, variable in pairs]
        weights = tf.sqrt(self._columns(tf.stack(weights)))
        updates = tf.sqrt(self._columns(tf.stack(updates)))
        zeros = [tf.reduce_sum(tf.cast(tf.equal(g, 0), tf.float32)) for g in observed]
        largest = tf.stack([tf.reduce_max(tf.abs(g)) for g in observed])
        state = self._of_epoch
        zeros = self._columns(tf.stack(zeros))
        _add(state["zeros"], zeros, tf.ones_like(zeros, tf.bool))
        _add(state["weight"], weights, tf.math.is_finite(weights))
        ratios = updates / weights  # none if all weights are zero, as biases are first
        _add(state["ratio"], ratios, (weights > 0) & tf.math.is_finite(ratios))
        _raise_to(state["largest"], self._columns(largest, "max"))
        unset = tf.reduce_all(self._first_norm == 0)
        self._first_norm.assign(tf.where(unset, norms, self._first_norm))
        self._updates_to_detail.assign(self.detail_every)


def _state(shape, dtype=tf.float32):
    # Each replica keeps its own, and all the same: the gradients are summed before.
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _add(state, values, valid):
    # Two rows: the sum of the valid values, and how many there were.
    values = tf.where(valid, values, tf.zeros_like(values))
    state.assign_add(tf.stack([values, tf.cast(valid, values.dtype)]))


def _raise_to(state, values):
    state.assign(tf.maximum(state, values))


def _nothing():
    pass


def _key(variable):
    # The optimizer may be handed Keras's variable, TensorFlow's, or one replica's.
    variable = variable.value if isinstance(variable, keras.Variable) else variable
    if hasattr(variable, "_distributed_container"):
        variable = variable._distributed_container()
    return id(variable)


def _norm_squared(tensor):
    return 2 * tf.nn.l2_loss(tf.cast(tensor, tf.float32))


def _mean(total, count):
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _apply_unless(stopped, apply, grads, variables):
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        tf.cond(stopped, _nothing, lambda: apply(grads, variables))
        return

    # A condition around what merges the replicas must itself stand outside of them.
    def merged(strategy, stopped, grads):
        def apply_everywhere():
            strategy.extended.call_for_each_replica(apply, args=(grads, variables))

        first = strategy.experimental_local_results(stopped)[0]
        tf.cond(first, _nothing, apply_everywhere)

    context.merge_call(merged, args=(stopped, grads))
