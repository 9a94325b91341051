"""What a card says of a pretrained model, measured on the whole test set."""

import statistics
import time

import numpy as np

from zoo import console
from zoo.accuracy import accuracy, accuracy_moved, predict
from zoo.data import Examples
from zoo.report import measures

SHIFTS = (1, 2, 4)  # pixels
NOISE = (10, 25, 50)  # standard deviation, of pixels of 0 to 255
ROUNDS = 20  # of timed calls, in turns with the reference


def measure(model, test: Examples, mirror: bool) -> dict:
    """Return the numbers of a card that the weights alone decide.

    Args:
        model: a `keras.Model` from uint8 images to class probabilities.
        test: the whole test set.
        mirror: whether a mirror image is of the same class.

    Returns:
        `accuracy`; `accuracy_of_class`, a list; `calibration_error` (Guo et al. 2017,
        15 bins); `accuracy_shifted`, by pixels, the mean over the four directions;
        `accuracy_with_noise`, by the standard deviation of Gaussian noise; and
        with `mirror`, `accuracy_flipped_too`, of the mean of the probabilities of an
        image and its mirror image.
    """
    probabilities = predict(model, test.x)
    right = probabilities.argmax(1) == test.y
    matrix = measures.confusion(test.y, probabilities.argmax(1), probabilities.shape[1])
    result = {"accuracy": float(right.mean())}
    if mirror:
        both = probabilities + predict(model, test.x[:, :, ::-1])
        result["accuracy_flipped_too"] = float((both.argmax(1) == test.y).mean())
    return result | {
        "accuracy_of_class": measures.per_class(matrix).recall.tolist(),
        "calibration_error": measures.calibration(test.y, probabilities).error,
        "accuracy_shifted": {
            str(pixels): accuracy_moved(model, test, pixels) for pixels in SHIFTS
        },
        "accuracy_with_noise": {
            str(spread): accuracy(model, (noisy(test.x, spread), test.y))
            for spread in NOISE
        },
    }


def noisy(images, spread: float) -> np.ndarray:
    """Return images with Gaussian noise of that standard deviation, always the same."""
    noise = np.random.default_rng(0).normal(0, spread, images.shape)
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def size(model) -> dict:
    """Return `parameters`, and `flops` for one image (a multiply-add is two)."""
    import tensorflow as tf

    call = tf.function(lambda images: model(images, training=False))
    one = tf.TensorSpec((1, *model.input_shape[1:]), "uint8")
    graph = call.get_concrete_function(one).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation() | {"output": "none"}
    with console.errors_only("tensorflow"):  # it warns of itself
        flops = profiler.profile(graph, options=options).total_float_ops
    return {"parameters": model.count_params(), "flops": int(flops)}


def inference(model) -> dict:
    """Return how long an image takes, alone and in a batch of 1,000.

    Returns:
        For `"1"` and `"1000"` the median of `microseconds` an image, and its `ratio` to
        that of the reference, `zoo.small_cnn()`, timed in turns in the same run. Each
        is one call of a compiled function.
    """
    import tensorflow as tf

    import zoo

    models = {"own": model, "reference": zoo.small_cnn()}
    calls = {
        name: tf.function(lambda images, it=it: it(images, training=False))
        for name, it in models.items()
    }
    result = {}
    for count in (1, 1000):
        images = {
            name: tf.zeros((count, *it.input_shape[1:]), "uint8")
            for name, it in models.items()
        }
        seconds = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                call(images[name])  # the other's data left the cache
                began = time.perf_counter()
                call(images[name])
                seconds[name].append(time.perf_counter() - began)
        own, reference = (statistics.median(seconds[name]) for name in calls)
        result[str(count)] = {
            "microseconds": 1e6 * own / count,
            "ratio": own / reference,
        }
    return result
