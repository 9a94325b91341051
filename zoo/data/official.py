"""The official files of a data set, and proof that they are right."""

import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path

from zoo.errors import ZooError


class Unavailable(Exception):
    """A source does not have the data set; the message says why."""


def _pinned() -> dict[str, str]:
    lines = Path(__file__).with_name("digests.txt").read_text().splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


# NAME -> SHA-256 of the decoded arrays, as `datasets.digest` computes it;
# NAME/FILE -> SHA-256 of what an official file holds, as `content_digest` computes it.
PINNED = _pinned()


def names() -> list[str]:
    """Return the names of the data sets whose digests are pinned."""
    return [name for name in PINNED if "/" not in name]


def official_files(name: str) -> list[str]:
    """Return the names of the official files, as far as they are pinned."""
    return [path.partition("/")[2] for path in PINNED if path.startswith(f"{name}/")]


def check_files(name: str, folder: Path, cure: str) -> None:
    """Raise a `ZooError` that names the first pinned file that is not in the folder."""
    for file in official_files(name):
        path, expected = folder / file, PINNED[f"{name}/{file}"]
        if not path.is_file():
            raise ZooError(f"{path} is missing: {cure}.")
        try:
            found = content_digest(path)
        except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
            raise ZooError(f"{path} is damaged ({error}): {cure}.") from None
        if found != expected:
            raise not_official(path, found, expected, cure)


def not_official(path: Path, found: str, expected: str, cure: str) -> ZooError:
    """Return the error for a file whose SHA-256 is not the expected one."""
    return ZooError(
        f"{path} is not the official file (SHA-256 {found[:12]}, expected "
        f"{expected[:12]}): {cure}."
    )


def content_digest(path: Path) -> str:
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
