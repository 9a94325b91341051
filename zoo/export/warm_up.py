"""Requests that TensorFlow Serving sends itself before it says that it is ready."""

from pathlib import Path

from zoo.export import replay

PLACE = "assets.extra/tf_serving_warmup_requests"
_ROWS = 4  # of each golden request: a warm-up needs few


def write(version: Path, certificate: dict) -> None:
    """Write a warm-up request for each signature of a SavedModel.

    Args:
        version: its folder.
        certificate: what it was asked already.

    Reference:
        TensorFlow Serving, "SavedModel Warmup": a TFRecord of `PredictionLog`.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(version / PLACE)) as records:
        for request in certificate["requests"]:
            log = prediction_log_pb2.PredictionLog()
            asked = log.predict_log.request
            asked.model_spec.name = certificate["name"]
            asked.model_spec.signature_name = request["signature"]
            for name, values in replay.decode(request["inputs"]).items():
                asked.inputs[name].CopyFrom(tf.make_tensor_proto(values[:_ROWS]))
            records.write(log.SerializeToString())
