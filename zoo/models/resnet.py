"""The small residual network, which halves the image early."""

import keras
from keras import layers

from zoo.errors import ZooError, integer, number, unknown
from zoo.layers import get_activation
from zoo.models import ends


def small_resnet(
    input_shape=(28, 28, 1),
    filters=(16, 32, 44, 56),
    blocks=1,
    activation="relu",
    dropout=0.0,
    mean=127.5,
    std=127.5,
    include_top=True,
    pooling="max",
    classes=10,
    classifier_activation="softmax",
    name="small_resnet",
):
    """Build a small residual network that takes raw images.

    First comes a 3x3 convolution, batch normalization and the activation. Each stage is
    a convolution, 2x2 max-pooling, batch normalization and the activation, then
    `blocks` residual blocks: a convolution, batch normalization and the activation,
    added to what went in. Only the first two convolutions see all pixels.

    Args:
        input_shape: `(height, width, channels)` of the images.
        filters: those of the first convolution, then those of each stage.
        blocks: the residual blocks of every stage.
        activation: of the stages, by name or as a callable.
        dropout: the share of features that is dropped before the classifier.
        mean: subtracted from each pixel (0 to 255) inside the model.
        std: what the difference is divided by.
        include_top: whether the classifier is included.
        pooling: `"max"` or `"avg"`: what makes a vector of the last feature maps; the
            classifier needs one of them. `None`, without top, leaves them as they are.
        classes: number of classes, with `include_top`.
        classifier_activation: of the last layer; `None` returns logits.
        name: of the model.

    Input shape:
        uint8 `(batch, height, width, channels)`, 0 to 255. Floats are cast, so images
        that were scaled to [0, 1] before would all become black.

    Output shape:
        float `(batch, classes)`; without top `(batch, filters[-1])`, or
        `(batch, h, w, filters[-1])` without pooling.

    Returns:
        A plain functional `keras.Model`, not compiled.

    Raises:
        ZooError: (a `ValueError`) names the argument, the value and the cure.

    Example:
        >>> small_resnet(filters=(8, 16, 24)).output_shape
        (None, 10)

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the order
        of convolution and pooling is that of Page, "How to Train Your ResNet", 2018.
    """
    activation = get_activation("activation", activation)
    dropout = number("dropout", dropout, least=0, below=1)
    filters = ends.widths("filters", filters)
    blocks = integer("blocks", blocks, least=0)
    if pooling not in ends.POOLINGS and (include_top or pooling is not None):
        raise unknown("pooling", pooling, ends.POOLINGS)
    inputs, x = ends.images(input_shape, mean, std)
    first, *stages = filters or (None,)
    if first is None or min(inputs.shape[1:3]) < 2 ** len(stages):
        raise ZooError(
            f"filters must hold those of the first convolution and of each stage, and "
            f"images of {inputs.shape[1]}x{inputs.shape[2]} can be halved by "
            f"{min(inputs.shape[1:3]).bit_length() - 1} stages at most. "
            f"Received: filters={filters}"
        )

    def convolution(x, count, name):
        return layers.Conv2D(
            count,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            data_format="channels_last",
            name=name,
        )(x)

    def finish(x, name):
        x = layers.BatchNormalization(momentum=0.9, name=f"norm_{name}")(x)
        return layers.Activation(activation, name=f"activation_{name}")(x)

    x = finish(convolution(x, first, "conv_0"), "0")
    for stage, count in enumerate(stages, start=1):
        x = convolution(x, count, f"conv_{stage}")
        x = layers.MaxPooling2D(data_format="channels_last", name=f"pool_{stage}")(x)
        x = finish(x, f"{stage}")
        for block in range(1, blocks + 1):
            place = f"{stage}_{block}"
            inner = finish(convolution(x, count, f"conv_{place}"), place)
            x = layers.Add(name=f"add_{place}")([x, inner])
    if pooling:
        x = ends.POOLINGS[pooling](data_format="channels_last", name="pooling")(x)
    if include_top:
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        x = ends.probabilities(x, layers.Dense, classes, classifier_activation)
    return keras.Model(inputs, x, name=name)
