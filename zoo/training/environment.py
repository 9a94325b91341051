"""What a result depends on besides the options: versions and machine."""

import contextlib
import os
import platform
import subprocess
from pathlib import Path

import zoo


def describe() -> dict:
    """Return what a result depends on besides the options: versions and machine."""
    import keras
    import numpy as np
    import tensorflow as tf

    return {
        "zoo": zoo.__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "keras_backend": keras.backend.backend(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpu_count": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "git_commit": _git_commit(),
    }


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _git_commit() -> str | None:
    """Return the commit of the checkout that zoo runs from, `-dirty` if it differs."""
    here = Path(zoo.__file__).parent

    def git(*words):
        command = ["git", "-C", str(here), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # ours, not one around it
        return git(
            "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
