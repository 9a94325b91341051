"""A Debian package's files, fetched without root and without installing it."""

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

from zoo.console import progress_bar, say
from zoo.data.official import Unavailable

SECONDS = 60


def fetch(package: str, folder: Path) -> None:
    """Download a package with apt-get and unpack it into the folder.

    Raises:
        Unavailable: apt-get is not here, failed, or took longer than `SECONDS`.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("no apt-get here to fetch Debian's package with")
    say(f"Fetching Debian's package {package} (at most {SECONDS} s) ...")
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
    deadline = time.monotonic() + SECONDS
    _run([*apt, "update"], folder, deadline)
    _run([*apt, "download", package], folder, deadline)
    packages = list(folder.glob("*.deb"))
    if not packages:
        raise Unavailable(f"apt-get found no package {package}")
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
                    raise Unavailable(f"apt-get did not finish in {SECONDS} s")
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
