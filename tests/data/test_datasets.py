"""Loading, cutting and checking data sets."""

import gzip
import hashlib
import random

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data import shapes
from zoo import ZooError, data
from zoo.data import datasets, official, sample, sources


@pytest.fixture
def mirror(tmp_path):
    """Return a mirror folder that holds the tiny data set's official file."""
    shapes.write_official_file(tmp_path / "mirror" / shapes.NAME)
    return tmp_path / "mirror"


@pytest.fixture
def pinned(monkeypatch):
    monkeypatch.setattr(official, "PINNED", dict(official.PINNED))
    shapes.pin()


def test_any_tfds_name_works(tmp_path, mirror):
    splits = shapes.load(tmp_path, mirror=mirror, validation=0.2)
    assert splits.name == shapes.NAME
    assert splits.class_names == ("a", "b", "c")
    assert splits.train.x.shape == (24, 6, 6, 1) and splits.train.x.dtype == np.uint8
    assert splits.train.y.shape == (24,) and splits.train.y.dtype == np.int64
    assert len(splits.validation.y) == 6 and len(splits.test.y) == shapes.TEST
    # Every image is the one that the file has, with its own label, exactly once.
    found = {}
    for part in (splits.train, splits.validation, splits.test):
        found.update({x.tobytes(): y for x, y in zip(*part, strict=True)})
    numbered = [*range(shapes.TRAIN), *range(shapes.TEST)]
    expected = zip(shapes.arrays(), numbered, strict=True)
    assert found == {image.tobytes(): number % 3 for image, number in expected}
    assert str(mirror) in splits.source


def test_the_second_call_needs_no_source(tmp_path, mirror, monkeypatch, capsys):
    first = shapes.load(tmp_path, mirror=mirror)
    monkeypatch.setattr(sources, "_SOURCES", ())
    capsys.readouterr()
    second = shapes.load(tmp_path)
    assert second.digest == first.digest
    assert capsys.readouterr().err == ""
    assert data.folder(shapes.NAME, data_dir=tmp_path).parent.name == shapes.NAME


def test_other_spellings_of_a_name_are_the_same_set(tmp_path, mirror, pinned):
    for name in ("ZooShapes", f"{shapes.NAME}:1.0.0"):
        splits = data.load(name, data_dir=tmp_path, mirror=mirror)
        assert splits.name == shapes.NAME
    official.PINNED[shapes.NAME] = "0" * 64
    with pytest.raises(ZooError, match="does not hold the official data"):
        data.load("ZooShapes", data_dir=tmp_path)


def test_the_version_that_is_asked_for_is_the_one_that_is_loaded(
    tmp_path, mirror, monkeypatch
):
    version = tfds.core.Version("0.9.0")
    monkeypatch.setattr(shapes.ZooShapes, "SUPPORTED_VERSIONS", [version])
    with pytest.raises(ZooError, match="0.9.0|version"):  # TFDS prepares only 1.0.0
        data.load(f"{shapes.NAME}:0.9.0", data_dir=tmp_path, mirror=mirror)
    assert data.folder(shapes.NAME, data_dir=tmp_path) is None


def test_a_stale_mirror_does_not_matter_once_prepared(tmp_path, mirror, monkeypatch):
    shapes.load(tmp_path, mirror=mirror)
    monkeypatch.setenv("ZOO_MIRROR", "/no/such/folder")
    assert shapes.load(tmp_path).digest == shapes.ARRAYS_DIGEST


def test_loading_draws_from_no_global_generator(tmp_path, mirror):
    """Else the first run, which prepares the data, would differ from the next."""
    states = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)
        shapes.load(tmp_path, mirror=mirror)
        states.append((random.random(), np.random.random()))
    assert states[0] == states[1]


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>sign in</html>", gzip.compress(b"x")],
    ids=["empty", "page", "short"],
)
def test_files_of_sets_that_are_not_pinned_are_checked_too(content, tmp_path, mirror):
    file = mirror / shapes.NAME / shapes.FILE
    file.write_bytes(content)
    with pytest.raises(ZooError, match="is not the official file") as caught:
        shapes.load(tmp_path, mirror=mirror)
    assert str(file) in str(caught.value)


