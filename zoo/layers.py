"""Layers written from scratch, with `keras.ops` alone: any Keras backend."""

import keras
from keras import ops

from zoo.errors import ZooError, positive_integer


def get_activation(name, value):
    """Return a Keras activation, or raise an error that names the argument."""
    try:
        return keras.activations.get(value)
    except (ValueError, TypeError):
        raise ZooError(
            f"{name} must be a Keras activation, by name or as a callable, such as "
            f"'relu', 'tanh' or 'sigmoid'. Received: {name}={value!r}"
        ) from None


@keras.saving.register_keras_serializable(package="zoo")
class MyDenseLayer(keras.layers.Layer):
    """A fully connected layer: z = xW + b, then a = g(z).

    The layer of the lectures, built from a matrix product, an addition and an
    activation. It equals `keras.layers.Dense` in outputs, gradients and training.

    Args:
        units: number of neurons, a positive integer.
        activation: g, a Keras activation by name or a callable; `None` is linear.
        kernel_initializer: how W starts.
        bias_initializer: how b starts.
        kernel_regularizer: penalty on W, added to the loss.
        bias_regularizer: penalty on b, added to the loss.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Input shape:
        `(..., inputs)`: a floating-point tensor with two or more dimensions.

    Output shape:
        `(..., units)`, in the layer's compute dtype.

    Raises:
        ZooError: (a `ValueError`) for units that are not a positive integer, an
            unknown activation, or an input whose last dimension is not known.

    Example:
        >>> layer = MyDenseLayer(2, kernel_initializer="ones")
        >>> tuple(layer(keras.ops.zeros((1, 3))).shape)
        (1, 2)

    Reference:
        Rumelhart, Hinton and Williams, "Learning representations by
        back-propagating errors", Nature 323, 1986, equations 1 and 2.
    """

    def __init__(
        self,
        units,
        activation="sigmoid",
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = positive_integer("units", units)
        self.activation = get_activation("activation", activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape):
        """Create the kernel `(inputs, units)` and the bias `(units,)`."""
        self._add_weights(input_shape, self.units)

    def _add_weights(self, input_shape, outputs):
        inputs = input_shape[-1]
        if inputs is None:
            raise ZooError(
                f"{type(self).__name__} needs to know its input's last dimension; give "
                f"keras.Input its whole shape. Received: {tuple(input_shape)}"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs, outputs),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(
            name="bias",
            shape=(outputs,),
            initializer=self.bias_initializer,
            regularizer=self.bias_regularizer,
        )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: inputs})

    def call(self, inputs):
        """Return g(xW + b)."""
        return self.activation(ops.add(ops.matmul(inputs, self.kernel), self.bias))

    def compute_output_shape(self, input_shape):
        """Return the input's shape with `units` as its last dimension."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Return the arguments, serialised."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
        }


@keras.saving.register_keras_serializable(package="zoo")
class Maxout(MyDenseLayer):
    """A maxout layer: the largest of `pieces` linear maps, unit by unit.

    It learns its own activation: with 2 pieces it can be a ReLU or an absolute
    value, with more any convex piecewise linear function.

    Args:
        units: number of outputs, a positive integer.
        pieces: number of linear maps that each output is the maximum of.
        **kwargs: initializers, regularizers, `name` and the rest, as in
            `MyDenseLayer`; there is no `activation`, the maximum is it.

    Input shape:
        `(..., inputs)`: a floating-point tensor with two or more dimensions.

    Output shape:
        `(..., units)`, in the layer's compute dtype.

    Raises:
        ZooError: (a `ValueError`) for units or pieces that are not positive
            integers, or an input whose last dimension is not known.

    Example:
        >>> tuple(Maxout(4, pieces=2)(keras.ops.zeros((1, 3))).shape)
        (1, 4)

    Reference:
        Goodfellow et al., "Maxout Networks", ICML 2013, section 3.
    """

    def __init__(self, units, pieces, **kwargs):
        super().__init__(units, activation=None, **kwargs)
        self.pieces = positive_integer("pieces", pieces)

    def build(self, input_shape):
        """Create the kernel `(inputs, units * pieces)` and its bias."""
        self._add_weights(input_shape, self.units * self.pieces)

    def call(self, inputs):
        """Return the maximum over the pieces of xW + b."""
        z = super().call(inputs)
        shape = (*ops.shape(z)[:-1], self.units, self.pieces)
        return ops.max(ops.reshape(z, shape), axis=-1)

    def get_config(self):
        """Return the arguments, serialised."""
        config = {**super().get_config(), "pieces": self.pieces}
        del config["activation"]
        return config
