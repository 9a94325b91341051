"""Warm-up requests of a version, which TensorFlow Serving sends itself, too."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoo.console import one_line
from zoo.errors import ZooError
from zoo.export.warm_up import PLACE
from zoo.serving.signature import DEFAULT

MOST_REQUESTS = 1000  # TensorFlow Serving refuses a model with more


def requests(version: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Give the signature and the inputs of each warm-up request of a version.

    Args:
        version: its folder; without the file there are none.

    Raises:
        ZooError: the file is damaged, or has what is no request for a prediction.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    file = version / PLACE
    if not file.is_file():
        return
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(file)), start=1):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            kind = log.WhichOneof("log_type")
            if kind != "predict_log" or number > MOST_REQUESTS:
                raise ValueError(f"request {number} is a {kind}")
            asked = log.predict_log.request
            inputs = {name: tf.make_ndarray(t) for name, t in asked.inputs.items()}
            yield asked.model_spec.signature_name or DEFAULT, inputs
    except Exception as error:  # of TensorFlow, Protobuf and NumPy
        raise ZooError(
            f"{PLACE} must be a TFRecord of at most {MOST_REQUESTS} PredictionLog with "
            f"a predict_log. Received: {one_line(error)}"
        ) from None
