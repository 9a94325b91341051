"""Streamed batches hold what the files hold: each image once an epoch, over all."""

import itertools
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from zoo import ZooError, data
from zoo.data import pipeline, records, stream
from zoo.data.pipeline import ALONE, NO_AUGMENTATION, Augmentation, Share

NAME = "zoo_numbers"
TRAIN, TEST, SHARDS, BATCH = 331, 12, 5, 16
HELD_OUT = 33  # a tenth of 331, rounded
STEPS = pipeline.schedule(TRAIN - HELD_OUT, BATCH).steps_per_epoch


def picture(number):
    """Return an image that no other number and no mirroring or moving gives."""
    image = np.random.default_rng(number).integers(1, 256, (6, 6, 1), np.uint8)
    image[2, 2] = 1 + number % 251
    return image


class ZooNumbers(tfds.core.GeneratorBasedBuilder):
    """Noise that tells its number, in two classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(6, 6, 1)),
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                    "unused": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(0, TRAIN),
            "test": self._generate_examples(TRAIN, TEST),
        }

    def _generate_examples(self, first, count):
        for n in range(first, first + count):
            yield n, {"image": picture(n), "label": n % 2, "unused": f"number {n}"}


NUMBERS = {picture(n).tobytes(): n for n in range(TRAIN + TEST)}


def prepare(data_dir, shards=SHARDS):
    config = tfds.download.DownloadConfig(num_shards=shards)
    builder = tfds.builder(NAME, data_dir=data_dir)
    tfds.disable_progress_bar()
    builder.download_and_prepare(download_config=config)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return a TFDS data directory with the set in five files a split."""
    data_dir = tmp_path_factory.mktemp("stored")
    prepare(data_dir)
    return data_dir


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Let an epoch have several windows, the last one smaller."""
    monkeypatch.setattr(records, "WINDOW", 40)


@pytest.fixture
def copied(stored, tmp_path):
    """Return a data directory of one's own, and the training files in it."""
    shutil.copytree(stored, tmp_path / "data")
    files = sorted((tmp_path / "data").rglob("*train.tfrecord*"))
    assert len(files) == SHARDS
    return tmp_path / "data", files


def load(data_dir, **kwargs):
    return stream.load(NAME, data_dir=data_dir, **kwargs)


def numbers(images):
    return [NUMBERS[image.tobytes()] for image in images]


def batches(splits, count, share=ALONE, batch_size=BATCH, **kwargs):
    dataset = stream.training(
        splits, batch_size, **{"seed": 0, "share": share, **kwargs}
    )
    elements = itertools.islice(dataset.as_numpy_iterator(), count * share.local)
    return [getattr(element, "examples", element) for element in elements]


