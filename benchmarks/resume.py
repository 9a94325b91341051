"""What checkpoints cost: whole trainings with `Resume` and without.

    python benchmarks/resume.py [--rounds 3] [--models cnn mlp] [--epochs 5]

Trainings take turns; printed are the medians of their time and its ratio: with the
default interval, and with a checkpoint after each epoch, to see what one takes. The
promise is 2 % with the default. A training has the recipe's epochs unless told others.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from timing import in_turns, table, whole_fashion_mnist

from zoo.callbacks import Resume
from zoo.data import pipeline
from zoo.recipes import fashion_mnist


def main() -> None:
    """Measure the models, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["cnn", "mlp"])
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    train = whole_fashion_mnist().train
    for name in arguments.models:
        measure(name, train, arguments.epochs, arguments.rounds)


def measure(name, train, epochs, rounds):
    config = fashion_mnist.PRESETS[name]
    epochs = epochs or config.epochs
    steps, _ = pipeline.schedule(len(train.y), config.batch_size)
    batches = pipeline.training(train, config.batch_size, seed=0)
    model = fashion_mnist.build(config, len(train.y))
    writing, sizes = [], []

    def fit(every=None):
        with tempfile.TemporaryDirectory() as folder:
            callbacks = [Watched(folder, every, replay=False)] if every else []
            model.fit(
                batches,
                steps_per_epoch=steps,
                epochs=epochs,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )

    class Watched(Resume):
        def _save(self, complete=False):
            began = time.perf_counter()
            super()._save(complete)
            writing.append(time.perf_counter() - began)
            newest = max(Path(self.directory).iterdir())
            sizes.append(newest.stat().st_size)

    jobs = {
        "without": fit,
        "Resume, every 30s": lambda: fit("30s"),
        "Resume, each epoch": lambda: fit(str(steps)),
    }
    table(f"{name}: {epochs} epochs", in_turns(jobs, rounds), "without")
    print(
        f"  one checkpoint: {1e3 * statistics.median(writing):.1f} ms, "
        f"{statistics.median(sizes) / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
