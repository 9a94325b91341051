"""A small search whose trials wait while there is a file "hold" in its directory.

    python -m tests.tuning.slow_search --directory DIRECTORY [--workers N]

Each process that begins a trial leaves its number in the trial's directory.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from zoo import console

console.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from zoo.tuning import searching  # noqa: E402
from zoo.tuning.model import ModelProblem  # noqa: E402

WORDS = ["-m", "tests.tuning.slow_search"]


def build(hp):
    units = hp.Int("units", 1, 9)
    layers = [keras.layers.Dense(units), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


class Slow(ModelProblem):
    def train(self, hp, seed, folder):
        trial = folder.parent
        (trial / f"began-{os.getpid()}").touch()
        while (trial.parent / "hold").exists():
            time.sleep(0.05)
        return super().train(hp, seed, folder)


def search(directory, workers=None):
    x = np.random.default_rng(0).normal(size=(32, 2))
    y = x.sum(axis=1, keepdims=True)
    problem = Slow(build, (x, y), (x, y), epochs=2, batch_size=8)
    options = searching.Options("random", "val_loss", trials=4, seed=1)
    return searching.run(problem, options, directory, workers=workers, command=WORDS)


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args(argv)
    search(given.directory, given.workers)


if __name__ == "__main__":
    console.command_line(main, sys.argv[1:])
