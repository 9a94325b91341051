"""The multi-layer perceptron."""

import keras
from keras import layers

from zoo.errors import number
from zoo.layers import get_activation
from zoo.models import ends


def mlp(
    input_shape=(28, 28, 1),
    hidden_units=(256, 128),
    activation="relu",
    dropout=0.0,
    layer=None,
    mean=127.5,
    std=127.5,
    include_top=True,
    classes=10,
    classifier_activation="softmax",
    name="mlp",
    batch_normalization=False,
):
    """Build a fully connected network that takes raw images.

    Args:
        input_shape: `(height, width, channels)` of the images.
        hidden_units: the width of each hidden layer, first to last; `()` gives a linear
            classifier.
        activation: of the hidden layers, by name or as a callable.
        dropout: the share of hidden units that is dropped in training.
        layer: the fully connected layer to build it from, `keras.layers.Dense` or one
            with the same first arguments, such as `zoo.MyDenseLayer`.
        mean: subtracted from each pixel (0 to 255) inside the model.
        std: what the difference is divided by.
        include_top: whether the classifier is included; without it the output is the
            last hidden layer.
        classes: number of classes, with `include_top`.
        classifier_activation: of the last layer; `None` returns logits.
        name: of the model.
        batch_normalization: whether what a hidden layer computes is normalized over the
            batch before the activation.

    Input shape:
        uint8 `(batch, height, width, channels)`, 0 to 255. Floats are cast, so images
        that were scaled to [0, 1] before would all become black.

    Output shape:
        float `(batch, classes)`, or `(batch, hidden_units[-1])` without top.

    Returns:
        A plain functional `keras.Model`, not compiled.

    Raises:
        ZooError: (a `ValueError`) names the argument, the value and the cure.

    Example:
        >>> mlp(hidden_units=(64, 32)).count_params()
        52650

    Reference:
        Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """
    activation = get_activation("activation", activation)
    dropout = number("dropout", dropout, least=0, below=1)
    layer = layer or layers.Dense
    inputs, x = ends.images(input_shape, mean, std)
    x = layers.Flatten(data_format="channels_last", name="flatten")(x)
    for index, units in enumerate(ends.widths("hidden_units", hidden_units), start=1):
        if batch_normalization:
            x = layer(units, activation=None, name=f"hidden_{index}")(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"norm_{index}")(x)
            x = layers.Activation(activation, name=f"activation_{index}")(x)
        else:
            x = layer(units, activation=activation, name=f"hidden_{index}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout_{index}")(x)
    if include_top:
        x = ends.probabilities(x, layer, classes, classifier_activation)
    return keras.Model(inputs, x, name=name)
