"""What TensorFlow Datasets prepared in a folder -> arrays."""

from pathlib import Path

import numpy as np

from zoo.console import one_line, progress_bar
from zoo.errors import ZooError


def builder(folder: Path, what: str, cure: str):
    """Return the TFDS builder of a folder, and the name of its test split.

    Args:
        folder: where TFDS prepared the set.
        what: it is, for messages.
        cure: what to do if it is damaged.

    Raises:
        ZooError: it is damaged, or has other splits than zoo needs.
    """
    import tensorflow_datasets as tfds

    try:
        result = tfds.builder_from_directory(folder)
    except Exception as error:
        raise ZooError(f"{what} is damaged ({one_line(error)}): {cure}") from None
    names = result.info.splits
    test = "test" if "test" in names else "validation"
    if "train" not in names or test not in names:
        raise ZooError(
            f"{result.name} has the splits {', '.join(names)}; zoo needs train, and "
            "test or validation: choose another data set."
        )
    return result, test


def class_names(builder) -> tuple[str, ...]:
    """Return what the labels stand for."""
    _, label = image_and_label(builder)
    return tuple(builder.info.features[label].names)


def image_and_label(builder) -> tuple[str, str]:
    """Return the names of the features that hold the image and its label.

    Raises:
        ZooError: it has other features than zoo needs.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    image, label = builder.info.supervised_keys or ("image", "label")
    if not (
        {image, label} <= set(features)
        and isinstance(features[image], tfds.features.Image)
        and isinstance(features[label], tfds.features.ClassLabel)
        and None not in features[image].shape
        and features[image].np_dtype == np.uint8
    ):
        raise ZooError(
            f"{builder.name} is not a set of 8-bit images of one size with one label "
            f"each, as zoo needs it: its features are {', '.join(features)}."
        )
    return image, label


def read(builder, split: str, cure: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the examples of a split, in the order in which they are stored.

    Args:
        builder: of a prepared set.
        split: its name, or a part of it such as `"train[:100]"`.
        cure: what to do if a file is damaged.

    Returns:
        Images uint8 `(n, height, width, channels)` and labels int64 `(n,)`.

    Raises:
        ZooError: a file is damaged.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from zoo.data.pipeline import options

    image, label = image_and_label(builder)
    decoders = tfds.decode.PartialDecoding([image, label])
    records = builder.as_dataset(
        split=split,
        decoders=decoders,
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    )
    size = builder.info.splits[split].num_examples
    x = np.empty((size, *builder.info.features[image].shape), np.uint8)
    y = np.empty(size, np.int64)
    done = 0
    try:
        with progress_bar(f"Reading {split}", "images", size) as bar:
            for batch in records.batch(500).prefetch(2).with_options(options()):
                count = len(batch[label])
                x[done : done + count] = batch[image]
                y[done : done + count] = batch[label]
                done += count
                bar.update(count)
        if done != size:
            raise ValueError(f"{done} examples instead of {size}")
    except (tf.errors.OpError, ValueError) as error:
        names = builder.info.splits[split].filenames
        files = ", ".join(str(builder.data_path / name) for name in sorted(names))
        raise ZooError(f"{files} is damaged ({one_line(error)}): {cure}") from None
    return x, y
