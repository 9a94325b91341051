"""What several test files share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo import console

console.import_keras()

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch):
    """Keep the user's own settings out of the tests."""
    monkeypatch.delenv("ZOO_MIRROR", raising=False)


@pytest.fixture(scope="session")
def whole_fashion_mnist():
    """Return the data directory that holds all of Fashion-MNIST; skip without it.

    A mirror in ZOO_MIRROR is used, like every other source.
    """
    from zoo import ZooError, data

    try:
        path = data.fetch("fashion_mnist")
    except ZooError as why:
        pytest.skip(f"the whole Fashion-MNIST cannot be had here: {why}")
    return path.parents[1]


@pytest.fixture
def only_the_sample(monkeypatch, tmp_path):
    """Cut every source off, so that the sample is what is left."""
    from zoo.data import sources

    monkeypatch.setattr(sources, "_SOURCES", ())
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(
        "tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "data")
    )


@pytest.fixture
def images():
    """Return 12 random images, uint8 (12, 8, 8, 1), and their labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (12, 8, 8, 1), np.uint8), np.arange(12) % 3


def run_python(*words, **kwargs):
    """Run a fresh Python with these arguments; return it when it has ended."""
    env = {**os.environ, **kwargs.pop("env", {})}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)  # as a user's shell has it
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env=env,
        cwd=kwargs.pop("cwd", ROOT),
        timeout=300,
        **kwargs,
    )