def test_digest_is_that_of_the_arrays(tmp_path, mirror):
    splits = shapes.load(tmp_path, mirror=mirror, validation=0)
    parts = (*splits.train, *splits.test)
    joined = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    assert splits.digest == hashlib.sha256(joined).hexdigest()
    assert splits.digest == shapes.ARRAYS_DIGEST
    assert shapes.load(tmp_path, limit=12, seed=3).digest == splits.digest


def test_validation_is_stratified_and_decided_by_the_seed(tmp_path, mirror):
    def labels(**kwargs):
        splits = shapes.load(tmp_path, mirror=mirror, validation=0.3, **kwargs)
        return splits, np.bincount(splits.validation.y).tolist()

    one, counts = labels(seed=1)
    assert counts == [3, 3, 3]
    assert np.bincount(one.train.y).tolist() == [7, 7, 7]
    again, _ = labels(seed=1)
    other, _ = labels(seed=2)
    assert np.array_equal(one.validation.x, again.validation.x)
    assert not np.array_equal(one.validation.x, other.validation.x)
    limited, _ = labels(seed=1, limit=15)
    assert sorted(np.bincount(limited.train.y)) == [3, 4, 4]  # 5 each, less 4 in all
    assert len(limited.test.y) == shapes.TEST


@pytest.mark.parametrize("count", [0, 1, 7, 10, 29, 30])
def test_stratified_takes_the_same_share_of_every_class(count):
    labels = np.array([0] * 15 + [1] * 10 + [2] * 5)
    taken = datasets._stratified(labels, count, np.random.default_rng(0))
    assert len(np.unique(taken)) == count and np.all(np.diff(taken) > 0)
    shares = (
        np.bincount(labels[taken], minlength=3) - count * np.array([15, 10, 5]) / 30
    )
    assert np.all(np.abs(shares) <= 1)


