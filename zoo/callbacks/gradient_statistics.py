"""What the optimizer is handed, summed up inside the compiled step (TensorFlow)."""

import keras
import numpy as np
import tensorflow as tf

from zoo import replicas


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
        start_norms: for each column, the norm that its kernels started with, or that of
            Glorot's initialization where it is larger; 0 without kernels. What an
            update is large or small against.
    """

    def __init__(self, model, layer_of, detail_every, stop_on_nonfinite):
        self.optimizer = model.optimizer
        self.variables = [variable.value for variable in model.trainable_variables]
        self.detail_every = detail_every
        self.stop_on_nonfinite = stop_on_nonfinite
        self._handed, self._reached = set(), set()
        self._sizes = [int(np.prod(v.shape)) for v in self.variables]
        self._membership = _membership(layer_of)
        columns = (len(self._membership),)
        with model.distribute_strategy.scope():
            self._step = _state((), tf.int64)
            self._updates_to_detail = _state((), tf.int64)
            self._stopped = _state((), tf.bool)
            self._first_norm = _state(columns)
            self._first_update = _state(columns)
            self._nonfinite_step = _state(columns, tf.int64)
            self._weights_before = _state((sum(self._sizes),))
            self._of_epoch = {
                "norm": _state(columns),
                "norm_max": _state(columns),
                "bad_steps": _state(columns),
                "nonfinite": _state(columns),
                "largest": _state(columns),
                "nonzero": _state((2, *columns)),  # a sum and a count, as below
                "weight": _state((2, *columns)),
                "update": _state((2, *columns)),
                "ratio": _state((2, *columns)),
            }
        self._steps_before = 0
        starts = [_start_norm(variable.numpy()) for variable in self.variables]
        self.start_norms = np.sqrt(self._membership @ np.square(starts))

    def apply(self, apply, grads, variables=None):
        """Record the gradients, then hand them to the optimizer's own `apply`."""
        grads = list(grads)
        observed = self._observed(grads, variables)
        self._step.assign_add(1)
        squares = self._columns(_squares(observed))
        norms, finite = tf.cond(
            tf.math.is_finite(squares[-1]),
            lambda: (tf.sqrt(squares), True),
            lambda: self._look_closer(observed),
        )
        self._of_epoch["norm"].assign_add(norms)
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
            due & updated & finite,
            lambda: self._record_details(observed, norms),
            _nothing,
        )
        self._updates_to_detail.assign_sub(tf.cast(updated, tf.int64))

    def end_of_epoch(self) -> dict[str, np.ndarray]:
        """Return the epoch's numbers, a column each, and start afresh.

        Keys: `gradient_norm` (mean over steps), `gradient_norm_max`, `nonfinite` (NaN
        and infinite components, over all steps), `nonfinite_step` (the first such step
        of the training, from 1; 0 is none), `largest_component`, `zero_share`,
        `weight_norm`, `update_norm`, `update_ratio` (norm of the update / norm of the
        weights, mean), `details` (how many), `first_norm` and `first_update` (norms of
        gradient and update at the first update of the training). NaN stands for what
        was never measured.
        """
        now = {name: v.read_value().numpy() for name, v in self._of_epoch.items()}
        for state in (*self._of_epoch.values(), self._updates_to_detail):
            state.assign(tf.zeros_like(state.read_value()))
        good_steps = self.steps - self._steps_before - now["bad_steps"]
        self._steps_before = self.steps
        return {
            "gradient_norm": _mean(now["norm"], good_steps),
            "gradient_norm_max": now["norm_max"],
            "update_ratio": _mean(*now["ratio"]),
            "weight_norm": _mean(*now["weight"]),
            "update_norm": _mean(*now["update"]),
            "details": now["update"][1],
            "largest_component": now["largest"],
            "zero_share": 1 - _mean(*now["nonzero"]) / (self._membership @ self._sizes),
            "nonfinite": now["nonfinite"],
            "nonfinite_step": self._nonfinite_step.read_value().numpy(),
            "first_norm": self._first_norm.read_value().numpy(),
            "first_update": self._first_update.read_value().numpy(),
            "start_norm": self.start_norms,
        }

    def get_state(self) -> dict:
        """Return what `set_state` needs to continue after the step that just ended."""
        return {
            "variables": {n: v.read_value().numpy() for n, v in self._kept().items()},
            "steps_before": self._steps_before,
            "start_norms": self.start_norms,
            "handed": sorted(self._handed),
            "reached": sorted(self._reached),
        }

    def set_state(self, state: dict) -> None:
        """Continue from what `get_state` returned."""
        for name, variable in self._kept().items():
            variable.assign(state["variables"][name])
        self._steps_before = state["steps_before"]
        self.start_norms = state["start_norms"]
        self._handed, self._reached = set(state["handed"]), set(state["reached"])

    def _kept(self):
        # Not `_weights_before`, which no step leaves to the next.
        return {
            "step": self._step,
            "updates_to_detail": self._updates_to_detail,
            "stopped": self._stopped,
            "first_norm": self._first_norm,
            "first_update": self._first_update,
            "nonfinite_step": self._nonfinite_step,
            **self._of_epoch,
        }

    @property
    def unconnected(self) -> list[int]:
        """Numbers of the variables that no gradient reaches, as the trace tells."""
        return sorted(self._handed - self._reached)

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
        keys = enumerate(map(_key, self.variables))
        self._handed |= {number for number, key in keys if key in given}
        self._reached |= {number for number, g in enumerate(found) if g is not None}
        tensors = [
            tf.cast(tf.convert_to_tensor(g), tf.float32) for g in found if g is not None
        ]
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1 and not replicas.are_gradients_summed():
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

    def _columns(self, of_variables):
        return tf.linalg.matvec(self._membership, of_variables)

    def _look_closer(self, observed):
        # The squares may have overflowed alone: they are added in float64, and what is
        # not finite is counted and left out.
        wide = [tf.cast(g, tf.float64) for g in observed]
        finite = [tf.math.is_finite(g) for g in wide]
        counts = [tf.reduce_sum(tf.cast(~f, tf.float32)) for f in finite]
        wide = [
            tf.where(f, g, tf.zeros_like(g)) for f, g in zip(finite, wide, strict=True)
        ]
        squares = tf.stack([tf.reduce_sum(g * g) for g in wide])
        norms = tf.sqrt(
            tf.linalg.matvec(tf.cast(self._membership, tf.float64), squares)
        )
        counts = self._columns(tf.stack(counts))
        bad = counts > 0
        good = tf.where(bad, tf.zeros_like(counts), tf.cast(norms, tf.float32))
        self._of_epoch["bad_steps"].assign_add(tf.cast(bad, tf.float32))
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # At a scale above 1 that is no surprise: the optimizer will lower it.
            bad &= self._loss_scale() <= 1
        self._of_epoch["nonfinite"].assign_add(tf.where(bad, counts, 0.0))
        first = bad & (self._nonfinite_step == 0)
        self._nonfinite_step.assign(tf.where(first, self._step, self._nonfinite_step))
        self._stopped.assign(self._stopped | tf.reduce_any(bad))
        return good, tf.reduce_all(counts == 0)

    def _flat_weights(self):
        flat = [tf.reshape(tf.cast(v, tf.float32), (-1,)) for v in self.variables]
        return tf.concat(flat, axis=0)

    def _remember_weights(self):
        self._weights_before.assign(self._flat_weights())

    def _record_details(self, observed, norms):
        before = self._weights_before.read_value()
        update = tf.split(self._flat_weights() - before, self._sizes)
        weights = tf.sqrt(self._columns(_squares(tf.split(before, self._sizes))))
        updates = tf.sqrt(self._columns(_squares(update)))
        ratios = updates / weights
        # The shortest way to count on a CPU: the squares of the signs.
        nonzero = self._columns(_squares([tf.sign(g) for g in observed]))
        highest = tf.stack([tf.reduce_max(g) for g in observed])
        lowest = tf.stack([tf.reduce_min(g) for g in observed])
        largest = self._membership * tf.maximum(highest, -lowest)
        state = self._of_epoch
        _add(state["nonzero"], nonzero, tf.ones_like(nonzero, tf.bool))
        _add(state["weight"], weights, tf.math.is_finite(weights))
        _add(state["update"], updates, tf.math.is_finite(updates))
        # Weights that are all zero, as biases are at first, have no ratio.
        _add(state["ratio"], ratios, (weights > 0) & tf.math.is_finite(ratios))
        _raise_to(state["largest"], tf.reduce_max(largest, axis=1))
        unset = tf.reduce_all(self._first_norm == 0)
        self._first_norm.assign(tf.where(unset, norms, self._first_norm))
        self._first_update.assign(tf.where(unset, updates, self._first_update))
        self._updates_to_detail.assign(self.detail_every)


def _membership(layer_of):
    """Return which variables a column counts, float32 `(columns, variables)`."""
    numbers = np.arange(max(layer_of) + 1)
    of_layers = numbers[:, None] == np.array(layer_of)
    of_model = np.ones((1, len(layer_of)))
    return np.vstack([np.eye(len(layer_of)), of_layers, of_model]).astype(np.float32)


def _start_norm(weights):
    if weights.ndim < 2:
        return 0.0
    # Glorot's standard deviation is the root of 2 / (fan in + fan out).
    *places, inputs, outputs = weights.shape
    fans = np.prod(places) * (inputs + outputs)
    return max(np.linalg.norm(weights), np.sqrt(weights.size * 2 / fans))


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


def _squares(tensors):
    return 2 * tf.stack([tf.nn.l2_loss(tensor) for tensor in tensors])


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
