"""Examples -> tf.data: every batch is a pure function of (seed, epoch, step).

The arrays stay whole in memory; a step gathers its batch by index. That alone makes
a training repeatable, and lets it go on from any step.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zoo.data.datasets import Examples
from zoo.errors import ZooError, integer, number, positive_integer

if TYPE_CHECKING:
    import tensorflow as tf

_MOST_STEPS_PER_EXECUTION = 32


class Schedule(NamedTuple):
    """How an epoch is cut into steps.

    Attributes:
        steps_per_epoch: the batches of an epoch; their sizes differ by one at most.
        steps_per_execution: what `compile` takes: a divisor of `steps_per_epoch`.
    """

    steps_per_epoch: int
    steps_per_execution: int


class Share(NamedTuple):
    """Which part of every batch a worker gets.

    Attributes:
        replicas: over all workers; each gets one piece of a batch.
        workers: the processes that train together.
        worker: this one, from 0.
    """

    replicas: int = 1
    workers: int = 1
    worker: int = 0

    @property
    def local(self) -> int:
        """The replicas of this worker; its replica r gets piece r * workers + worker.

        That is the order in which `tf.distribute` shares a batch.
        """
        return self.replicas // self.workers

    def check(self, batch_size: int) -> None:
        """Raise a `ZooError` if a batch has not an example for every replica."""
        if batch_size < self.replicas:
            raise ZooError(
                f"a batch of {batch_size} cannot be shared by {self.replicas} "
                "replicas: use fewer workers or devices, or a larger --batch-size."
            )


class Piece(NamedTuple):
    """One replica's part of a batch, for a model that `distribute.prepare` prepared.

    Attributes:
        examples: `(x, y)`, as a batch is.
        batch_size: int64, the examples of the whole batch, over all replicas.
    """

    examples: tuple
    batch_size: "tf.Tensor"


ALONE = Share()


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training images; evaluation never sees them.

    Attributes:
        flip: mirror each image or not, left to right, with equal probability.
        shift: move each image by up to so many pixels each way; zeros come in.
        erase: blank a square of so many pixels a side, at a random place of each image
            (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, with a square
            of zeros).
    """

    flip: bool = False
    shift: int = 0
    erase: int = 0

    def __post_init__(self):
        integer("shift", self.shift, least=0)
        integer("erase", self.erase, least=0)


NO_AUGMENTATION = Augmentation()


