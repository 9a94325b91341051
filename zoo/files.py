"""Files and folders that are written whole or not at all."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import ZooError


@contextlib.contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` if all goes well.

    It keeps the suffix of `path`, which some writers go by.

    Args:
        path: the file to replace.
        durable: wait until the disk has it, so that it outlives a loss of power too.
    """
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        if durable:
            _flush(beside)
        beside.replace(path)
        if durable:
            _flush(path.parent)  # the new name is its content
    finally:
        beside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: dict, durable: bool = False) -> None:
    """Write a JSON file, whole or not at all; what is not finite becomes null.

    Args:
        path: the file.
        content: what JSON knows; the rest as `str` has it.
        durable: wait until the disk has it, so that it outlives a loss of power too.
    """
    text = json.dumps(_finite(content), indent=2, default=str)
    with replacing(path, durable) as beside:
        beside.write_text(text + "\n", encoding="utf8")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def writable(path: Path, option: str | None) -> Path:
    """Create a folder and return it; raise a `ZooError` if it cannot be written.

    Called before a long job starts, so that its result has a place to go.

    Args:
        path: the folder.
        option: what chooses another one; `None` if it must be this one.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        advice = (
            f"choose another folder with {option}" if option else "make it writable"
        )
        raise ZooError(
            f"cannot write in {path} ({error.strerror}): {advice}."
        ) from None
