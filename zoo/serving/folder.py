"""What is in a folder of models: `NAME/VERSION/saved_model.pb`."""

import os
import stat
from pathlib import Path

from zoo.errors import ZooError

_MOST = 2**63  # a version is an int64 in TensorFlow Serving's API
Versions = dict[int, Path]


def models(folder: Path) -> dict[str, Versions | None]:
    """Return the versions of each model: those with a `saved_model.pb`.

    Returns:
        By name; `None` if the model's folder cannot be read, whatever is in it.

    Raises:
        OSError: the folder itself cannot be read.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        versions = {} if path.name.startswith(".") else _versions(path)
        if versions or versions is None:
            found[path.name] = versions
    return found


def _versions(model: Path) -> Versions | None:
    try:
        paths = list(model.iterdir())
    except (NotADirectoryError, FileNotFoundError):  # a file, or gone since
        return {}
    except OSError:
        return None
    return {int(path.name): path for path in paths if _is_version(path)}


def _is_version(path: Path) -> bool:
    name = path.name
    # 01 is not a second name of 1.
    whole = name.isascii() and name.isdecimal() and name == str(int(name))
    return whole and int(name) < _MOST and _has_model(path)


def _has_model(version: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(version / "saved_model.pb").st_mode)
    except PermissionError:
        return True  # who loads it says so
    except OSError:
        return False


def files(version: Path) -> tuple:
    """Return what changes when a file of a version does: names, sizes, times."""
    found = []
    for folder, _, names in os.walk(version):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:  # gone since
                continue
            found.append((path, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def check(folder: Path) -> None:
    """Raise if there are no models in a folder; the message says how to make one."""
    versions = _versions(folder)
    if versions is None:
        raise ZooError(f"{folder} cannot be read: make it readable for this user.")
    if not folder.is_dir():
        raise ZooError(
            f"{folder} is not a folder: train and export a model first, e.g. with "
            "zoo train fashion_mnist, which makes saved_models."
        )
    if versions:
        raise ZooError(
            f"{folder} is the folder of one model: serve the one that it is in, "
            f"{folder.absolute().parent}."
        )
    if not models(folder):
        raise ZooError(
            f"{folder} has no model, which is a file NAME/VERSION/saved_model.pb with "
            "a whole number for VERSION: zoo export RUN makes one."
        )