def schedule(num_examples: int, batch_size: int) -> Schedule:
    """Cut an epoch into steps of at most `batch_size` examples.

    Running several steps in one call of TensorFlow is what makes small models fast,
    and Keras wants whole executions: the number of steps is rounded up to a multiple
    of 8 to 32, the largest that adds 1 % of steps at most, else the one that adds the
    fewest. The examples are spread evenly over the steps.

    Example:
        >>> schedule(54_000, 128)
        Schedule(steps_per_epoch=425, steps_per_execution=25)
    """
    positive_integer("num_examples", num_examples)
    positive_integer("batch_size", batch_size)
    steps = -(-num_examples // batch_size)
    choices = [
        Schedule(-(-steps // per_execution) * per_execution, per_execution)
        for per_execution in range(min(8, steps), _MOST_STEPS_PER_EXECUTION + 1)
    ]
    # A step needs an example.
    choices = [choice for choice in choices if choice.steps_per_epoch <= num_examples]
    choices = choices or [Schedule(steps, 1)]
    cheap = [choice for choice in choices if choice.steps_per_epoch <= 1.01 * steps]
    return cheap[-1] if cheap else min(choices, key=lambda c: (c[0], -c[1]))


def options() -> "tf.data.Options":
    """Return the options that every pipeline of the zoo uses.

    Autotuning is off: its thread sleeps for ever longer times, and the end of an epoch
    may have to wait for it. `benchmarks/pipeline.py` shows that in its slowest rounds.
    """
    import tensorflow as tf

    result = tf.data.Options()
    result.autotune.enabled = False
    return result


def training(
    examples: Examples,
    batch_size: int,
    *,
    seed: int,
    augmentation: Augmentation = NO_AUGMENTATION,
    first_step: int = 0,
    share: Share = ALONE,
) -> "tf.data.Dataset":
    """Return the endless stream of training batches, or a worker's share of it.

    Every epoch holds each example once, in an order of its own. Hand it to `fit` with
    `steps_per_epoch=schedule(...).steps_per_epoch`.

    Args:
        examples: what to learn from.
        batch_size: the largest number of examples in a batch.
        seed: decides the orders and the augmentation.
        augmentation: what is done to the images.
        first_step: where to begin, counted from the start of the first epoch.
        share: which part of every batch this worker gets; see
            `zoo.training.distribute.batches`.

    Returns:
        A dataset of `(x, y)`: uint8 `(batch, height, width, channels)` and int64
        `(batch,)`. With several replicas, of a `Piece` for each step and each replica
        of this worker.

    Raises:
        ZooError: the augmentation does not fit the images, or a batch has fewer
            examples than there are replicas.
    """
    import tensorflow as tf

    steps = schedule(len(examples.y), batch_size).steps_per_epoch
    check_fits(augmentation, examples.x.shape)
    margin = augmentation.shift
    x = np.pad(examples.x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    x, y = tf.constant(x), tf.constant(examples.y)
    share.check(len(examples.y) // steps)

    def piece(number):
        step, local = number // share.local, number % share.local
        batch = _batch(x, y, seed, step, steps, augmentation, share, local)
        return Piece(*batch) if share.replicas > 1 else batch[0]

    numbers = tf.data.Dataset.counter(first_step * share.local)
    pieces = numbers.map(piece).prefetch(2 * share.local)
    return pieces.with_options(options())


def evaluation(examples: Examples, batch_size: int = 500) -> "tf.data.Dataset":
    """Return one pass over the examples, in order and as they are.

    Returns:
        A dataset of `(x, y)`: uint8 `(batch, height, width, channels)` and int64
        `(batch,)`; the last batch may be smaller.
    """
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(tuple(examples)).batch(batch_size)
    return batches.prefetch(2).with_options(options())


def _batch(x, y, seed, global_step, steps, augmentation, share, local):
    """Return a replica's `(images, labels)`, and the size of the whole batch."""
    import tensorflow as tf

    size = len(y)
    epoch, step = global_step // steps, global_step % steps
    start, end = step * size // steps, (step + 1) * size // steps
    number = local * share.workers + share.worker
    first, last = ((end - start) * k // share.replicas for k in (number, number + 1))
    positions = tf.range(start + first, start + last)
    index = tf.random.experimental.index_shuffle(positions, [seed, epoch], size - 1)
    images = tf.gather(x, index)
    if augmentation != NO_AUGMENTATION:
        # One draw for all: a row for each image of the batch, a column each decision.
        shape = [end - start, 5]
        draws = tf.random.stateless_uniform(shape, [seed, global_step])
        images = augment(images, augmentation, draws[first:last])
    return (images, tf.gather(y, index)), end - start


def augment(images, augmentation: Augmentation, draws):
    """Return the images, changed as the draws say.

    Args:
        images: uint8 `(n, height, width, channels)`, with `augmentation.shift` pixels
            of padding on every side, which the result has not.
        augmentation: what is done.
        draws: float32 `(n, 5)`, at least 0 and below 1: flip, shift down, shift to
            the right, top and left of what is erased.
    """
    import tensorflow as tf

    margin = augmentation.shift
    padded_width, channels = images.shape[2:]
    height, width = images.shape[1] - 2 * margin, padded_width - 2 * margin
    if augmentation.flip or augmentation.shift:
        # Which pixel of the padded image each pixel is: one gather for both.
        offsets = tf.cast(draws[:, 1:3] * (2 * margin + 1), tf.int32)
        rows = offsets[:, :1] + tf.range(height)
        columns = tf.range(width)
        if augmentation.flip:
            columns = tf.where(draws[:, :1] < 0.5, width - 1 - columns, columns)
        columns += offsets[:, 1:]
        index = rows[:, :, None] * padded_width + columns[:, None, :]
        pixels = tf.reshape(images, [-1, images.shape[1] * padded_width, channels])
        images = tf.gather(pixels, index, axis=1, batch_dims=1)
    if augmentation.erase:
        side = augmentation.erase
        top = tf.cast(draws[:, 3:4] * (height - side + 1), tf.int32)
        left = tf.cast(draws[:, 4:5] * (width - side + 1), tf.int32)
        in_rows = _within(tf.range(height), top, side)[:, :, None, None]
        in_columns = _within(tf.range(width), left, side)[:, None, :, None]
        images = tf.where(in_rows & in_columns, tf.zeros((), images.dtype), images)
    return images


def _within(positions, start, side):
    return (positions >= start) & (positions < start + side)


def check_fits(augmentation: Augmentation, shape: tuple[int, ...]) -> None:
    """Raise a `ZooError` if images `(n, height, width, channels)` are too small."""
    smallest = min(shape[1:3])
    number("shift", augmentation.shift, below=smallest)
    number("erase", augmentation.erase, below=smallest)
