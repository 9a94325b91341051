"""What several test files share."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo import console

console.import_keras()

ROOT = Path(__file__).parents[1]


def pytest_xdist_auto_num_workers(config):
    """Run all the tests in two processes, and those that are named in this one."""
    return 2 if config.args_source is config.ArgsSource.TESTPATHS else 0


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


@contextlib.contextmanager
def no_source(folder):
    """Cut every source of data off, so that the sample is what is left."""
    from zoo.data import sources

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ZOO_MIRROR", raising=False)
        patch.setattr(sources, "_SOURCES", ())
        patch.setenv("TFDS_DATA_DIR", str(folder))
        patch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(folder))
        yield


@pytest.fixture
def only_the_sample(tmp_path):
    with no_source(tmp_path / "data"):
        yield


@pytest.fixture
def few_points(monkeypatch):
    """Spread few images out for the report: t-SNE is much of a short run."""
    monkeypatch.setattr("zoo.report.evaluation._MOST_POINTS", 40)


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
