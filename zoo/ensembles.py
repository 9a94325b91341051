"""Many small networks trained as one: a leading axis in place of a loop.

The kernels of all members are one tensor, so a step of a hundred small networks is one
product of matrices, compiled once. The members share nothing but the call: their
losses are added, so each gets the gradient that it would get alone.
"""

import keras
from keras import ops

from zoo.errors import ZooError, positive_integer
from zoo.layers import MyDenseLayer


@keras.saving.register_keras_serializable(package="zoo")
class EnsembleDense(MyDenseLayer):
    """`members` dense layers side by side, each with weights of its own.

    Hand it to a builder as its `layer`, or stack it by hand.

    Args:
        units: number of neurons of every member, or a tuple with one number for each:
            narrower members are padded, and their padding stays 0.
        members: how many networks.
        **kwargs: the rest, as in `MyDenseLayer`. An initializer with a seed gives all
            members the same weights.

    Input shape:
        `(batch, inputs)`, the same for all members, or `(batch, members, inputs)`.

    Output shape:
        `(batch, members, max(units))`, in the layer's compute dtype.

    Raises:
        ZooError: (a `ValueError`) units or members are not positive integers, a
            softmax has different ones, or an input has another shape.

    Example:
        >>> layer = EnsembleDense(4, members=3)
        >>> tuple(layer(keras.ops.zeros((2, 5))).shape)
        (2, 3, 4)
    """

    def __init__(self, units, members, **kwargs):
        self.members = positive_integer("members", members)
        several = isinstance(units, (tuple, list))
        widths = tuple(units) if several else (units,) * self.members
        if len(widths) != self.members:
            raise ZooError(
                "units must be a positive integer, or one for each member. "
                f"Received: units={units!r}, members={members!r}"
            )
        self.widths = tuple(positive_integer("units", width) for width in widths)
        super().__init__(max(self.widths), **kwargs)
        if len({*self.widths}) > 1 and self.activation is keras.activations.softmax:
            raise ZooError(
                "softmax is for members of equal units: what fills the others up would "
                f"count. Received: units={units!r}"
            )

    def build(self, input_shape):
        """Create kernel `(members, inputs, units)` and bias `(members, units)`."""
        if len(input_shape) not in (2, 3) or (
            len(input_shape) == 3 and input_shape[1] != self.members
        ):
            raise ZooError(
                f"EnsembleDense takes inputs of (batch, inputs) or (batch, "
                f"{self.members}, inputs). Received: {tuple(input_shape)}"
            )
        inputs = input_shape[-1]
        kernel, bias = self.kernel_initializer, self.bias_initializer
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.members, inputs, self.units),
            initializer=self._each(kernel, lambda width: (inputs, width)),
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(
            name="bias",
            shape=(self.members, self.units),
            initializer=self._each(bias, lambda width: (width,)),
            regularizer=self.bias_regularizer,
        )
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes={-1: inputs}
        )

    def _each(self, initializer, shape):
        """Return an initializer that draws the weights of each member for itself."""

        def draw(_, dtype=None):
            drawn = []
            for width in self.widths:
                own = initializer
                if isinstance(own, keras.initializers.Initializer):
                    own = own.clone()  # one without a seed draws anew
                values = own(shape(width), dtype=dtype)
                padding = [(0, 0)] * (len(values.shape) - 1)
                drawn.append(ops.pad(values, [*padding, (0, self.units - width)]))
            return ops.stack(drawn)

        return draw

    def call(self, inputs):
        """Return g(xW + b) of every member."""
        if len(inputs.shape) == 2:
            z = ops.einsum("bi,miu->bmu", inputs, self.kernel)
        else:
            z = ops.einsum("bmi,miu->bmu", inputs, self.kernel)
        outputs = self.activation(ops.add(z, self.bias))
        if min(self.widths) == self.units:
            return outputs
        real = [[unit < w for unit in range(self.units)] for w in self.widths]
        return outputs * ops.cast(real, outputs.dtype)

    def compute_output_shape(self, input_shape):
        """Return `(batch, members, units)`."""
        return (input_shape[0], self.members, self.units)

    def get_config(self):
        """Return the arguments, serialised."""
        config = {**super().get_config(), "members": self.members}
        return config | {"units": self.widths}


def total_loss(loss):
    """Return a loss for `compile`: that of each member, added up.

    So each member gets the gradient, and makes the step, that it would make alone. What
    `fit` logs is the sum; divide it by the members for their mean.

    Args:
        loss: a Keras loss function, or its name such as
            `"sparse_categorical_crossentropy"`; it takes the mean over the last axis.

    The labels are `(batch,)` or `(batch, outputs)`, the same for all members, or
    `(batch, members)` and `(batch, members, outputs)`, each member its own.
    """
    function = keras.losses.get(loss)

    def total(y_true, y_pred):
        if len(y_pred.shape) == 2:  # Keras squeezes outputs of one unit
            y_pred = ops.expand_dims(y_pred, -1)
        return ops.sum(function(_shared(y_true, y_pred, function), y_pred), axis=-1)

    return total


def _shared(y_true, y_pred, function):
    """Return the labels of every member, `y_true` or copies of it."""
    members = y_pred.shape[1]
    sparse = "sparse" in function.__name__
    own = 2 if sparse else 3  # dimensions of labels that each member has for itself
    shape = y_true.shape
    if sparse and len(shape) == 2 and shape[1] == 1 != members:
        y_true = y_true[:, 0]  # a column, as of a pandas Series
    if len(y_true.shape) == own:
        return y_true
    if not sparse and len(y_true.shape) == 1:
        y_true = y_true[:, None]
    return ops.repeat(ops.expand_dims(y_true, 1), members, axis=1)


def rated_loss(rates):
    """Return a cross-entropy for `compile` in which each member has its own rate.

    It is each member's loss times its rate, added up: with SGD a learning rate each.

    Args:
        rates: float `(members,)`.

    The labels are int `(batch,)`, the same for all members.
    """
    cross_entropy = keras.losses.sparse_categorical_crossentropy

    def total(y_true, y_pred):
        labels = _shared(y_true, y_pred, cross_entropy)
        weights = ops.convert_to_tensor(rates, y_pred.dtype)
        return ops.sum(weights * cross_entropy(labels, y_pred), axis=-1)

    return total


def penalty(power, strengths):
    """Return L1 (power 1) or L2 (power 2) for kernels `(members, inputs, units)`.

    As `keras.regularizers.L1` and `L2`, with a strength for each member.

    Args:
        power: 1 or 2.
        strengths: float `(members,)`.
    """

    def total(kernel):
        weights = ops.reshape(
            ops.convert_to_tensor(strengths, kernel.dtype), (-1, 1, 1)
        )
        return ops.sum(weights * ops.abs(kernel) ** power)

    return total


def accuracies(model, x, y, batch_size=1000):
    """Return the accuracy of each member on examples, float `(members,)`.

    Args:
        model: a classifier whose output is `(batch, members, classes)`.
        x: its inputs.
        y: int `(n,)`, the labels.
        batch_size: how many at once.
    """
    guesses = model.predict(x, batch_size=batch_size, verbose=0).argmax(-1)
    return (guesses == ops.convert_to_numpy(y)[:, None]).mean(0)
