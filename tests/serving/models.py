"""A model whose answers are sums, so that they can be computed by hand."""

from pathlib import Path

import numpy as np
import tensorflow as tf

IMAGES = np.array([[[0, 1], [2, 3]], [[10, 10], [10, 250]]], np.uint8)
TOTALS, MEANS = [6, 280], [1.5, 70.0]  # of the images' pixels


class Sums(tf.Module):
    """Sums and means of images of 2 x 2 pixels; the size and the pixels of files."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 2], tf.uint8, "images")])
    def sums(self, images):
        means = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
        totals = tf.reduce_sum(tf.cast(images, tf.int64), [1, 2])
        return {"totals": totals, "means": means}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def pixels(self, image_bytes):
        def of_one(file):
            image = tf.io.decode_image(file, channels=1, expand_animations=False)
            return tf.size(image)

        return {"pixels": tf.map_fn(of_one, image_bytes, fn_output_signature=tf.int32)}


def save(folder: Path, *versions: int) -> Path:
    """Write the model `sums` in these versions; return the folder."""
    model = Sums()
    signatures = {"serving_default": model.sums, "pixels": model.pixels}
    for version in versions:
        tf.saved_model.save(model, str(folder / "sums" / str(version)), signatures)
    return folder
