"""A repository whose models take no time to load: what they answer is plain to see."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoo.errors import unknown
from zoo.serving.errors import not_found, overloaded
from zoo.serving.repository import Status
from zoo.serving.servable import Signature


def signature(name, inputs, outputs):
    def specs(of):
        return {key: tf.TensorSpec(shape, dtype, key) for key, (shape, dtype) in of}

    return Signature(name, specs(inputs.items()), specs(outputs.items()), True)


SIGNATURES = {
    "serving_default": signature(
        "serving_default",
        {"images": ((None, 2, 2, 1), tf.uint8)},
        {"sums": ((None,), tf.int64), "means": ((None, 1), tf.float32)},
    ),
    "serve_bytes": signature(
        "serve_bytes",
        {"image_bytes": ((None,), tf.string)},
        {"sizes": ((None,), tf.int64)},
    ),
}


class FakeServable:
    """Answers with sums and means of images, and with the sizes of encoded ones.

    `answers` holds futures that are to be its next answers.
    """

    signatures, certificate, path = SIGNATURES, None, Path("nowhere")

    def __init__(self, name, version):
        self.name, self.version, self.answers = name, version, []

    def submit(self, signature, inputs):
        inputs = self.signatures[signature].check(inputs)
        if self.answers:
            return self.answers.pop()
        future = Future()
        future.set_result(self._outputs(**inputs))
        return future

    def _outputs(self, images=None, image_bytes=None):
        if images is None:
            return {"sizes": np.array([len(item) for item in image_bytes])}
        return {
            "sums": images.sum((1, 2, 3), np.int64),
            "means": images.mean((1, 2), dtype=np.float32),
        }


class FakeRepository:
    """Serves versions 1 and 2 of `things`."""

    def __init__(self):
        self.ready, self.loading = True, False
        self.versions = {n: FakeServable("things", n) for n in (1, 2)}

    def names(self):
        return ["things"] if self.ready else []

    def get(self, name, version=None):
        if self.loading:
            raise overloaded("the models are still loading")
        if name != "things":
            raise not_found(str(unknown("model", name, ["things"])))
        if version is not None and version not in self.versions:
            raise not_found(f"version must be one of 1, 2. Received: {version}.")
        return self.versions[version or 2]

    def status(self, name, version=None):
        self.get(name, version)
        statuses = [
            Status(3, "END", "it is broken"),
            Status(2, "AVAILABLE"),
            Status(1, "AVAILABLE"),
        ]
        return [one for one in statuses if version in (None, one.version)]
