"""The small convolutional network."""

import keras
from keras import layers

from zoo.errors import ZooError, number, unknown
from zoo.layers import get_activation
from zoo.models import ends


def small_cnn(
    input_shape=(28, 28, 1),
    filters=(16, 64, 96),
    activation="relu",
    dropout=0.0,
    mean=127.5,
    std=127.5,
    include_top=True,
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    name="small_cnn",
):
    """Build a small convolutional network that takes raw images.

    Each block halves height and width: a 3x3 convolution, batch normalization and the
    activation. The first block halves by 2x2 max-pooling, which sees every pixel; the
    others by a stride of 2, which costs a quarter of a convolution that is then pooled.

    Args:
        input_shape: `(height, width, channels)` of the images.
        filters: the number of filters of each block, first to last.
        activation: of the blocks, by name or as a callable.
        dropout: the share of features that is dropped before the classifier.
        mean: subtracted from each pixel (0 to 255) inside the model.
        std: what the difference is divided by.
        include_top: whether the classifier is included.
        pooling: without top, what becomes of the last feature maps: `None` leaves them
            as they are, `"avg"` and `"max"` pool them to a vector. The classifier sees
            all of them, flattened.
        classes: number of classes, with `include_top`.
        classifier_activation: of the last layer; `None` returns logits.
        name: of the model.

    Input shape:
        uint8 `(batch, height, width, channels)`, 0 to 255. Floats are cast, so images
        that were scaled to [0, 1] before would all become black.

    Output shape:
        float `(batch, classes)`; without top `(batch, h, w, filters[-1])`, or
        `(batch, filters[-1])` with `pooling`.

    Returns:
        A plain functional `keras.Model`, not compiled.

    Raises:
        ZooError: (a `ValueError`) names the argument, the value and the cure.

    Example:
        >>> small_cnn(filters=(8, 16)).output_shape
        (None, 10)

    Reference:
        Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """
    activation = get_activation("activation", activation)
    dropout = number("dropout", dropout, least=0, below=1)
    filters = ends.widths("filters", filters)
    if pooling is not None and pooling not in ends.POOLINGS:
        raise unknown("pooling", pooling, ["None", *ends.POOLINGS])
    inputs, x = ends.images(input_shape, mean, std)
    if filters and min(inputs.shape[1:3]) < 2:
        raise ZooError(
            f"images of {inputs.shape[1]}x{inputs.shape[2]} are too small for the 2x2 "
            "pooling: height and width in input_shape must be at least 2, or filters "
            f"empty. Received: input_shape={tuple(input_shape)}, filters={filters}"
        )
    for index, count in enumerate(filters, start=1):
        x = layers.Conv2D(
            count,
            3,
            strides=1 if index == 1 else 2,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            name=f"conv_{index}",
        )(x)
        if index == 1:
            x = layers.MaxPooling2D(data_format="channels_last", name="pool")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm_{index}")(x)
        x = layers.Activation(activation, name=f"activation_{index}")(x)
    if include_top:
        x = layers.Flatten(data_format="channels_last", name="flatten")(x)
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        x = ends.probabilities(x, layers.Dense, classes, classifier_activation)
    elif pooling:
        x = ends.POOLINGS[pooling](data_format="channels_last", name="pooling")(x)
    return keras.Model(inputs, x, name=name)
