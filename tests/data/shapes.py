"""A tiny TFDS data set, to try every source on in a blink.

Importing this module registers `zoo_shapes`: 30 training and 12 test images of 6x6
pixels in 3 classes, from one file, `shapes.npy.gz`.
"""

import gzip
import hashlib
import io
import os
import time

import numpy as np
import tensorflow_datasets as tfds

from zoo.data import datasets, official

NAME = "zoo_shapes"
FILE = "shapes.npy.gz"
TRAIN, TEST = 30, 12
ARRAYS_DIGEST = "a80b808254cc41964c4ce4a010d50aa17056471d437c552c069420fda47ff0d0"


def arrays():
    """Return the 42 images, uint8 (42, 6, 6, 1)."""
    return np.random.default_rng(7).integers(0, 256, (TRAIN + TEST, 6, 6, 1), np.uint8)


def content() -> bytes:
    file = io.BytesIO()
    np.save(file, arrays())
    return file.getvalue()


def write_official_file(folder) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(gzip.compress(content(), mtime=0))


class ZooShapes(tfds.core.GeneratorBasedBuilder):
    """Noise in three classes."""

    VERSION = tfds.core.Version("1.0.0")
    URL = os.environ.get("ZOO_SHAPES_URL", f"http://127.0.0.1:9/{FILE}")

    @property
    def url_infos(self):
        data = gzip.compress(content(), mtime=0)
        checksum = hashlib.sha256(data).hexdigest()
        info = tfds.download.checksums.UrlInfo(len(data), checksum, FILE)
        return {self.URL: info}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(6, 6, 1)),
                    "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        path = dl_manager.download_and_extract({"all": self.URL})["all"]
        images = np.load(path)
        return {
            "train": self._generate_examples(images[:TRAIN]),
            "test": self._generate_examples(images[TRAIN:]),
        }

    def _generate_examples(self, images):
        for index, image in enumerate(images):
            time.sleep(float(os.environ.get("ZOO_SHAPES_SLEEP", 0)))
            yield index, {"image": image, "label": index % 3}


def pin() -> None:
    """Pin the digests of the official file and of the arrays that TFDS makes of it."""
    official.PINNED[f"{NAME}/{FILE}"] = hashlib.sha256(content()).hexdigest()
    official.PINNED[NAME] = ARRAYS_DIGEST


def load(data_dir, **kwargs):
    return datasets.load(NAME, data_dir=data_dir, **kwargs)
