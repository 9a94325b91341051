"""Keep the best model so far, on disk."""

import math
from pathlib import Path

import keras

from zoo.errors import unknown
from zoo.files import replacing


class KeepBest(keras.callbacks.Callback):
    """Saves the model after each epoch that is better than all before it.

    Unlike `keras.callbacks.ModelCheckpoint` it replaces the file whole, so that a
    process that dies while it writes leaves the one before; and an epoch whose loss is
    infinite or NaN is never best.

    Args:
        path: the file to keep, ending in `.keras`.
        monitor: the number to maximise, among those that `fit` logs each epoch.

    Attributes:
        best: the highest value so far; minus infinity before the first epoch.

    Raises:
        ZooError: (a `ValueError`) after the first epoch, if `monitor` is not logged.
    """

    def __init__(self, path: str | Path, monitor: str = "val_accuracy"):
        super().__init__()
        self.path, self.monitor = Path(path), monitor
        self.best = -math.inf

    def on_train_begin(self, logs=None):
        """Forget the best of an earlier `fit`."""
        self.best = -math.inf

    def get_state(self) -> dict[str, float]:
        """Return what `set_state` needs to continue after the epoch that just ended."""
        return {"best": self.best}

    def set_state(self, state: dict[str, float]) -> None:
        """Continue from what `get_state` returned; call it while `fit` runs."""
        self.best = state["best"]

    def on_epoch_end(self, epoch, logs=None):
        """Save the model if this epoch is the best so far."""
        logs = {} if logs is None else logs
        if self.monitor not in logs:
            raise unknown("monitor", self.monitor, logs)
        healthy = math.isfinite(logs.get("loss", 0))
        if healthy and logs[self.monitor] > self.best:
            self.best = logs[self.monitor]
            with replacing(self.path, durable=True) as path:
                self.model.save(path)