def test_the_sample_is_announced_and_recorded(only_the_sample, capsys):
    splits = data.load("fashion_mnist")
    said = capsys.readouterr().err
    for way in ("zoo data fetch", "--mirror", "apt-get install", "NOT"):
        assert way in said
    assert splits.source.startswith("SAMPLE")
    assert len(splits.train.y) + len(splits.validation.y) == sample.TRAIN
    assert np.bincount(splits.test.y).tolist() == [sample.TEST // 10] * 10
    assert splits.digest == sample.DIGEST
    assert sample.PATH.stat().st_size <= 3_000_000


def test_the_sample_is_real(whole_fashion_mnist):
    """Every image of it is in the whole set, with the same label."""
    whole = data.load("fashion_mnist", data_dir=whole_fashion_mnist, validation=0)
    for (x, y), part in zip(sample.load(), (whole.train, whole.test), strict=True):
        known = {image.tobytes(): label for image, label in zip(*part, strict=True)}
        assert [known[image.tobytes()] for image in x] == y.tolist()
    assert whole.class_names == sample.CLASS_NAMES


def test_a_damaged_sample_is_an_error(only_the_sample, monkeypatch, tmp_path):
    monkeypatch.setattr(sample, "PATH", tmp_path / "sample.npz")
    sample.PATH.write_bytes(b"PK nonsense")
    with pytest.raises(ZooError, match="sample.npz is damaged .*reinstall"):
        data.load("fashion_mnist")


def test_fetch_never_settles_for_the_sample(only_the_sample):
    with pytest.raises(ZooError, match="no source has fashion_mnist.*--mirror"):
        data.fetch("fashion_mnist")
    with pytest.raises(ZooError, match="no source has mnist.*zoo data fetch mnist"):
        data.load("mnist")


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda file: file.write_bytes(file.read_bytes()[:200]), "is damaged"),
        (
            lambda file: file.write_bytes(gzip.compress(b"other")),
            "not the official file",
        ),
        (lambda file: file.write_bytes(b"<html>sign in</html>"), "is damaged"),
        (lambda file: file.unlink(), "is missing"),
    ],
)
def test_a_wrong_file_in_the_mirror_is_named(damage, message, tmp_path, mirror, pinned):
    file = mirror / shapes.NAME / shapes.FILE
    damage(file)
    with pytest.raises(ZooError) as caught:
        shapes.load(tmp_path / "data", mirror=mirror)
    text = str(caught.value)
    assert message in text and str(file) in text and "put the official file" in text
    assert "\n" not in text
    left = [path.name for path in (tmp_path / "data").iterdir()]
    assert left in ([], [".zoo.lock"])  # nothing half-written
    shapes.write_official_file(mirror / shapes.NAME)
    assert shapes.load(tmp_path / "data", mirror=mirror).digest == shapes.ARRAYS_DIGEST


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-40]),
        lambda file: file.write_bytes(file.read_bytes()[:500] + b"x" * 300),
        lambda file: file.unlink(),
    ],
)
def test_a_damaged_prepared_file_is_named_and_force_mends_it(damage, tmp_path, mirror):
    shapes.load(tmp_path, mirror=mirror)
    file = next(data.folder(shapes.NAME, data_dir=tmp_path).glob("*-train.*"))
    damage(file)
    with pytest.raises(ZooError, match="--force") as caught:
        shapes.load(tmp_path)
    assert f"{file} is damaged" in str(caught.value)
    data.fetch(shapes.NAME, data_dir=tmp_path, mirror=mirror, force=True)
    assert shapes.load(tmp_path).digest == shapes.ARRAYS_DIGEST


def test_damaged_metadata_is_an_error(tmp_path, mirror):
    shapes.load(tmp_path, mirror=mirror)
    folder = data.folder(shapes.NAME, data_dir=tmp_path)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(ZooError, match="is damaged .*--force"):
        shapes.load(tmp_path)


def test_other_arrays_than_the_pinned_are_never_returned(tmp_path, mirror, pinned):
    official.PINNED[shapes.NAME] = "0" * 64
    with pytest.raises(ZooError, match="does not hold the official data"):
        shapes.load(tmp_path, mirror=mirror)
    assert data.folder(shapes.NAME, data_dir=tmp_path) is None


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"name": "fashion_mnst"}, "Did you mean 'fashion_mnist'"),
        ({"name": "../etc"}, "unknown data set"),
        ({"validation": 1}, "validation must be at least 0 and below 1"),
        ({"limit": 3}, "limit must be an integer, at least 20"),
        ({"limit": 20.5}, "limit must be an integer"),
        ({"seed": -1}, "seed must be an integer, at least 0"),
        ({"name": "mnist:9.9.9"}, "unknown data set 'mnist:9.9.9'"),
        ({"name": "imagenet_v2"}, "is not a set of 8-bit images of one size"),
        ({"mirror": "/no/such/folder"}, "the mirror /no/such/folder is not a folder"),
    ],
)
def test_bad_arguments_are_one_line_errors(kwargs, message, only_the_sample):
    with pytest.raises(ZooError) as caught:
        data.load(**{"name": "fashion_mnist", **kwargs})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pinned_digests_of_the_whole_set(whole_fashion_mnist):
    splits = data.load("fashion_mnist", data_dir=whole_fashion_mnist)
    assert splits.digest == official.PINNED["fashion_mnist"]
    assert len(splits.train.y) == 54_000 and len(splits.validation.y) == 6_000
    assert np.bincount(splits.validation.y).tolist() == [600] * 10
    assert np.bincount(splits.test.y).tolist() == [1000] * 10
