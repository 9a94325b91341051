"""The small real sample of Fashion-MNIST that ships in the package.

`python -c "from zoo.data import sample; sample.make()"` makes it from the whole set.
"""

from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("fashion_mnist_sample.npz")
DIGEST = "a43754e9df75b499006dbf29b6d587693d6bb08e3d051f486b5316e43a706537"
TRAIN, TEST = 5000, 1000
DESCRIPTION = f"{TRAIN:,} training and {TEST:,} test images, every class equally often"
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load():
    """Return ((x, y), (x, y)) for train and test, as `datasets.Examples` has them."""
    with np.load(PATH) as arrays:
        return tuple(
            (arrays[f"x_{split}"], arrays[f"y_{split}"].astype(np.int64))
            for split in ("train", "test")
        )


def make() -> None:
    """Write the sample: of each class the first images in TFDS's shuffled order."""
    from zoo.data import datasets

    splits = datasets.load("fashion_mnist", validation=0)
    parts = {}
    for name, count in (("train", TRAIN), ("test", TEST)):
        x, y = getattr(splits, name)
        first = [np.flatnonzero(y == label)[: count // 10] for label in range(10)]
        index = np.sort(np.concatenate(first))
        parts[f"x_{name}"], parts[f"y_{name}"] = x[index], y[index].astype(np.uint8)
    np.savez_compressed(PATH, **parts)
    train, test = (datasets.Examples(*part) for part in load())
    print(
        f"{PATH}: {PATH.stat().st_size:,} bytes, DIGEST {datasets.digest(train, test)}"
    )
