"""`zoo doctor`: is everything here that a recipe needs, and how to add what is not."""

import platform
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import zoo
from zoo import data
from zoo.console import import_keras
from zoo.data import official

DISTRIBUTION = "keras-recipe-zoo"


def examine(data_dir: Path | None) -> int:
    """Print versions, devices and data; return 1 if a package is missing, else 0."""
    _row("zoo", zoo.__version__)
    _row("Python", f"{platform.python_version()} on {platform.platform()}")
    cures = [_package(requirement) for requirement in _requirements()]
    if any(cures):
        return 1
    for device in _devices():
        _row("device", device)
    for name in official.names():
        path = data.folder(name, data_dir=data_dir)
        _row(name, path or f"not here; to add it: zoo data fetch {name}")
    return 0


def _row(what: str, found: object) -> None:
    print(f"{what:20} {found}", flush=True)


def _requirements() -> list[Requirement]:
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        _row(DISTRIBUTION, "not installed; in a checkout: pip install -e .")
        return []
    needed = [Requirement(line) for line in lines]
    return [r for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]


def _package(requirement: Requirement) -> str | None:
    """Print a package's version; return the command that adds it if it is missing."""
    wanted = f"{requirement.name}{requirement.specifier}"
    cure = f"pip install '{wanted}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        _row(requirement.name, f"MISSING; to add it: {cure}")
        return cure
    if not requirement.specifier.contains(version, prereleases=True):
        _row(requirement.name, f"{version} is too old; to renew it: {cure}")
        return cure
    _row(requirement.name, version)
    return None


def _devices() -> list[str]:
    import_keras()
    import tensorflow as tf

    devices = tf.config.list_physical_devices()
    lines = [f"{device.device_type} {device.name}" for device in devices]
    if not any(device.device_type == "GPU" for device in devices):
        hint = "with an NVIDIA card, in a checkout: pip install -e '.[gpu]'"
        lines.append(f"no GPU, which no recipe needs; {hint}")
    return lines
