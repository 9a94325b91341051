"""`load(name) -> Splits`: a whole image-classification set as arrays in memory."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.console import errors_only, import_keras, one_line, say
from zoo.data import official, prepared, sample, sources
from zoo.errors import ZooError, integer, number
from zoo.files import writable


class Examples(NamedTuple):
    """Images and their labels.

    Attributes:
        x: uint8 `(n, height, width, channels)`, 0 to 255.
        y: int64 `(n,)`, indices into the class names.
    """

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Splits:
    """A data set, cut for honest work: choose on validation, report test once.

    Attributes:
        name: its TFDS name.
        train: what to learn from.
        validation: cut from the official training examples; choices are made here.
        test: the official test examples, whole.
        class_names: one string per label.
        source: where the data came from, as a sentence.
        digest: SHA-256 of the decoded arrays, before validation was cut off.
    """

    name: str
    train: Examples
    validation: Examples
    test: Examples
    class_names: tuple[str, ...]
    source: str
    digest: str

    @property
    def is_sample(self) -> bool:
        """Whether this is the sample that ships with zoo."""
        return self.digest == sample.DIGEST

    @property
    def num_train(self) -> int:
        """The number of training images."""
        return len(self.train.y)

    def record(self) -> dict:
        """Return what a run notes down of its data, as JSON has it."""
        return {
            "name": self.name,
            "source": self.source,
            "train": self.num_train,
            "validation": len(self.validation.y),
            "test": len(self.test.y),
            "digest": self.digest,
        }

    def __str__(self):
        return (
            f"Data: {self.name}, {self.num_train:,} training, "
            f"{len(self.validation.y):,} validation, {len(self.test.y):,} test images\n"
            f"      from {self.source}"
        )


class _Whole(NamedTuple):
    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    digest: str


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    mirror: str | Path | None = None,
    limit: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    or_sample: bool = False,
) -> Splits:
    """Load an image-classification data set of TensorFlow Datasets into memory.

    It is prepared on the first call, from the first source that has it, and checked
    on every call: arrays whose SHA-256 is not the pinned one are never returned.
    Fashion-MNIST falls back to a small sample that ships in the package, and says so.

    Args:
        name: `"fashion_mnist"`, `"mnist"`, `"cifar10"`, or any other TFDS name whose
            examples are images of one size with one label.
        data_dir: where TFDS keeps prepared data; default: `TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.
        mirror: a folder with the official files in `MIRROR/NAME/`, for example
            `MIRROR/mnist/train-images-idx3-ubyte.gz`; default: the environment variable
            `ZOO_MIRROR`.
        limit: keep only so many training examples, validation included, every class in
            proportion. Test stays whole.
        validation: the share of the training examples that is cut off for validation,
            every class in proportion; at least 0 and below 1.
        seed: decides which examples `limit` keeps and which validation gets.
        or_sample: take the sample of Fashion-MNIST in place of any set that cannot be
            had, and say so; `Splits.is_sample` tells.

    Returns:
        `Splits`.

    Raises:
        ZooError: (a `ValueError`) the name is unknown, the set is nowhere to be had, or
            a file is truncated, corrupted or wrong. One line that says what to do.

    Example:
        >>> splits = load("fashion_mnist", limit=1000)  # doctest: +SKIP
        >>> splits.train.x.shape, splits.train.x.dtype  # doctest: +SKIP
        ((900, 28, 28, 1), dtype('uint8'))
    """
    number("validation", validation, least=0, below=1)
    integer("seed", seed, least=0)
    name, whole, source = _load_whole(name, data_dir, mirror, or_sample)
    rng = np.random.default_rng(seed)
    kept = np.arange(len(whole.train.y))
    if limit is not None:
        integer("limit", limit, least=2 * len(whole.class_names))
        kept = _stratified(whole.train.y, limit, rng)
    labels = whole.train.y[kept]
    held_out = _stratified(labels, round(validation * len(labels)), rng)
    return Splits(
        name=name,
        train=_take(whole.train, np.delete(kept, held_out)),
        validation=_take(whole.train, kept[held_out]),
        test=whole.test,
        class_names=whole.class_names,
        source=source,
        digest=whole.digest,
    )


def digest(train: Examples, test: Examples) -> str:
    """Return the SHA-256 over the bytes of train.x, train.y, test.x and test.y."""
    sha = hashlib.sha256()
    for array in (*train, *test):
        sha.update(np.ascontiguousarray(array))
    return sha.hexdigest()


def fetch(
    name: str,
    *,
    data_dir: str | Path | None = None,
    mirror: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Get a data set now, whole and checked; return the folder TFDS keeps it in.

    Args:
        name: as in `load`.
        data_dir: as in `load`.
        mirror: as in `load`.
        force: prepare it again even if it is there, e.g. because a file is damaged.

    Raises:
        ZooError: as `load`; also when only the sample of Fashion-MNIST is to be had.
    """
    import_keras()  # TensorFlow, quietly
    try:
        with errors_only("absl"):
            return _whole(name, _data_dir(data_dir), mirror, force)[1]
    except official.Unavailable as why:
        raise ZooError(f"{why}. {_ways(name)}") from None


def folder(name: str, *, data_dir: str | Path | None = None) -> Path | None:
    """Return the folder in which TFDS has the data set prepared; None if it has not."""
    data_dir = _data_dir(data_dir)
    path = sources.final_folder(sources.builder(name, data_dir), data_dir)
    return path if sources.is_prepared(path) else None


def _data_dir(data_dir) -> Path:
    if data_dir is None:
        from tensorflow_datasets.core import constants

        data_dir = constants.DATA_DIR
    return Path(data_dir).expanduser().absolute()


def _mirror_dir(mirror) -> Path | None:
    mirror = mirror or os.environ.get("ZOO_MIRROR") or None
    if mirror is None or Path(mirror).expanduser().is_dir():
        return mirror and Path(mirror).expanduser().absolute()
    raise ZooError(
        f"the mirror {mirror} is not a folder: name one that holds NAME/FILE."
    )


# --- reading -------------------------------------------------------------------------


@errors_only("absl")
def _load_whole(asked, data_dir, mirror, or_sample) -> tuple[str, _Whole, str]:
    import_keras()  # TensorFlow, quietly
    data_dir = _data_dir(data_dir)
    name = sources.canonical_name(asked, data_dir)
    try:
        whole, path, origin = _whole(asked, data_dir, mirror)  # its version counts
    except official.Unavailable as why:
        if name != "fashion_mnist" and not or_sample:
            raise ZooError(f"{why}. {_ways(name)}") from None
        wanted = "Fashion-MNIST" if name == "fashion_mnist" else name
        say(
            f"WARNING: {why}. Using the sample that ships with zoo instead, "
            f"{sample.DESCRIPTION}: its accuracy is NOT that of {wanted}. "
            f"{_ways(name)}"
        )
        source = f"SAMPLE ({sample.DESCRIPTION}) that ships with zoo"
        return "fashion_mnist", _read_sample(), source
    return name, whole, f"TensorFlow Datasets in {path}{origin}"


def _ways(name: str) -> str:
    files = ", ".join(official.official_files(name)) or "its official files"
    ways = [
        f"with a network: zoo data fetch {name}",
        f"with the official files in DIR/{name.partition('/')[0]}/ ({files}): "
        "--mirror DIR",
    ]
    if name == "fashion_mnist":
        ways.append(f"on Debian or Ubuntu: apt-get install {sources.DEBIAN_PACKAGE}")
    return f"To get the whole set, {'; or '.join(ways)}."


def _whole(name, data_dir, mirror, force=False) -> tuple[_Whole, Path, str]:
    """Return the whole set, its folder, and its origin if it was prepared just now."""
    builder = sources.builder(name, data_dir)
    path = sources.final_folder(builder, data_dir)
    if mirror is not None:
        _mirror_dir(mirror)  # a mistake, even where it is not needed
    if force or not sources.is_prepared(path):
        prepared.image_and_label(builder)  # before anything is downloaded
        with sources.lock(writable(data_dir, "--data-dir")):
            if force or not sources.is_prepared(path):  # by whom we waited for
                source = sources.preparing(name, data_dir, _mirror_dir(mirror))
                with source as (staged, origin):
                    what = f"what was prepared {origin}"
                    whole = _read_checked(staged, what, "try another source")
                return whole, path, f", prepared {origin}"
    cure = f"prepare it again with: zoo data fetch {builder.name} --force"
    return _read_checked(path, str(path), cure), path, ""


def _read_checked(path: Path, what: str, cure: str) -> _Whole:
    builder, test = prepared.builder(path, what, cure)
    train = Examples(*prepared.read(builder, "train", cure))
    test = Examples(*prepared.read(builder, test, cure))
    whole = _Whole(train, test, prepared.class_names(builder), digest(train, test))
    _check(whole, official.PINNED.get(builder.name, whole.digest), what, cure)
    return whole


def _read_sample() -> _Whole:
    cure = "reinstall keras-recipe-zoo"
    try:
        train, test = (Examples(*part) for part in sample.load())
    except Exception as error:
        reason = f"{sample.PATH} is damaged ({one_line(error)})"
        raise ZooError(f"{reason}: {cure}") from None
    whole = _Whole(train, test, sample.CLASS_NAMES, digest(train, test))
    _check(whole, sample.DIGEST, str(sample.PATH), cure)
    return whole


def _check(whole: _Whole, expected: str, what: str, cure: str) -> None:
    if whole.digest != expected:
        raise ZooError(
            f"{what} does not hold the official data (the decoded arrays have SHA-256 "
            f"{whole.digest[:12]}, expected {expected[:12]}): {cure}"
        )


# --- cutting -------------------------------------------------------------------------


def _take(examples: Examples, index: np.ndarray) -> Examples:
    return Examples(examples.x[index], examples.y[index])


def _stratified(labels: np.ndarray, count: int, rng) -> np.ndarray:
    """Return `count` positions in ascending order, every class in proportion."""
    order = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    # The first `count` places take the same share of every class, within one example.
    return np.sort(order[np.argsort(place[order], kind="stable")[:count]])