def order(splits, count=STEPS, **kwargs):
    return [n for x, _ in batches(splits, count, **kwargs) for n in numbers(x)]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_image_once_an_epoch_over_all_workers(stored, workers, devices):
    splits = load(stored)
    replicas = workers * devices
    seen = []
    for worker in range(workers):
        found = batches(splits, 2 * STEPS, Share(replicas, workers, worker))
        sizes = [len(y) for _, y in found]
        assert sizes == 2 * sizes[: len(sizes) // 2]
        expected = []
        for step in range(STEPS):
            size = (step + 1) * 298 // STEPS - step * 298 // STEPS
            for device in range(devices):
                piece = device * workers + worker
                expected.append(
                    (piece + 1) * size // replicas - piece * size // replicas
                )
        assert sizes[: len(expected)] == expected
        for x, y in found:
            assert x.dtype == np.uint8 and y.dtype == np.int64
            assert y.tolist() == [n % 2 for n in numbers(x)]
        seen.append([numbers(x) for x, _ in found])
    for epoch in range(2):
        part = slice(epoch * STEPS * devices, (epoch + 1) * STEPS * devices)
        trained = [n for worker in seen for piece in worker[part] for n in piece]
        assert sorted(trained + numbers(splits.validation.x)) == list(range(TRAIN))


def test_a_piece_knows_the_size_of_its_batch(stored):
    splits, totals = load(stored), np.zeros(2 * STEPS, int)
    for worker in range(2):
        dataset = stream.training(
            splits, BATCH, seed=0, first_step=5, share=Share(4, 2, worker)
        )
        for number, piece in enumerate(dataset.take(4 * STEPS).as_numpy_iterator()):
            totals[number // 2] += len(piece.examples[1])
            step = (5 + number // 2) % STEPS
            expected = (step + 1) * 298 // STEPS - step * 298 // STEPS
            assert piece.batch_size == expected and piece.batch_size.dtype == np.int64
    assert set(totals) == {15, 16}


def test_the_order_is_that_of_the_seed_and_the_epoch_alone(stored):
    splits = load(stored)
    first = order(splits, count=2 * STEPS, seed=1)
    half = len(first) // 2
    keras.utils.set_random_seed(9)
    assert order(splits, count=2 * STEPS, seed=1) == first
    assert first[:half] != first[half:]
    assert order(splits, seed=2) != first[:half]


def test_slices_come_in_an_order_of_their_own(stored, monkeypatch):
    monkeypatch.setattr(records, "WINDOW", 1)
    monkeypatch.setattr(records, "OPEN", 1)
    splits = load(stored)
    as_stored = numbers(splits.train.x)  # not validation, and fewer than the sample
    starts = {i * 298 // 16 for i in range(16)}
    starts |= {round(TRAIN * i / SHARDS) for i in range(SHARDS)}  # where files begin
    found = [as_stored.index(n) for n in order(splits, count=2 * STEPS)]
    begins = []
    for epoch in (found[:298], found[298:]):
        jumps = [b for a, b in itertools.pairwise(epoch) if b != a + 1]
        assert len(jumps) > 10 and set(jumps) <= starts
        begins.append(jumps)
    assert begins[0] != begins[1]


def test_memory_holds_windows_not_the_set(tmp_path, monkeypatch):
    """Images leave within the window they came in; what is behind it is not read."""
    monkeypatch.setattr(records, "WINDOW", 8)
    monkeypatch.setattr(records, "SLICES", 1)
    prepare(tmp_path, shards=1)
    splits = load(tmp_path)
    (file,) = tmp_path.rglob("*train.tfrecord*")
    as_stored = numbers(splits.train.x)
    first = order(splits, count=2)
    assert first[:8] != as_stored[:8]
    for window in (slice(0, 8), slice(8, 16)):
        assert sorted(first[window]) == sorted(as_stored[window])
    for another in (order(splits, 2, seed=1), order(splits, 2, first_step=STEPS)):
        assert another[:8] != first[:8] and sorted(another[:8]) == sorted(first[:8])
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert order(splits, count=2) == first
    cure = "a file of the training images is damaged .* zoo data fetch NAME --force"
    with pytest.raises(ZooError, match=cure), records.whole_files():
        order(splits)


def test_a_worker_reads_only_its_part(copied):
    data_dir, files = copied
    splits = load(data_dir)
    shares = [Share(2, 2, worker) for worker in (0, 1)]
    expected = order(splits, share=shares[0])
    for file in files[-2:]:
        file.unlink()
    assert order(splits, share=shares[0]) == expected
    with pytest.raises(tf.errors.NotFoundError):
        order(splits, share=shares[1])


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, Augmentation(True, 1, 2)])
@pytest.mark.parametrize("share", [ALONE, Share(4, 2, 1)])
@pytest.mark.parametrize("first_step", [5, STEPS - 1, STEPS, 2 * STEPS + 3])
def test_it_goes_on_from_any_step(stored, augmentation, share, first_step):
    splits = load(stored)
    how = {"share": share, "augmentation": augmentation, "seed": 5}
    whole = batches(splits, first_step + STEPS, **how)
    rest = batches(splits, STEPS, first_step=first_step, **how)
    for (x, y), (again_x, again_y) in zip(whole[-len(rest) :], rest, strict=True):
        assert np.array_equal(x, again_x) and np.array_equal(y, again_y)


def moved(image, down, right):
    rows, columns = np.arange(6) - down, np.arange(6) - right
    inside = np.outer((0 <= rows) & (rows < 6), (0 <= columns) & (columns < 6))
    return image[rows.clip(0, 5)][:, columns.clip(0, 5)] * inside[..., None]


def test_images_are_augmented_each_in_its_own_way(stored):
    splits = load(stored)
    share = Share(2, 1, 0)
    plain = batches(splits, STEPS, share=share)
    changed = batches(
        splits, STEPS, share=share, augmentation=Augmentation(flip=True, shift=1)
    )
    ways = list(itertools.product((1, -1), (-1, 0, 1), (-1, 0, 1)))
    found = []
    for (x, _), (again, _) in zip(plain, changed, strict=True):
        for image, result in zip(x, again, strict=True):
            fits = [
                way
                for way in ways
                if np.array_equal(moved(image[:, :: way[0]], *way[1:]), result)
            ]
            assert len(fits) == 1
            found += fits
    assert set(found) == set(ways)
    pieces = np.split(np.array(found), np.cumsum([len(y) for _, y in plain])[:-1])
    assert not np.array_equal(pieces[0][:7], pieces[1][:7])  # replicas of one step


def test_it_works_in_fit_like_the_pipeline(stored):
    splits = load(stored)
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(2, "softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(
        stream.training(splits, BATCH, seed=0),
        steps_per_epoch=STEPS,
        epochs=2,
        validation_data=pipeline.evaluation(splits.validation),
        shuffle=False,
        verbose=0,
    )
    assert model.optimizer.iterations.numpy() == 2 * STEPS


def test_autotuning_is_off(stored):
    dataset = stream.training(load(stored), BATCH, seed=0)
    assert dataset.options().autotune.enabled is False


def test_what_is_held_in_memory(stored, monkeypatch):
    monkeypatch.setattr(stream, "SAMPLE", 50)
    splits = load(stored)
    whole = data.load(NAME, data_dir=stored)
    assert splits.num_train == len(whole.train.y) == TRAIN - HELD_OUT
    assert len(splits.validation.y) == len(whole.validation.y) == HELD_OUT
    assert np.array_equal(splits.test.x, whole.test.x)
    assert np.array_equal(splits.test.y, whole.test.y)
    assert splits.class_names == whole.class_names and splits.name == NAME
    sample = numbers(splits.train.x)
    assert len(set(sample)) == 50
    assert set(sample) <= set(order(splits))
    assert [n % 2 for n in sample] == splits.train.y.tolist()
    record = splits.record()
    assert record["streamed"] is True and record["digest"] == splits.digest
    assert (record["train"], record["validation"], record["test"]) == (298, 33, 12)
    assert "298 training, 33 validation, 12 test images" in str(splits)
    assert str(splits).endswith("streamed")


def test_limit(stored):
    splits = load(stored, limit=100, validation=0.2)
    assert (splits.num_train, len(splits.validation.y)) == (80, 20)
    trained = order(splits, count=pipeline.schedule(80, BATCH).steps_per_epoch)
    used = sorted(trained + numbers(splits.validation.x))
    assert len(set(used)) == 100
    assert load(stored, limit=9999).num_train == TRAIN - HELD_OUT


def test_the_digest_tells_preparations_apart(stored, tmp_path):
    assert load(stored).digest == load(stored).digest
    prepare(tmp_path, shards=2)  # the same images in other files: other batches
    assert load(tmp_path).digest != load(stored).digest
    assert load(stored, validation=0.2).digest != load(stored).digest


def test_a_file_that_ends_early_is_not_taken_for_the_whole(copied):
    data_dir, files = copied
    splits = load(data_dir)
    kept = list(tf.data.TFRecordDataset(files[0]).as_numpy_iterator())[:-1]
    with tf.io.TFRecordWriter(str(files[0])) as writer:
        for record in kept:
            writer.write(record)
    early = "is damaged .*expected to contain 298 elements"
    with pytest.raises(ZooError, match=early), records.whole_files():
        order(splits)


def test_damaged_files_are_found_before_the_training(copied):
    data_dir, files = copied
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-1])
    with pytest.raises(ZooError, match=f"{files[0].name}.* bytes instead of .*--force"):
        load(data_dir)
    files[0].unlink()
    with pytest.raises(ZooError, match=f"{files[0].name} is missing.*--force"):
        load(data_dir)
    (files[0].parent / "dataset_info.json").write_text("{")
    with pytest.raises(ZooError, match="is damaged.*--force"):
        load(data_dir)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"name": "zoo_numbrs"}, "unknown data set 'zoo_numbrs'.*'zoo_numbers'"),
        (
            {"name": "mnist"},
            "mnist is not prepared.* zoo data fetch mnist .*tfds build",
        ),
        ({"validation": 0}, "validation must be above 0 and below 1"),
        ({"validation": 0.001}, "validation must hold out 1 of 331 images"),
        ({"limit": 3}, "limit must be an integer, at least 4"),
    ],
)
def test_bad_requests(stored, asked, message):
    with pytest.raises(ZooError, match=message) as caught:
        stream.load(**{"name": NAME, "data_dir": stored, **asked})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"share": Share(300, 300, 0)}, "cannot be shared by 300 replicas"),
        ({"share": Share(16, 2, 0)}, "a batch of 15 cannot be shared by 16"),
        ({"augmentation": Augmentation(shift=6)}, "shift must be below 6"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
    ],
)
def test_impossible_batches(stored, asked, message):
    with pytest.raises(ZooError, match=message):
        batches(load(stored), 1, **asked)


@pytest.mark.parametrize(
    "noted, instead, message",
    [
        ('"fileFormat": "tfrecord"', '"fileFormat": "riegeli"', "as TFRecord files"),
        ('"name": "test"', '"name": "extra"', "has the splits train, extra; zoo needs"),
        ("{", '{"disableShuffling": true,', "stored in an order of its own"),
    ],
)
def test_sets_that_cannot_be_streamed(copied, noted, instead, message):
    data_dir, files = copied
    info = files[0].parent / "dataset_info.json"
    assert noted in info.read_text()
    info.write_text(info.read_text().replace(noted, instead, 1))
    with pytest.raises(ZooError, match=message):
        load(data_dir)
