"""A small training with everything that has a state; a process runs it to be killed.

`python -m tests.callbacks.training FOLDER EVERY [HOW STEP [WORKER]]` trains in FOLDER.
HOW is what happens at the end of that step, on every worker or on one: `kill`, or
`kill-writing`, half way through the writing of the next checkpoint, or the name of a
signal that the process sends itself.
"""

import os
import random
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from zoo import replicas
from zoo.callbacks import EarlyStopping, GradientMonitor, KeepBest, Resume
from zoo.data import pipeline
from zoo.data.datasets import Examples
from zoo.training import distribute

EPOCHS, STEPS, EXECUTION = 4, 6, 2  # 4 epochs of 3 executions of 2 steps


class Jitter(keras.layers.Layer):
    """Adds noise from the global seed generator, which belongs to no layer."""

    def call(self, x, training=False):
        shape = (keras.ops.shape(x)[0], 1)
        return x + 0.01 * keras.random.normal(shape) if training else x


class AtEnd(keras.callbacks.Callback):
    """Does something at the end of a step, counted from the beginning of all."""

    def __init__(self, step, do):
        super().__init__()
        self.step, self.do = step, do

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        iterations = self.model.optimizer.iterations.numpy()
        if iterations == self.step == self.epoch * STEPS + batch + 1:
            self.do()


class DrawLots(keras.callbacks.Callback):
    """Changes the weights with the random numbers of Python and NumPy."""

    def on_train_batch_begin(self, batch, logs=None):
        factor = 1 + 1e-3 * (random.random() + np.random.random())
        self.model.trainable_variables[0].assign(
            self.model.trainable_variables[0] * factor
        )


class Count(keras.callbacks.Callback):
    """Counts executions, by the protocol for callbacks of one's own."""

    def __init__(self):
        super().__init__()
        self.counts = {"begun": 0, "ended": 0}

    def on_train_batch_begin(self, batch, logs=None):
        self.counts["begun"] += 1

    def on_train_batch_end(self, batch, logs=None):
        self.counts["ended"] += 1

    def get_state(self):
        return dict(self.counts)

    def set_state(self, state):
        self.counts = dict(state)


def build(units=8, rate=0.05):
    keras.utils.set_random_seed(1)
    # Several replicas cannot make the global generator while they are traced.
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    model = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(units, "relu", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.3),
            *[Jitter()] * alone,
            keras.layers.Dense(3, "softmax", name="top"),
        ]
    )
    distribute.prepare(model)
    schedule = keras.optimizers.schedules.CosineDecay(rate, EPOCHS * STEPS)
    model.compile(
        keras.optimizers.AdamW(schedule),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=EXECUTION,
    )
    return model


def examples():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (STEPS * 10, 2, 2, 1), np.uint8)
    return Examples(x, (x[:, 0, 0, 0] // 86).astype("int64"))


def train(folder, every="4", also=(), model=None, fingerprint=None):
    """Train as a recipe does; return all that is left in the end."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    data, model = examples(), model or build()
    resume = Resume(folder / "ckpt", every, fingerprint, replay=False)
    batches = distribute.batches(
        tf.distribute.get_strategy(),
        lambda share: pipeline.training(
            data,
            10,
            seed=5,
            augmentation=pipeline.Augmentation(flip=True),
            first_step=resume.step,
            share=share,
        ),
    )
    monitor = GradientMonitor(detail_every=4, verbose=0)
    count = Count()
    stop = EarlyStopping("loss", patience=3, restore_best_weights=True)
    logger = keras.callbacks.CSVLogger(folder / "history.csv")
    best = KeepBest(folder / "best.keras")
    try:
        history = model.fit(
            batches,
            steps_per_epoch=STEPS,
            epochs=EPOCHS,
            validation_data=pipeline.evaluation(data, 25),
            verbose=0,
            callbacks=[monitor, best, stop, logger, DrawLots(), count, *also, resume],
            shuffle=False,
        )
    finally:
        if logger.csv_file:
            logger.csv_file.close()
    monitor.save(folder / "gradients.json")
    local = tf.distribute.get_strategy().experimental_local_results
    variables = [*model.variables, *model.optimizer.variables]
    copies = [copy for variable in variables for copy in local(variable.value)]
    return {
        "variables": [copy.numpy().tobytes() for copy in copies],
        "history": history.history,
        "epochs": history.epoch,
        "files": [
            (folder / name).read_bytes() for name in ("history.csv", "gradients.json")
        ],
        "best": [w.tobytes() for w in best_weights(folder / "best.keras")],
        "stop": {k: v for k, v in stop.get_state().items() if k != "best_weights"},
        "count": count.counts,
        "lots": (random.random(), np.random.random()),
    }


def best_weights(path):
    custom = {"Jitter": Jitter}
    return keras.models.load_model(path, custom_objects=custom).get_weights()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_when_writing():
    from zoo import files

    files.os.fsync = lambda descriptor: kill()  # all is written, nothing renamed


DO = {"kill": kill, "kill-writing": kill_when_writing}

if __name__ == "__main__":
    target, interval, *rest = sys.argv[1:]
    # As a terminal has it: a job in the background is born ignoring Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    devices = int(os.environ.get("VIRTUAL_DEVICES", 0)) or None
    strategy = distribute.strategy(virtual_devices=devices)
    target, worker, extra = Path(target), replicas.worker(strategy), []
    target.mkdir(exist_ok=True)
    if rest and str(worker) in rest[2:] or len(rest) == 2:
        how, step = rest[:2]
        do = DO.get(how) or (lambda: signal.raise_signal(getattr(signal, how)))
        extra = [AtEnd(int(step), do)]
    if worker:
        target = target / f"of-worker-{worker}"
    with strategy.scope():
        left = train(target, interval, extra)
    (target / "left").write_text(repr(left))
