"""Which units of a network have ceased to learn: dead, saturated, or all alike."""

import contextlib
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

RELU_FAMILY = {"relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "hard_silu"}
SATURATING = {"sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign"}
DEAD_SLOPE = 0.01
SATURATED_SLOPE = 0.1  # of the largest
_SHARE = {"dead": 1.0, "saturated": 0.9}  # of the examples


def measure(
    model: keras.Model, layers: Iterable[tuple[str, object]], probe
) -> dict[str, dict[str, float]]:
    """Return the shares of units that are dead or saturated, as a probe finds them.

    A unit is a channel: the last axis of a layer's output. The slope is the
    activation's derivative at the unit's input, the factor that backpropagation meets.

    - ReLU family: a unit is dead if its slope is below 0.01 for every example of the
      probe, at every place of a feature map; a ReLU's is 0 where its input is negative.
    - Sigmoid and tanh: a unit is saturated if its slope is below a tenth of the largest
      for 90 % of the examples; a sigmoid's is so below 0.026 and above 0.974, a tanh's
      beyond ±0.949.

    Left out are frozen and recurrent layers, activations inside a layer of several that
    is no model, and what the model itself returns: a confident answer is no illness.
    The model is left as it was, its seed generators too.

    Args:
        model: a built model, on the TensorFlow backend.
        layers: names and layers of it, to look at those with an activation.
        probe: a batch of its inputs.

    Returns:
        `{"dead": {layer: share}, "saturated": {layer: share}}`.
    """
    calls = []  # (layer, kind, function, input, output) of every use of an activation
    with contextlib.ExitStack() as stack:
        for variable in model.non_trainable_variables:
            before = keras.ops.convert_to_numpy(variable).copy()
            stack.callback(variable.assign, before)
        for name, layer in layers:
            _record_calls(stack, name, layer, calls)
        outputs = keras.tree.flatten(model(probe, training=False))
    unwell = {"dead": {}, "saturated": {}}
    for name, kind, function, z, a in calls:
        if not any(_same(a, output) for output in outputs):
            low = _low_slope(kind, function, z)
            unwell[kind].setdefault(name, []).append(low)
    return {
        kind: {
            name: float((np.concatenate(low).mean(axis=0) >= _SHARE[kind]).mean())
            for name, low in layers.items()
        }
        for kind, layers in unwell.items()
    }


def alike(kernel: np.ndarray) -> bool:
    """Tell whether all units of a kernel `(..., units)` have the same weights."""
    spread = np.ptp(kernel, axis=-1).max()
    return bool(kernel.shape[-1] > 1 and spread <= 1e-6 * np.abs(kernel).max())


def _record_calls(stack, name, layer, calls):
    if isinstance(layer, (keras.layers.ReLU, keras.layers.ELU)):
        attribute, kind = "call", "dead"
    else:
        attribute, kind = "activation", _kind(getattr(layer, "activation", None))
    if kind is None or not layer.trainable or isinstance(layer, keras.layers.RNN):
        return
    function = getattr(layer, attribute)

    def recorder(z, *args, **kwargs):
        a = function(z, *args, **kwargs)
        calls.append((name, kind, function, z, a))
        return a

    if attribute in vars(layer):
        stack.callback(setattr, layer, attribute, function)
    else:
        stack.callback(delattr, layer, attribute)
    setattr(layer, attribute, recorder)


def _same(a, output):
    # The same numbers, whatever only reshaped them on the way.
    return np.size(a) == np.size(output) and np.array_equal(
        np.ravel(a), np.ravel(output)
    )


def _kind(activation):
    name = getattr(activation, "__name__", None)
    if name in RELU_FAMILY:
        return "dead"
    return "saturated" if name in SATURATING else None


def _low_slope(kind, function, z):
    # (examples and places, units): where the activation passes next to nothing back
    slope = _slope(function, z)
    if kind == "dead":
        low = slope < DEAD_SLOPE
    else:
        low = slope < SATURATED_SLOPE * _slope(function, tf.zeros((), z.dtype))
    return np.reshape(low, (-1, low.shape[-1]))


def _slope(function, z):
    with tf.GradientTape() as tape:
        tape.watch(z)
        a = function(z)
    return np.abs(tape.gradient(a, z).numpy())
