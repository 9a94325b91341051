"""What every builder begins and ends with: raw images in, class probabilities out."""

import keras
from keras import layers

from zoo.errors import ZooError, number, positive_integer
from zoo.layers import get_activation

POOLINGS = {
    "avg": layers.GlobalAveragePooling2D,
    "max": layers.GlobalMaxPooling2D,
}


def images(input_shape, mean, std):
    """Return `(inputs, x)`: raw uint8 images, and the same standardised as floats.

    Args:
        input_shape: `(height, width, channels)`.
        mean: what is subtracted from a pixel of 0 to 255.
        std: what the difference is divided by.
    """
    shape = widths("input_shape", input_shape)
    if len(shape) != 3:
        raise ZooError(
            "input_shape must be (height, width, channels), e.g. (28, 28, 1). "
            f"Received: input_shape={shape}"
        )
    number("mean", mean)
    number("std", std, above=0)
    inputs = keras.Input(shape, dtype="uint8", name="images")
    standardise = layers.Rescaling(1 / std, offset=-mean / std, name="standardise")
    return inputs, standardise(inputs)


def probabilities(x, layer, classes, classifier_activation):
    """Return the classifier's output for the feature vectors `x`.

    It is computed in float32 under mixed precision too.
    """
    positive_integer("classes", classes)
    return layer(
        classes,
        activation=get_activation("classifier_activation", classifier_activation),
        dtype="float32"
        if keras.config.dtype_policy().name.startswith("mixed")
        else None,
        name="predictions",
    )(x)


def widths(name, values):
    """Return a tuple of positive integers, or raise an error naming the argument."""
    try:
        return tuple(positive_integer(name, value) for value in values)
    except (TypeError, ZooError):
        raise ZooError(
            f"{name} must be a list of positive integers, such as (64, 32, 1). "
            f"Received: {name}={values!r}"
        ) from None
