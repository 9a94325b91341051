"""A SavedModel of a few numbers, for tests of what serves it."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from zoo.export import replay
from zoo.export.warm_up import PLACE


class Toy(tf.Module):
    """Multiplies by a weight; each signature is of another kind."""

    def __init__(self, weight: float):
        self.weight = tf.Variable(weight)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def scale(self, x):
        return {"y": self.weight * x, "sums": tf.reduce_sum(self.weight * x, 1)}

    @tf.function(
        input_signature=[
            tf.TensorSpec((None,), tf.int64, name="a"),
            tf.TensorSpec((None, None), tf.int64, name="b"),
        ]
    )
    def add(self, a, b):
        return {"sums": a[:, None] + b}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="texts")])
    def numbers(self, texts):
        return {"numbers": tf.strings.to_number(texts)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def mean(self, x):
        return {"mean": self.weight * tf.reduce_mean(x)}


def save(version: Path, weight: float = 2.0) -> Path:
    """Write the toy as a version that can be served."""
    toy = Toy(weight)
    functions = {"serving_default": toy.scale, "add": toy.add}
    functions |= {"numbers": toy.numbers, "mean": toy.mean}
    tf.saved_model.save(toy, str(version), signatures=functions)
    return version


def certify(version: Path, weight: float = 2.0) -> None:
    """Write a certificate by which it multiplies by `weight`."""
    x = np.array([[1, 2], [3, 4]], np.float32)
    outputs = {"y": weight * x, "sums": (weight * x).sum(1)}
    encoded = [
        {name: replay.encode(array) for name, array in arrays.items()}
        for arrays in ({"x": x}, outputs)
    ]
    request = dict(zip(("inputs", "outputs"), encoded, strict=True))
    certificate = {
        "certificate": 1,
        "model": {"weights": "..."},
        "accuracy": None,
        "tolerance": 1e-6,
        "files": replay.file_digests(version),
        "requests": [{"signature": "serving_default", **request}],
    }
    path = version / replay.CERTIFICATE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(certificate), encoding="utf8")


REQUESTS = (
    ("serving_default", {"x": np.array([[1, 2], [3, 4]], np.float32)}),
    ("add", {"a": np.arange(2), "b": np.arange(4).reshape(2, 2)}),
    ("numbers", {"texts": [b"1", b"2"]}),
)


def warm_up(version: Path, *requests: tuple[str, dict]) -> None:
    """Write warm-up requests: signatures and inputs; by which rows are separate."""
    path, requests = version / PLACE, requests or REQUESTS
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as records:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            asked = log.predict_log.request
            asked.model_spec.signature_name = signature
            for name, array in inputs.items():
                asked.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            records.write(log.SerializeToString())
