"""What watching the gradients costs: an epoch with `GradientMonitor` and without.

    python benchmarks/callbacks.py [--rounds 5] [--models cnn mlp]

Each fit has three epochs of which the second counts: the first traces the step. Fits
with and without the monitor take turns; printed are the medians and their ratio, of the
time that passed and of that of the processor, which other programs disturb less.
"""

import argparse
import time

import keras
from timing import table, whole_fashion_mnist

from zoo.callbacks import GradientMonitor
from zoo.data import pipeline
from zoo.recipes import fashion_mnist


class SecondEpoch(keras.callbacks.Callback):
    """Times it, whatever other callbacks do at its end included."""

    def on_epoch_begin(self, epoch, logs=None):
        """Take the time between two beginnings."""
        now = time.perf_counter(), time.process_time()
        if epoch == 2:
            self.passed, self.worked = (
                b - a for a, b in zip(self._began, now, strict=True)
            )
        self._began = now


def main() -> None:
    """Measure the models, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["cnn", "mlp"])
    arguments = parser.parse_args()
    train = whole_fashion_mnist().train
    for name in arguments.models:
        config = fashion_mnist.PRESETS[name]
        steps, _ = pipeline.schedule(len(train.y), config.batch_size)
        model = fashion_mnist.build(config, len(train.y))
        batches = pipeline.training(train, config.batch_size, seed=0)
        probe = train.x[: fashion_mnist.PROBE]
        watchers = {
            "without": lambda: [],
            "GradientMonitor": lambda probe=probe: [GradientMonitor(probe, verbose=0)],
            "GradientMonitor, stop_on_nonfinite": lambda probe=probe: [
                GradientMonitor(probe, stop_on_nonfinite=True, verbose=0)
            ],
            "GradientMonitor, details always": lambda probe=probe: [
                GradientMonitor(probe, detail_every=1, verbose=0)
            ],
        }
        passed = {watcher: [] for watcher in watchers}
        worked = {watcher: [] for watcher in watchers}
        for _ in range(arguments.rounds):
            for watcher, make in watchers.items():
                epoch = SecondEpoch()
                model.fit(
                    batches,
                    steps_per_epoch=steps,
                    epochs=3,
                    shuffle=False,
                    verbose=0,
                    callbacks=[epoch, *make()],
                )
                passed[watcher].append(epoch.passed)
                worked[watcher].append(epoch.worked)
        table(f"{name}: an epoch of {len(train.y):,} images", passed, "without")
        table(f"{name}: processor time", worked, "without")


if __name__ == "__main__":
    main()
