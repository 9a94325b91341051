"""Batches are a pure function of (seed, epoch, step)."""

import itertools

import numpy as np
import pytest

from zoo import ZooError
from zoo.data import Examples, pipeline
from zoo.data.pipeline import NO_AUGMENTATION, Augmentation

SIZE, BATCH = 50, 8


@pytest.fixture
def examples():
    """Return 50 images, each filled with its own number, which is its label too."""
    numbers = np.arange(SIZE)
    x = np.broadcast_to(numbers[:, None, None, None], (SIZE, 9, 9, 1)).astype(np.uint8)
    return Examples(x, numbers)


def batches(examples, count, **kwargs):
    stream = pipeline.training(examples, BATCH, **{"seed": 0, **kwargs})
    return list(itertools.islice(stream.as_numpy_iterator(), count))


def labels(pairs):
    return np.concatenate([y for _, y in pairs]).tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 8, 64, 128, 256, 1000])
@pytest.mark.parametrize("size", [1, 20, 37, 999, 45_000, 54_000, 60_000])
def test_schedule(size, batch_size):
    steps, per_execution = pipeline.schedule(size, batch_size)
    assert steps % per_execution == 0
    assert 1 <= per_execution <= 32
    least = -(-size // batch_size)
    assert least <= steps <= max(least * 1.04, least + 1)  # hardly more than needed
    assert steps <= size  # none is empty
    sizes = np.diff([step * size // steps for step in range(steps + 1)])
    assert sizes.max() <= batch_size and sizes.min() >= sizes.max() - 1


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_schedule_refuses(batch_size):
    with pytest.raises(ZooError, match="batch_size must be a positive integer"):
        pipeline.schedule(100, batch_size)
    with pytest.raises(ZooError, match="num_examples must be a positive integer"):
        pipeline.schedule(0, 8)


def test_every_epoch_holds_each_example_once_in_its_own_order(examples):
    steps = pipeline.schedule(SIZE, BATCH).steps_per_epoch
    epochs = [labels(batches(examples, steps, first_step=e * steps)) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(SIZE))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs[0] != list(range(SIZE))


def test_images_go_with_their_labels(examples):
    for x, y in batches(examples, 7):
        assert x.dtype == np.uint8 and y.dtype == np.int64
        assert np.array_equal(x[:, 0, 0, 0], y)


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, Augmentation(True, 2, 3)])
def test_it_goes_on_from_any_step(examples, augmentation):
    whole = batches(examples, 20, seed=5, augmentation=augmentation)
    rest = batches(examples, 7, seed=5, augmentation=augmentation, first_step=13)
    for (x, y), (again_x, again_y) in zip(whole[13:], rest, strict=True):
        assert np.array_equal(x, again_x) and np.array_equal(y, again_y)


def test_the_seed_decides(examples):
    assert labels(batches(examples, 7, seed=1)) != labels(batches(examples, 7, seed=2))
    assert labels(batches(examples, 7, seed=1)) == labels(batches(examples, 7, seed=1))


def pictures(count=200, channels=1):
    """Return 200 different images without a zero in them."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 256, (count, 9, 9, channels), np.uint8)
    return Examples(x, np.arange(count))


def augmented(augmentation, epoch=0, channels=1):
    """Return pairs of an original and what became of it."""
    examples = pictures(channels=channels)
    steps = pipeline.schedule(200, 20).steps_per_epoch
    stream = pipeline.training(
        examples, 20, seed=3, augmentation=augmentation, first_step=epoch * steps
    )
    pairs = []
    for x, y in itertools.islice(stream.as_numpy_iterator(), steps):
        assert x.dtype == np.uint8 and x.shape[1:] == (9, 9, channels)
        pairs += [(examples.x[label], image) for image, label in zip(x, y, strict=True)]
    return pairs


@pytest.mark.parametrize("channels", [1, 3])
def test_flip_mirrors_about_half(channels):
    mirrored = 0
    for original, image in augmented(Augmentation(flip=True), channels=channels):
        if not np.array_equal(image, original):
            assert np.array_equal(image, original[:, ::-1])
            mirrored += 1
    assert 70 <= mirrored <= 130


def shifted(image, down, right):
    """Move an image with zeros coming in, pixel by pixel."""
    result = np.zeros_like(image)
    for row, column in np.ndindex(9, 9):
        if 0 <= row - down < 9 and 0 <= column - right < 9:
            result[row, column] = image[row - down, column - right]
    return result


def test_shift_moves_each_image_by_its_own_offset():
    offsets = list(itertools.product(range(-2, 3), repeat=2))
    seen = set()
    for original, image in augmented(Augmentation(shift=2)):
        fits = [o for o in offsets if np.array_equal(image, shifted(original, *o))]
        assert len(fits) == 1
        seen.update(fits)
    assert seen == set(offsets)


def test_erase_blanks_a_square():
    places = set()
    for original, image in augmented(Augmentation(erase=4)):
        rows, columns = np.nonzero(image[..., 0] == 0)
        assert len(rows) == 16 and np.ptp(rows) == np.ptp(columns) == 3
        assert np.array_equal(image[image > 0], original[image > 0])
        places.add((rows.min(), columns.min()))
    assert len(places) > 25  # of 36


def test_augmentation_differs_from_epoch_to_epoch():
    first, second = (augmented(Augmentation(shift=2), epoch) for epoch in (0, 1))
    by_image = {original.tobytes(): image for original, image in first}
    same = [np.array_equal(by_image[o.tobytes()], image) for o, image in second]
    assert sum(same) < 40


def test_evaluation_is_one_pass_in_order_and_unchanged(examples):
    found = list(pipeline.evaluation(examples, 16).as_numpy_iterator())
    assert labels(found) == list(range(SIZE))
    assert np.array_equal(np.concatenate([x for x, _ in found]), examples.x)


def test_autotuning_is_off(examples):
    for dataset in (
        pipeline.training(examples, 8, seed=0),
        pipeline.evaluation(examples),
    ):
        assert dataset.options().autotune.enabled is False


@pytest.mark.parametrize(
    "augmentation, message",
    [
        (lambda: Augmentation(shift=-1), "shift must be an integer, at least 0"),
        (lambda: Augmentation(erase=-2), "erase must be an integer, at least 0"),
        (lambda: Augmentation(shift=1.5), "shift must be an integer"),
        (lambda: Augmentation(erase=9), "erase must be below 9"),
        (lambda: Augmentation(shift=9), "shift must be below 9"),
    ],
)
def test_impossible_augmentation_is_an_error(augmentation, message, examples):
    with pytest.raises(ZooError, match=message):
        pipeline.training(examples, 8, seed=0, augmentation=augmentation())
