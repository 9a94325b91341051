"""TFDS files on disk -> tf.data, for sets that are larger than memory.

`load` reads what a run evaluates on, and `training` streams the rest: each worker reads
its own part of the files. The batches have the sizes of `pipeline.training`'s; which
images are in them differs.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.console import errors_only, import_keras
from zoo.data import datasets, pipeline, prepared, records, sources
from zoo.data.datasets import Examples, Splits
from zoo.data.pipeline import ALONE, NO_AUGMENTATION, Augmentation, Piece, Share
from zoo.errors import ZooError, integer, number

if TYPE_CHECKING:
    import tensorflow as tf

SAMPLE = 10_000  # training images in memory: as many as the report measures
DECODERS = 4  # images that are decoded at the same time


@dataclass(frozen=True)
class StreamedSplits(Splits):
    """A data set whose training images stay on disk.

    Attributes:
        train: a sample of the training images, 10,000 at most, to measure training
            accuracy on.
        digest: SHA-256 of what TFDS noted down of the files, and of the arrays of
            validation and test. The training images were never read whole: a change
            to them that keeps the sizes does not show.
        folder: where TFDS keeps the set.
        streamed: the number of training images on disk, the sample included.
    """

    folder: Path
    streamed: int

    @property
    def num_train(self) -> int:
        """The number of training images."""
        return self.streamed

    def record(self) -> dict:
        """Return what a run notes down of its data, as JSON has it."""
        return super().record() | {"streamed": True}


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    validation: float = 0.1,
) -> StreamedSplits:
    """Open a prepared data set, and read its validation and test images into memory.

    Validation is the tail of the stored training images: as many as `datasets.load`
    holds out, but not the same ones. TFDS stores examples in a random order; the few
    sets that ask for an order of their own are refused.

    Args:
        name: as in `datasets.load`.
        data_dir: as in `datasets.load`.
        limit: use only the first so many training images, validation included.
        validation: the share of the training images that is held out; above 0 and
            below 1.

    Raises:
        ZooError: (a `ValueError`) the name is unknown, the set is not prepared, or its
            files are not whole. Nothing is downloaded or prepared here.

    Example:
        >>> splits = load("fashion_mnist")  # doctest: +SKIP
        >>> splits.num_train, len(splits.validation.y)  # doctest: +SKIP
        (54000, 6000)
    """
    number("validation", validation, above=0, below=1)
    import_keras()  # TensorFlow, quietly
    with errors_only("absl"):
        folder = datasets.folder(name, data_dir=data_dir)
        if folder is None:
            raise ZooError(
                f"{name} is not prepared, and a stream prepares nothing: run zoo data "
                f"fetch {name} or, where it is larger than memory, tfds build {name}."
            )
        return _load(sources.canonical_name(name, folder), folder, limit, validation)


def training(
    splits: StreamedSplits,
    batch_size: int,
    *,
    seed: int,
    augmentation: Augmentation = NO_AUGMENTATION,
    first_step: int = 0,
    share: Share = ALONE,
) -> "tf.data.Dataset":
    """Return one worker's endless stream of training batches.

    Over all workers every epoch holds each image once. A worker reads the same part of
    the files in every epoch, in an order of its own that only `seed` and the epoch
    decide. Hand it to `fit` with
    `steps_per_epoch=schedule(splits.num_train, batch_size).steps_per_epoch`.

    Args:
        splits: what `load` returned.
        batch_size: the largest number of images in a step, over all workers.
        seed: decides the orders and the augmentation.
        augmentation: what is done to the images.
        first_step: where to begin, counted from the start of the first epoch. What its
            epoch had before is read again, but not decoded.
        share: which part of every batch this worker gets; see
            `zoo.training.distribute.batches`.

    Returns:
        A dataset of `(x, y)`: uint8 `(batch, height, width, channels)` and int64
        `(batch,)`. With several replicas, of a `Piece` for each step and each replica
        of this worker.

    Raises:
        ZooError: a step has fewer images than there are replicas, or the augmentation
            does not fit the images.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    pipeline.check_fits(augmentation, splits.test.x.shape)
    of_workers = _sizes(splits.num_train, batch_size, share)
    start, stop = (int(of_workers[: share.worker + i].sum()) for i in (0, 1))
    sizes = of_workers[share.worker]
    epoch, step = divmod(first_step, len(sizes))
    with errors_only("absl"):
        builder = tfds.builder_from_directory(splits.folder)
        examples = records.shuffled(builder, "train", start, stop, seed=seed)
        decode = _decoder(builder)

    def finished(number, piece):
        if augmentation != NO_AUGMENTATION:
            seeds = [seed, number * share.workers + share.worker]  # this piece's alone
            piece = _augmented(piece, augmentation, seeds)
        if share.replicas == 1:
            return piece
        step = number // share.local % len(sizes)
        return Piece(piece, tf.gather(of_workers.sum(axis=(0, 2)), step))

    pieces = (
        tf.data.Dataset.range(epoch, np.iinfo(np.int64).max)
        .flat_map(examples)
        .skip(sizes[:step].sum())
        .map(decode, num_parallel_calls=DECODERS)
        .batch(32)
        .rebatch(np.roll(sizes, -step, axis=0).ravel())
        .enumerate(first_step * share.local)
        .map(finished)
    )
    return pieces.prefetch(2 * share.local).with_options(pipeline.options())


