"""The server of `zoo serve`, but a request at a time through Keras's `model.predict`.

    python benchmarks/unbatched.py MODEL.keras PORT

What `benchmarks/serving.py` compares the batching server with: the same application,
the same uvicorn, the same checks of what comes in.
"""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

from zoo import console

console.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from zoo.serving import app, running  # noqa: E402
from zoo.serving.metrics import Metrics  # noqa: E402
from zoo.serving.servable import Signature  # noqa: E402


class Unbatched:
    """A repository and its one version, of one model."""

    name, version, ready, loading = "cnn", 1, True, False

    def __init__(self, model):
        self._model, self._thread = model, ThreadPoolExecutor(1)
        images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, "images")
        outputs = {
            "probabilities": tf.TensorSpec(model.output_shape, tf.float32),
            "class_ids": tf.TensorSpec((None,), tf.int64),
        }
        signature = Signature("serving_default", {"images": images}, outputs, True)
        self.signatures = {signature.name: signature}

    def get(self, name, version=None):
        """Return the version."""
        return self

    def submit(self, signature, inputs):
        """Have the inputs predicted after all that came before."""
        inputs = self.signatures[signature].check(inputs)
        return self._thread.submit(self._predict, **inputs)

    def _predict(self, images):
        probabilities = self._model.predict(images, verbose=0)
        return {
            "probabilities": probabilities,
            "class_ids": np.argmax(probabilities, axis=1),
        }


def main(path: str, port: str) -> None:
    """Serve until the process is ended."""
    unbatched = Unbatched(keras.models.load_model(path))
    application = app.create(unbatched, Metrics())
    listener = socket.create_server(("127.0.0.1", int(port)))
    running.Server(running.config(application)).run([listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
