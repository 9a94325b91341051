"""A trained classifier -> LiteRT and ONNX files, tested before they are there.

Both take raw images (`images`, uint8, any batch size) and return `probabilities`
(float32), so that whoever uses them never meets preprocessing or quantisation.
"""

import contextlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zoo import console
from zoo.errors import ZooError
from zoo.export import file_certificate, versions
from zoo.export.classifier import Classifier, check_images
from zoo.export.float32 import in_float32
from zoo.export.runtimes import FLOAT, INT8, ONNX, need

OPSET = 18  # of ONNX


def litert(
    classifier: Classifier,
    directory: str | Path,
    proof: dict,
    representative: np.ndarray,
) -> Path:
    """Export a classifier as the next version of a LiteRT model, float and int8.

    `model.tflite` computes in float32. `model_int8.tflite` computes in 8-bit integers
    between the same ends, from the standardised pixels to the softmax, as far as LiteRT
    has integer kernels: for all layers of the zoo's models.

    The certificate holds the trained model's answers, which the float file must give;
    those of a model that computes in 16 bits are computed anew in float32, and
    `float32` tells how they differ from the trained model's.

    The int8 file rounds every layer, so it has its own answers under `int8`, and how
    often its class is the trained model's. How integers are rounded depends on the
    processor: what it may differ by is twice what LiteRT's reference kernels and those
    for this processor differ by, and one step of 1/256.

    Args:
        classifier: the trained model.
        directory: `LITERT_MODELS/NAME`; versions are its subfolders `1`, `2`, ...
        proof: its certificate, from `certificate.certify`.
        representative: images like those it was trained on, uint8 `(n, *image_shape)`,
            some hundred: the ranges of the integers are chosen by them.

    Returns:
        The folder of the new version: `model.tflite`, `model_int8.tflite` and
        `certificate.json`.

    Raises:
        ZooError: LiteRT cannot express the model; the files answer otherwise than the
            trained model. Nothing is written then.
    """
    check_images(classifier.model, representative)

    def write(folder):
        with _converting(classifier, "LiteRT"):
            rebuilt = in_float32(classifier)
            function = _function(rebuilt)
            (folder / FLOAT).write_bytes(_tflite(function, rebuilt))
            (folder / INT8).write_bytes(_tflite(function, rebuilt, representative))
        content = file_certificate.of_file(proof, classifier, rebuilt)
        content["int8"] = file_certificate.of_int8(folder / INT8, content)
        file_certificate.seal(folder, content, directory)

    return versions.publish(directory, write)


def half(classifier: Classifier) -> bytes:
    """Return the content of a LiteRT file that stores its weights in 16 bits.

    It computes in float32 and is half as large as `model.tflite`; its probabilities
    differ by about one in a thousand.

    Args:
        classifier: the trained model.

    Raises:
        ZooError: LiteRT cannot express the model.
    """
    with _converting(classifier, "LiteRT"):
        rebuilt = in_float32(classifier)
        return _tflite(_function(rebuilt), rebuilt, in_half=True)


def onnx(classifier: Classifier, directory: str | Path, proof: dict) -> Path:
    """Export a classifier as the next version of an ONNX model, in float32.

    The certificate holds the trained model's answers; of one that computes in 16 bits,
    as `litert` does.

    Args:
        classifier: the trained model.
        directory: `ONNX_MODELS/NAME`; versions are its subfolders `1`, `2`, ...
        proof: its certificate, from `certificate.certify`.

    Returns:
        The folder of the new version: `model.onnx` and `certificate.json`.

    Raises:
        ZooError: `tf2onnx`, `onnx` or `onnxruntime` is missing; ONNX cannot express
            the model; the file answers otherwise than the trained model. Nothing is
            written then.
    """
    need("onnx")

    def write(folder):
        with _converting(classifier, "ONNX"):
            import onnx
            import tf2onnx

            rebuilt = in_float32(classifier)
            function = _function(rebuilt)
            model, _ = tf2onnx.convert.from_function(
                function, input_signature=function.input_signature, opset=OPSET
            )
            for value in (*model.graph.input, *model.graph.output):
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
            onnx.checker.check_model(model)  # what tf2onnx does not know, it leaves
            (folder / ONNX).write_bytes(model.SerializeToString())
        content = file_certificate.of_file(proof, classifier, rebuilt)
        file_certificate.seal(folder, content, directory)

    return versions.publish(directory, write)


def _function(classifier):
    import tensorflow as tf

    images = tf.TensorSpec((None, *classifier.image_shape), tf.uint8, name="images")
    return tf.function(
        lambda images: {"probabilities": classifier.probabilities(images)},
        input_signature=[images],
        autograph=False,
    )


def _tflite(function, classifier, representative=None, in_half=False) -> bytes:
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in classifier.model.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], module
    )
    if in_half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if representative is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None]] for x in representative)
    return converter.convert()


@contextlib.contextmanager
def _converting(classifier, what: str) -> Iterator[None]:
    # Converters write to both streams, from Python and from C++, whatever happens.
    try:
        with (
            _interruptible(),
            console.standard_error_held(),
            contextlib.redirect_stdout(sys.stderr),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    except ZooError:
        raise
    except Exception as error:
        raise ZooError(
            f"{classifier.model.name} cannot be converted to {what} "
            f"({console.one_line(error)}); what the converter wrote stands above."
        ) from error


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at the end if Ctrl-C came and a converter caught it."""
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not callable(before):
        yield
        return
    came = []

    def note(number, frame):
        came.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt
