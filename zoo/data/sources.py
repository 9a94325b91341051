"""Where a data set's files come from.

TensorFlow Datasets (TFDS) prepares the files and keeps them in its own `data_dir`.
`preparing` hands it a folder of official files, from the first source that has them:
a mirror, Debian's package, the data set's own host, Debian's archive.
"""

import contextlib
import difflib
import shutil
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from zoo.console import say
from zoo.data import apt, official
from zoo.data.official import Unavailable, check_files
from zoo.data.preparation import prepare
from zoo.errors import ZooError

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")
PROBE_SECONDS = 3
_STAGING = ".zoo-preparing-"


def builder(name: str, data_dir: Path):
    """Return the TFDS builder of a data set; its `name` is the canonical one.

    It is meant to look at: it finds no data in `data_dir`, prepared or broken.

    Raises:
        ZooError: TFDS has no such data set; the message names the nearest.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir / _STAGING)
    except (tfds.core.DatasetNotFoundError, ValueError, AttributeError, AssertionError):
        pass
    except ImportError as error:
        raise ZooError(f"{name} needs a package that is not here: {error}") from None
    known = sorted(tfds.list_builders(with_community_datasets=False))
    stem = name.partition("/")[0].partition(":")[0]
    close = difflib.get_close_matches(stem, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    pinned = ", ".join(official.names())
    raise ZooError(
        f"unknown data set {name!r}: it must be {pinned} or another name of TensorFlow "
        f"Datasets.{hint}"
    )


def canonical_name(name: str, data_dir: Path) -> str:
    """Return a data set's name as TFDS writes it, e.g. `mnist` for `MNIST:3.*.*`."""
    found = builder(name, data_dir)
    config = found.builder_config
    return f"{found.name}/{config.name}" if config else found.name


def final_folder(builder, data_dir: Path) -> Path:
    """Return the folder in which TFDS keeps this data set once it is prepared."""
    return data_dir / Path(builder.data_path).relative_to(data_dir / _STAGING)


def is_prepared(path: Path) -> bool:
    """Return whether TFDS finished preparing the data set in this folder."""
    return (path / "dataset_info.json").is_file()


@contextlib.contextmanager
def lock(data_dir: Path) -> Iterator[None]:
    """Let one process at a time prepare data in this folder."""
    import filelock

    held = filelock.FileLock(data_dir / ".zoo.lock")
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        say(f"Another process is preparing data in {data_dir}; waiting for it ...")
        held.acquire()
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def preparing(name: str, data_dir: Path, mirror: Path | None) -> Iterator:
    """Prepare a data set beside its place; move it there when the block ends well.

    Nothing stands in the final folder before the block has approved the whole set: a
    process that is killed, or finds the disk full, leaves only a staging folder, and
    the next one removes it.

    Args:
        name: a TFDS name, e.g. `"fashion_mnist"` or `"emnist/letters"`.
        data_dir: the TFDS data directory; the caller holds its lock.
        mirror: a folder that holds `NAME/FILE` for the official files, or None.

    Yields:
        The folder of the staged data set, and where its files came from.

    Raises:
        Unavailable: no source has it; each was announced on standard error.
        ZooError: a source has it, but truncated, corrupted or wrong.
    """
    import tensorflow_datasets as tfds

    for stale in data_dir.glob(f"{_STAGING}*"):  # we hold the lock: nobody's any more
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=data_dir))
    try:
        for source in _SOURCES:
            staged = tfds.builder(name, data_dir=staging / "data")
            try:
                with source(staged, mirror, staging) as (folder, origin):
                    say(f"Preparing {name} {origin} ...")
                    prepare(staged, folder, staging, online=source is _host)
                    break
            except Unavailable as why:
                say(f"{name}: {why}.")
        else:
            raise Unavailable(f"no source has {name}")
        path = Path(staged.data_path)
        yield path, origin
        final = data_dir / path.relative_to(staging / "data")
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            final.rename(staging / "old")
        path.rename(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


# --- the sources, in the order in which they are asked -------------------------------


@contextlib.contextmanager
def _mirror(builder, mirror: Path | None, staging) -> Iterator[tuple[Path, str]]:
    if mirror is None:
        raise Unavailable("no mirror given (--mirror DIR or ZOO_MIRROR)")
    folder = mirror / builder.name
    if not folder.is_dir():
        raise Unavailable(f"the mirror {mirror} has no folder {builder.name}/")
    check_files(builder.name, folder, f"put the official file into {folder}")
    yield folder, f"from the mirror {folder}"


@contextlib.contextmanager
def _debian_installed(builder, mirror, staging) -> Iterator[tuple[Path, str]]:
    _only_fashion_mnist(builder)
    folder = Path("/") / DEBIAN_FOLDER
    if not folder.is_dir():
        raise Unavailable(f"Debian's package {DEBIAN_PACKAGE} is not installed")
    cure = f"reinstall it (apt-get install --reinstall {DEBIAN_PACKAGE})"
    check_files(builder.name, folder, cure)
    yield folder, f"from Debian's package {DEBIAN_PACKAGE} in {folder}"


@contextlib.contextmanager
def _host(builder, mirror, staging) -> Iterator[tuple[Path, str]]:
    urls = sorted(builder.url_infos)
    if not urls:
        raise Unavailable("TensorFlow Datasets knows no address to download it from")
    host = urllib.parse.urlsplit(urls[0]).netloc
    if not _answers(urls[0]):
        raise Unavailable(f"{host} did not answer within {PROBE_SECONDS} s")
    folder = staging / "official"
    folder.mkdir()
    yield folder, f"from its own host, {host}"


@contextlib.contextmanager
def _debian_archive(builder, mirror, staging) -> Iterator[tuple[Path, str]]:
    _only_fashion_mnist(builder)
    folder = staging / "apt"
    folder.mkdir()
    apt.fetch(DEBIAN_PACKAGE, folder)
    files = folder / DEBIAN_FOLDER
    check_files(builder.name, files, "try again: the package arrived damaged")
    yield files, f"from Debian's package {DEBIAN_PACKAGE}, fetched by apt-get"


_SOURCES = (_mirror, _debian_installed, _host, _debian_archive)


def _only_fashion_mnist(builder):
    if builder.name != "fashion_mnist":
        raise Unavailable("Debian has no package of it")


def _answers(url: str) -> bool:
    # In a thread, because the time-out of a socket does not cover name resolution.
    import requests

    answers = []

    def ask():
        with contextlib.suppress(requests.RequestException):
            with requests.head(url, timeout=PROBE_SECONDS) as reply:
                answers.append(reply.status_code)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answers)
