"""A classifier whose layers compute in float32, for what knows no 16-bit floats."""

import copy
import json

from zoo.export.classifier import Classifier


def in_float32(classifier: Classifier) -> Classifier:
    """Return the classifier, rebuilt in float32 if it computes in 16 bits.

    Under `mixed_bfloat16` and `mixed_float16` the weights themselves are float32, so
    the rebuilt model has the very same ones; it only no longer rounds between the
    layers. LiteRT and ONNX Runtime lack kernels for bfloat16 on a CPU.

    Args:
        classifier: of a functional or sequential model, or of any in float32.

    Raises:
        ValueError: a subclassed model computes in 16 bits; Keras cannot clone it.
    """
    import keras

    model = classifier.model
    if all(layer.compute_dtype == "float32" for layer in _layers(model)):
        return classifier
    rebuilt = copy.copy(classifier)
    rebuilt.model = keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            json.loads(json.dumps(layer.get_config()), object_hook=_float32)
        ),
        recursive=True,
    )
    rebuilt.model.set_weights(model.get_weights())
    return rebuilt


def computes_in_16_bits(model) -> bool:
    """Return whether a layer of a model computes in float16 or bfloat16."""
    kinds = {layer.compute_dtype for layer in _layers(model)}
    return bool(kinds & {"float16", "bfloat16"})


def _layers(model):
    for layer in model.layers:
        yield layer
        yield from _layers(layer) if hasattr(layer, "layers") else ()


def _float32(content: dict) -> dict:
    if content.get("class_name") == "DTypePolicy":
        content["config"]["name"] = "float32"
    return content