# --- opening -------------------------------------------------------------------------


def _load(name, folder, limit, validation) -> StreamedSplits:
    cure = f"prepare it again with: zoo data fetch {name} --force"
    builder, test = prepared.builder(folder, str(folder), cure)
    for split in "train", test:
        records.check_files(builder, split, cure)
    if builder.info.disable_shuffling:
        raise ZooError(
            f"{name} is stored in an order of its own, so that its tail is no fair "
            "sample to validate on: load it whole."
        )
    class_names = prepared.class_names(builder)
    size = builder.info.splits["train"].num_examples
    if limit is not None:
        size = min(size, integer("limit", limit, least=2 * len(class_names)))
    num_train = size - round(validation * size)
    if not 0 < num_train < size:
        raise ZooError(
            f"validation must hold out 1 of {size} images at least, and leave 1. "
            f"Received: validation={validation}"
        )
    parts = f"train[:{min(SAMPLE, num_train)}]", f"train[{num_train}:{size}]", test
    train, held_out, test = (
        Examples(*prepared.read(builder, part, cure)) for part in parts
    )
    facts = f"{_facts(builder)} {datasets.digest(held_out, test)}"
    return StreamedSplits(
        name=name,
        train=train,
        validation=held_out,
        test=test,
        class_names=class_names,
        source=f"TensorFlow Datasets in {folder}, streamed",
        digest=hashlib.sha256(facts.encode()).hexdigest(),
        folder=folder,
        streamed=num_train,
    )


def _facts(builder) -> str:
    splits = builder.info.splits.values()
    sizes = [
        (split.name, split.shard_lengths, int(split.num_bytes)) for split in splits
    ]
    return f"{builder.info.full_name} {sorted(sizes)}"


# --- cutting and decoding ------------------------------------------------------------


def _sizes(num_train, batch_size, share) -> np.ndarray:
    """Return the sizes of an epoch's pieces, int64 `(workers, steps, local)`."""
    steps = pipeline.schedule(num_train, batch_size).steps_per_epoch
    batches = np.diff(np.arange(steps + 1) * num_train // steps)
    share.check(batches.min())
    cuts = np.arange(share.replicas + 1) * batches[:, None] // share.replicas
    return np.diff(cuts).reshape(steps, share.local, share.workers).transpose(2, 0, 1)


def _decoder(builder):
    """Return what makes an image and its label of an encoded example."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    image, label = prepared.image_and_label(builder)
    only = tfds.decode.PartialDecoding([image, label])
    features = only.extract_features(builder.info.features)

    def decode(record):
        example = features.deserialize_example(record)
        return example[image], tf.cast(example[label], tf.int64)

    return decode


def _augmented(examples, augmentation, seeds):
    import tensorflow as tf

    images, labels = examples
    draws = tf.random.stateless_uniform([tf.shape(images)[0], 5], seeds)
    margin = [augmentation.shift] * 2
    images = tf.pad(images, [[0, 0], margin, margin, [0, 0]])
    return pipeline.augment(images, augmentation, draws), labels
