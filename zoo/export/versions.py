"""`DIRECTORY/NAME/VERSION/`: versions grow, and appear whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def publish(directory: str | Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a folder, and make it the next version of a directory.

    It is filled beside its place and renamed when all went well, so that a server that
    watches the directory never sees a half-written version.

    Args:
        directory: `SAVED_MODELS/NAME`; versions are its subfolders `1`, `2`, ...
        write: gets an empty folder; whatever it raises, nothing of it is left, nor a
            directory that was made for it.

    Returns:
        The folder of the new version.
    """
    directory = Path(directory)
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        # Not a number: TensorFlow Serving does not look at it.
        with tempfile.TemporaryDirectory(
            prefix=".exporting-", dir=directory, ignore_cleanup_errors=True
        ) as staging:
            folder = Path(staging, "version")
            folder.mkdir()
            write(folder)
            return _move(folder, directory)
    finally:
        for path in made:  # the innermost first
            with contextlib.suppress(OSError):  # a version is in it
                path.rmdir()


def copy(version: Path, directory: str | Path) -> Path:
    """Copy a version, to be the next one of another directory.

    Args:
        version: the folder of a version.
        directory: `SAVED_MODELS/NAME`.

    Returns:
        The folder of the copy.
    """
    return publish(
        directory, lambda folder: shutil.copytree(version, folder, dirs_exist_ok=True)
    )


def versions(directory: Path) -> list[Path]:
    """Return the versions in a directory, ascending: its folders named by a number."""
    found = filter(Path.is_dir, _numbered(directory))
    return sorted(found, key=lambda path: int(path.name))


def _numbered(directory):
    return [path for path in directory.iterdir() if path.name.isdecimal()]


def _move(folder: Path, directory: Path) -> Path:
    while True:
        taken = [int(path.name) for path in _numbered(directory)]
        path = directory / str(max(taken, default=0) + 1)
        try:
            os.rename(folder, path)
        except OSError:
            if not path.exists():  # otherwise another process took this version
                raise
        else:
            return path
