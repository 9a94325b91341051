"""The encoded examples of a TFDS split, shuffled, a window at a time in memory."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from zoo.console import one_line
from zoo.errors import ZooError

if TYPE_CHECKING:
    import tensorflow as tf

WINDOW = 4096  # examples that are shuffled together
SLICES, OPEN = 16, 4  # a part is cut into so many, and so many of them are read at once
_FRAME = 16  # bytes that the TFRecord format adds to an example


def check_files(builder, split: str, cure: str) -> None:
    """Raise a `ZooError` that names the files of a split if they are not whole.

    It looks at their sizes alone.
    """
    info = builder.info.splits[split]
    files = ", ".join(str(path) for path in info.filepaths)
    if builder.info.file_format.value != "tfrecord":
        raise ZooError(
            f"{files} cannot be streamed: prepare {builder.name} as TFRecord files."
        )
    missing = [str(path) for path in info.filepaths if not path.exists()]
    if missing:
        raise ZooError(f"{', '.join(missing)} is missing: {cure}")
    found = sum(path.stat().length for path in info.filepaths)
    written = int(info.num_bytes) + _FRAME * info.num_examples
    if info.num_bytes and found != written:  # 0 where TFDS does not know
        raise ZooError(
            f"{files} is damaged ({found:,} bytes instead of {written:,}): {cure}"
        )


@contextlib.contextmanager
def whole_files() -> Iterator[None]:
    """Turn what TensorFlow says of a damaged file, met while training, into one line.

    Raises:
        ZooError: a file of the data set is damaged.
    """
    import tensorflow as tf

    try:
        yield
    except (tf.errors.DataLossError, tf.errors.FailedPreconditionError) as error:
        early = "expected to contain" in str(error)  # and ended before that
        if not early and not isinstance(error, tf.errors.DataLossError):
            raise
        raise ZooError(
            f"a file of the training images is damaged ({one_line(error)}): prepare "
            "the set again with: zoo data fetch NAME --force"
        ) from error


def shuffled(
    builder, split: str, start: int, stop: int, *, seed: int
) -> Callable[["tf.Tensor"], "tf.data.Dataset"]:
    """Return a function from an epoch's number to the examples in that epoch's order.

    The part is cut into slices along its files. An epoch takes the slices in an order
    of its own, a few at a time in turns, and shuffles what comes within windows: it
    needs memory for two windows, however long the part.

    Args:
        builder: a `tfds.core.DatasetBuilder` of prepared data.
        split: the name of a stored split.
        start: the first example of the part, counted as they are stored.
        stop: the first one after the part.
        seed: decides the orders, and nothing else does: not TensorFlow's global seed.

    Returns:
        A function for `tf.data.Dataset.flat_map`: int64 scalar to a dataset of strings,
        serialized `tf.train.Example`.
    """
    import tensorflow as tf

    files, skips, takes = _slices(builder.info.splits, split, start, stop)

    def read(number):
        records = tf.data.TFRecordDataset(tf.gather(files, number))
        return records.skip(tf.gather(skips, number)).take(tf.gather(takes, number))

    def examples(epoch):
        def shuffle(number, window):
            own = tf.random.experimental.stateless_fold_in([seed, epoch], number)
            return tf.gather(window, _permutation(tf.size(window), own))

        return (
            tf.data.Dataset.from_tensor_slices(_permutation(len(files), [seed, epoch]))
            .interleave(read, cycle_length=OPEN, block_length=16)
            .apply(tf.data.experimental.assert_cardinality(stop - start))
            .batch(WINDOW)
            .enumerate()
            .map(shuffle)
            .prefetch(1)  # the next window is read while this one is used
            .unbatch()
        )

    return examples


def _slices(splits, split, start, stop):
    """Return the file names, skips and takes of the slices of a part."""
    cuts = np.linspace(start, stop, SLICES + 1).astype(int).tolist()
    found = [
        (part.filename, part.skip, part.take)
        for begin, end in itertools.pairwise(cuts)
        for part in splits[f"{split}[{begin}:{end}]"].file_instructions
    ]
    files, skips, takes = zip(*found, strict=True)
    return list(files), np.array(skips, np.int64), np.array(takes, np.int64)


def _permutation(size, seed):
    import tensorflow as tf

    return tf.random.experimental.index_shuffle(tf.range(size), seed, size - 1)
