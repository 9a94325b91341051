"""TensorFlow Datasets prepares a data set from a folder of official files."""

import contextlib
import errno
import hashlib
import inspect
import io
import os
import random
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from zoo.console import one_line, progress_bar
from zoo.data.official import Unavailable, not_official, official_files
from zoo.errors import ZooError

CONNECT_SECONDS, READ_SECONDS = 3, 30


def prepare(builder, folder: Path, staging: Path, online: bool) -> None:
    """Have a TFDS builder prepare its data set.

    Args:
        builder: a `tfds.core.DatasetBuilder` without prepared data.
        folder: holds the official files.
        staging: a folder of ours on the same disk as the builder's.
        online: whether files that are not in the folder may be downloaded into it.

    Raises:
        Unavailable: a download failed.
        ZooError: a file is missing, wrong or damaged, or the disk is full.
    """
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
                raise not_official(path, found, expected.checksum, cure)
        return os.fspath(path)


def _download(url: str, path: Path, expected) -> None:
    # TFDS's own downloader has no time-out: a stalled line would hang for ever.
    import requests

    digest = hashlib.sha256()
    try:
        with requests.get(
            url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
        ) as reply:
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
