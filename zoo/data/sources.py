"""Where a data set's files come from, and proof that they are right.

TensorFlow Datasets (TFDS) prepares the files and keeps them in its own `data_dir`.
`preparing` hands it a folder of official files, from the first source that has them:
a mirror, Debian's package, the data set's own host, Debian's archive.
"""

import contextlib
import difflib
import errno
import gzip
import hashlib
import inspect
import io
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path

from zoo.console import one_line, progress_bar, say
from zoo.errors import ZooError

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")
PROBE_SECONDS = 3
APT_SECONDS = 60
_STAGING = ".zoo-preparing-"


def _pinned() -> dict[str, str]:
    lines = Path(__file__).with_name("digests.txt").read_text().splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


# NAME -> SHA-256 of the decoded arrays, as `datasets.digest` computes it;
# NAME/FILE -> SHA-256 of what an official file holds, as `_content_digest` computes it.
PINNED = _pinned()


class Unavailable(Exception):
    """This source does not have the data set; the message says why."""


def names() -> list[str]:
    """Return the names of the data sets whose digests are pinned."""
    return [name for name in PINNED if "/" not in name]


def official_files(name: str) -> list[str]:
    """Return the names of the official files, as far as they are pinned."""
    return [path.partition("/")[2] for path in PINNED if path.startswith(f"{name}/")]


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
    raise ZooError(
        f"unknown data set {name!r}: it must be {', '.join(names())} or another name "
        f"of TensorFlow Datasets.{hint}"
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
                    _build(staged, folder, staging, online=source is _host)
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
    _check_files(builder.name, folder, f"put the official file into {folder}")
    yield folder, f"from the mirror {folder}"


@contextlib.contextmanager
def _debian_installed(builder, mirror, staging) -> Iterator[tuple[Path, str]]:
    _only_fashion_mnist(builder)
    folder = Path("/") / DEBIAN_FOLDER
    if not folder.is_dir():
        raise Unavailable(f"Debian's package {DEBIAN_PACKAGE} is not installed")
    cure = f"reinstall it (apt-get install --reinstall {DEBIAN_PACKAGE})"
    _check_files(builder.name, folder, cure)
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
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("no apt-get here to fetch Debian's package with")
    say(f"Fetching Debian's package {DEBIAN_PACKAGE} (at most {APT_SECONDS} s) ...")
    folder = staging / "apt"
    folder.mkdir()
    _apt_download(folder)
    files = folder / DEBIAN_FOLDER
    _check_files(builder.name, files, "try again: the package arrived damaged")
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


def _apt_download(folder: Path) -> None:
    # apt's lists and cache in a folder of ours: no root, and nothing left behind.
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    apt = ["apt-get", "-qq"]
    for setting in (
        f"Dir::State::Lists={folder}/lists",
        f"Dir::Cache={folder}/cache",
        "Acquire::Retries=0",
        "Acquire::http::Timeout=10",
        "Acquire::https::Timeout=10",
        "APT::Sandbox::User=",
    ):
        apt += ["-o", setting]
    deadline = time.monotonic() + APT_SECONDS
    _run([*apt, "update"], folder, deadline)
    _run([*apt, "download", DEBIAN_PACKAGE], folder, deadline)
    packages = list(folder.glob("*.deb"))
    if not packages:
        raise Unavailable(f"apt-get found no package {DEBIAN_PACKAGE}")
    _run(["dpkg-deb", "-x", str(packages[0]), "."], folder, deadline)


def _run(command: list[str], folder: Path, deadline: float) -> None:
    """Run a command, showing how many bytes it has put into the folder so far."""
    with (folder / "errors").open("w+") as errors, progress_bar(command[0], "B") as bar:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise Unavailable(f"apt-get did not finish in {APT_SECONDS} s")
                bar.update(_size(folder) - bar.n)
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            errors.seek(0)
            reason = (errors.read().strip().splitlines() or ["no reason given"])[-1]
            raise Unavailable(f"{command[0]} failed: {reason}")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # apt renames what has arrived
            total += path.stat().st_size
    return total


# --- proof that files are right ------------------------------------------------------


def _check_files(name: str, folder: Path, cure: str) -> None:
    for file in official_files(name):
        path, expected = folder / file, PINNED[f"{name}/{file}"]
        if not path.is_file():
            raise ZooError(f"{path} is missing: {cure}.")
        try:
            found = _content_digest(path)
        except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
            raise ZooError(f"{path} is damaged ({error}): {cure}.") from None
        if found != expected:
            raise _not_official(path, found, expected, cure)


def _not_official(path: Path, found: str, expected: str, cure: str) -> ZooError:
    return ZooError(
        f"{path} is not the official file (SHA-256 {found[:12]}, expected "
        f"{expected[:12]}): {cure}."
    )


def _content_digest(path: Path) -> str:
    """Return the SHA-256 of what a compressed file holds, however it was compressed.

    Of a tar archive: the SHA-256 over the lines `NAME SHA-256` of its `.bin` members
    in order of name, so that time stamps and owners do not matter.
    """
    if not path.name.endswith(".tar.gz"):
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    with tarfile.open(path) as archive:
        lines = []
        for member in archive:
            if member.name.endswith(".bin"):
                sha = hashlib.file_digest(archive.extractfile(member), "sha256")
                lines.append(f"{Path(member.name).name} {sha.hexdigest()}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


# --- preparing -----------------------------------------------------------------------


class _Files:
    """A TFDS download manager that takes its files from a folder.

    Online, a file that is not in the folder is downloaded into it.
    """

    def __init__(self, manager, builder, folder: Path, online: bool):
        self._manager, self._builder = manager, builder
        self._folder, self._online = folder, online

    def __getattr__(self, name):
        return getattr(self._manager, name)

    def download(self, urls):
        import tree

        return tree.map_structure(self._fetch, urls)

    def download_and_extract(self, urls):
        return self._manager.extract(self.download(urls))

    def _fetch(self, url):
        url = getattr(url, "url", url)
        path = self._folder / Path(urllib.parse.urlsplit(url).path).name
        expected = self._builder.url_infos.get(url)
        if self._online:
            _download(url, path, expected)
        elif not path.is_file():
            raise ZooError(f"{path} is missing: put the official file there.")
        elif expected and not official_files(self._builder.name):
            # Nothing of ours is pinned, so the file must be TFDS's to the bit.
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected.checksum:
                cure = "put the official file there"
                raise _not_official(path, found, expected.checksum, cure)
        return os.fspath(path)


def _download(url: str, path: Path, expected) -> None:
    # TFDS's own downloader has no time-out: a stalled line would hang for ever.
    import requests

    digest = hashlib.sha256()
    try:
        with requests.get(url, stream=True, timeout=(PROBE_SECONDS, 30)) as reply:
            reply.raise_for_status()
            size = int(reply.headers.get("Content-Length", 0)) or None
            with path.open("wb") as file, progress_bar(path.name, "B", size) as bar:
                for chunk in reply.iter_content(1 << 20):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
    except requests.RequestException as error:
        raise Unavailable(f"downloading {url} failed ({one_line(error)})") from None
    if expected and digest.hexdigest() != expected.checksum:
        raise Unavailable(f"{url} did not send the official file (wrong SHA-256)")


def _build(builder, folder: Path, staging: Path, online: bool) -> None:
    import tensorflow_datasets as tfds

    split_generators = builder._split_generators

    def from_folder(manager, *args):
        return split_generators(_Files(manager, builder, folder, online), *args)

    builder._split_generators = from_folder
    state = random.getstate()  # TFDS draws from it
    tfds.disable_progress_bar()  # ours is one line, TFDS's are a dozen
    try:
        with _progress(builder), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=staging / "downloads")
    except (ZooError, Unavailable):
        raise
    except Exception as error:
        if _says_disk_full(error):
            raise ZooError(
                f"no space left in {staging.parent} to prepare {builder.name}: free "
                "some or choose another folder with --data-dir."
            ) from error
        raise ZooError(
            f"{builder.name} could not be prepared from the files in {folder}; if one "
            f"is damaged, replace it. {one_line(error)}"
        ) from error
    finally:
        tfds.enable_progress_bar()
        random.setstate(state)


def _says_disk_full(error: BaseException | None) -> bool:
    # TFDS and TensorFlow wrap the system's error, each in its own way.
    while error is not None:
        if getattr(error, "errno", None) == errno.ENOSPC:
            return True
        if "No space left" in str(error) or "disk space" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def _progress(builder) -> Iterator[None]:
    """Show one bar that counts the examples of all splits as they are written."""
    generate_examples = builder._generate_examples

    with progress_bar(builder.name, unit="images") as bar:

        def counted(examples):
            for example in examples:
                yield example
                bar.update()

        def generate(*args, **kwargs):
            examples = generate_examples(*args, **kwargs)
            return counted(examples) if inspect.isgenerator(examples) else examples

        builder._generate_examples = generate
        yield
