"""The files that a training goes on from: whole, verified, and the last two kept.

A file is, one after the other: `MAGIC`; the length of the header, 8 bytes, lowest
first; the header, JSON, with the structure of the state and the type and shape of each
array; the bytes of the arrays in C order; and the SHA-256 digest of all that, 32 bytes.
Reading it runs no code of the file's.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.console import say
from zoo.errors import ZooError
from zoo.files import replacing

MAGIC = b"zoo checkpoint 1\n"
_DIGEST_SIZE = hashlib.sha256().digest_size


class Interval(NamedTuple):
    """How often to write a checkpoint: one of the two is not None.

    Attributes:
        steps: no fewer training steps apart.
        seconds: no fewer seconds apart.
    """

    steps: int | None
    seconds: float | None


def interval(name: str, value: str | int) -> Interval:
    """Read how often to write a checkpoint: `"500"` or 500 steps, or `"30s"`.

    Args:
        name: of the argument, for the message.
        value: what was passed.

    Raises:
        ZooError: it is neither.
    """
    text = str(value)
    number = text.removesuffix("s")
    if number.isascii() and number.isdigit() and int(number):
        if number != text:
            return Interval(None, int(number))
        return Interval(int(number), None)
    raise ZooError(
        f"{name} must be a number of steps such as 500, or of seconds such as 30s. "
        f"Received: {name}={value!r}"
    )


class Checkpoints:
    """The last two checkpoints of a training, in a directory of their own.

    Args:
        directory: where they are; it is made when the first one is written.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self._good = []  # newest last

    def newest(self) -> bytes | None:
        """Return what the newest good checkpoint holds; `None` if there is none.

        A damaged one is reported, and the one before it is taken.

        Raises:
            ZooError: all that are there are damaged.
        """
        found = sorted(self._written(), reverse=True)
        for path in found:
            try:
                content = path.read_bytes()
                _verify(content)
            except (OSError, ValueError) as error:
                say(f"{path} is damaged ({error}): it is left out.")
            else:
                self._good = [path]
                return content
        if found:
            raise ZooError(
                f"every checkpoint in {self.directory} is damaged: delete that folder "
                "to begin the training anew."
            )
        return None

    def save(self, content: Iterable[bytes]) -> None:
        """Write a checkpoint, and delete all but it and the one before it.

        When it returns, the file is on the disk, not only on its way there.

        Args:
            content: what `encode` returned.

        Raises:
            ZooError: it cannot be written; those before it are as they were.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"checkpoint-{self._next_number():09}"
            with replacing(path, durable=True) as beside:
                with beside.open("wb") as file:
                    file.writelines(content)
        except OSError as error:
            then = ", then begin again"
            if self._good:
                then = ", then go on from the one before it, which is intact"
            raise ZooError(
                f"cannot write a checkpoint in {self.directory} ({error.strerror}): "
                f"make room there{then}."
            ) from error
        self._keep([*self._good[-1:], path])

    def clear(self) -> None:
        """Delete the checkpoints, and the directory if nothing else is in it."""
        self._keep([])
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def _keep(self, good):
        self._good = good
        left_over = [*self.directory.glob(".checkpoint-*")]  # of processes that died
        for path in {*self._written(), *left_over} - {*good}:
            path.unlink(missing_ok=True)

    def _next_number(self):
        # Above the damaged ones too: which is the newest goes by the number alone.
        return 1 + max((int(_number(path)) for path in self._written()), default=0)

    def _written(self):
        found = self.directory.glob("checkpoint-*")  # a user's copy among them
        return [path for path in found if _number(path).isdecimal()]


def encode(state) -> list[bytes]:
    """Return the content of a checkpoint, in pieces to be written one after the other.

    Args:
        state: dicts with names as keys, lists, tuples, arrays and numbers of NumPy,
            and what JSON knows.

    Raises:
        TypeError: it holds something else.
    """
    arrays = []
    header = {"state": _plain(state, arrays)}
    header["arrays"] = [[array.dtype.name, array.shape] for array in arrays]
    header = json.dumps(header).encode()
    pieces = [MAGIC, len(header).to_bytes(8, "little"), header]
    pieces += [_bytes_of(array) for array in arrays]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [*pieces, digest.digest()]


def decode(content: bytes):
    """Return the state that a checkpoint holds, as `encode` got it."""
    end = len(MAGIC) + 8
    length = int.from_bytes(content[len(MAGIC) : end], "little")
    header, offset = json.loads(content[end : end + length]), end + length
    arrays = []
    for name, shape in header["arrays"]:
        kind, count = np.dtype(name), int(np.prod(shape))
        array = np.frombuffer(content, kind, count, offset).reshape(shape)
        arrays.append(array.copy())  # else the least of them would keep all in memory
        offset += array.nbytes
    return _restored(header["state"], arrays)


def _number(path):
    return path.name.removeprefix("checkpoint-")


def _verify(content):
    if not content.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    digest = hashlib.sha256(memoryview(content)[:-_DIGEST_SIZE]).digest()
    if digest != content[-_DIGEST_SIZE:]:
        raise ValueError("its checksum is not that of its content")


def _plain(value, arrays):
    # What JSON does not know is a dict of one key, which says what it is.
    if isinstance(value, (np.ndarray, np.generic)):
        if not _has_a_name(value.dtype):
            raise TypeError(f"an array of {value.dtype}")
        arrays.append(np.asarray(value))
        return {"array" if isinstance(value, np.ndarray) else "scalar": len(arrays) - 1}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a dict whose keys are not all names")
        return {"dict": {key: _plain(item, arrays) for key, item in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item, arrays) for item in value]}
    if isinstance(value, list):
        return [_plain(item, arrays) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"a {type(value).__name__}")


def _has_a_name(dtype):
    """Return whether the header's word for a type is enough to have it back."""
    if dtype.hasobject or dtype.kind in "SUmM":
        return False
    try:
        return np.dtype(dtype.name) == dtype  # not for fields or another byte order
    except TypeError:
        return False


def _restored(value, arrays):
    if isinstance(value, list):
        return [_restored(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "dict":
        return {key: _restored(item, arrays) for key, item in inner.items()}
    if kind == "tuple":
        return tuple(_restored(item, arrays) for item in inner)
    return arrays[inner] if kind == "array" else arrays[inner][()]


def _bytes_of(array):
    # As bytes, since a memoryview cannot be had of bfloat16.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
