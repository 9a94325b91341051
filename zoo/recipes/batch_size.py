"""Mini-batches: many rough steps or few exact ones, for the same images.

A step of SGD follows the gradient of m of M images: m = M is gradient descent, m = 1
the stochastic kind, and mini-batches lie between (L2, L3). One epoch is M/m steps. A
network with 32 hidden units learns pictures of clothes by SGD with rate 0.01, from the
same starts with every m, and its loss on all M images is noted by updates, by epochs
and by seconds. `zoo.data.pipeline` draws the batches, and its `schedule` counts them.

    number       claim    measured     what
    steps_wrong  = 0      0            batch sizes without M/m steps an epoch
    epoch_1      -        0.61 ± 0.04  loss after 1 epoch, m = 1
    epoch_32     -        0.99 ± 0.07  loss after 1 epoch, m = 32
    epoch_256    -        1.96 ± 0.11  loss after 1 epoch, m = 256
    epoch_all    -        2.61 ± 0.08  loss after 1 epoch, m = M
    by_epoch     >= 0.5   2.01 ± 0.10  epoch_all minus epoch_1
    by_epoch_32  >= 0.1   1.63 ± 0.11  epoch_all minus epoch_32
    updates_1    -        1.09 ± 0.10  loss after 256 updates, m = 1
    updates_32   -        0.62 ± 0.02  loss after 256 updates, m = 32
    updates_all  -        0.60 ± 0.02  loss after 256 updates, m = M
    by_update    >= 0.02  0.49 ± 0.10  updates_1 minus updates_all
    rises_1      >= 5 %   41 ± 6 %     times the loss went up, m = 1
    rises_all    <= 2 %   0 ± 0 %      times the loss went up, m = M
    seconds_1    -        0.97         seconds of an epoch, m = 1
    seconds_32   -        0.04         seconds of an epoch, m = 32
    seconds      -        8            seconds on two CPU cores; quick 5

The loss is looked at every 16 updates at most, 64 with m = 1. Seconds belong to the
machine, and nothing is claimed of them.
"""

import functools
import sys
import time
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions
from zoo.errors import ZooError

NAME = "batch_size"
UPDATES = 256  # every batch size makes as many at least


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 5
    """Networks for each batch size, from different initial weights."""
    images: int = 2_048
    """M, the training images; a multiple of 256."""

    def __post_init__(self):
        super().__post_init__()
        if self.images % UPDATES:
            raise ZooError(
                f"--images must be a multiple of {UPDATES}. Received: {self.images}"
            )


QUICK = Config(quick=True, seeds=3, images=512)


def sizes(images):
    """Return the batch sizes, name -> m."""
    return {"1": 1, "32": 32, "256": 256, "all": images}


def train(m, examples, config):
    """Train by SGD on batches of `m`, for an epoch and for `UPDATES` at least.

    Returns:
        The updates, the seconds and the losses `(looks, seeds)` at every look, and
        the number of updates of an epoch.
    """
    import keras

    import zoo
    from zoo.data import pipeline
    from zoo.ensembles import EnsembleDense, total_loss
    from zoo.recipes.fashion_mnist import PIXELS

    keras.utils.set_random_seed(config.seed)  # every batch size starts there
    layer = functools.partial(EnsembleDense, members=config.seeds)
    model = zoo.mlp(hidden_units=(32,), layer=layer, **PIXELS)
    epoch, _ = pipeline.schedule(len(examples.y), m)
    every = 64 if m == 1 else min(epoch, 16)
    updates, seconds, losses = [], [], []

    def look(*_):
        outputs = model(examples.x).numpy()
        own = outputs[np.arange(len(examples.y)), :, examples.y]
        losses.append(-np.log(np.maximum(own, 1e-7)).mean(0))
        updates.append(int(model.optimizer.iterations))

    def begin(*_):
        seconds.append(-time.perf_counter())

    def end(*_):
        seconds[-1] += time.perf_counter()
        look()

    watch = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)
    loss = total_loss("sparse_categorical_crossentropy")
    model.compile(keras.optimizers.SGD(0.01), loss, steps_per_execution=every)
    look()
    model.fit(
        pipeline.training(examples, m, seed=config.seed),
        steps_per_epoch=every,
        epochs=max(epoch, UPDATES) // every,
        shuffle=False,
        verbose=0,
        callbacks=[watch],
    )
    seconds[:2] = [np.median(seconds)] * 2  # they hold the tracing of the step
    return np.array(updates), np.cumsum([0, *seconds]), np.array(losses), epoch


def measure(run):
    """Train with every batch size; compare by updates and by epochs."""
    splits = run.load(
        "fashion_mnist", limit=run.config.images, validation=0, seed=run.config.seed
    )
    images = len(splits.train.y)
    numbers, drawn = {"steps_wrong": 0}, {}
    for name, m in run.bar(sizes(images).items(), "Training", "batch size"):
        updates, seconds, losses, epoch = train(m, splits.train, run.config)
        numbers["steps_wrong"] += epoch * m != images
        numbers[f"epoch_{name}"] = losses[np.searchsorted(updates, epoch)]
        numbers[f"updates_{name}"] = losses[np.searchsorted(updates, UPDATES)]
        numbers[f"rises_{name}"] = (np.diff(losses, axis=0) > 0).mean(0)
        numbers[f"seconds_{name}"] = seconds[np.searchsorted(updates, epoch)]
        drawn[name] = updates, seconds, losses.mean(1), images
    numbers["by_epoch"] = numbers["epoch_all"] - numbers["epoch_1"]
    numbers["by_epoch_32"] = numbers["epoch_all"] - numbers["epoch_32"]
    numbers["by_update"] = numbers["updates_1"] - numbers["updates_all"]
    return numbers, drawn


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    epoch = ", ".join(
        f"{numbers[f'epoch_{name}']:.2f} with m = {'M' if name == 'all' else name}"
        for name in sizes(0)
    )
    return (
        f"After one epoch, M/m steps, the loss is {epoch}; but after {UPDATES} updates "
        f"it is {numbers['updates_1']:.2f} with m = 1 and "
        f"{numbers['updates_all']:.2f} with m = M. The exact steps are smoother: "
        f"the loss rose {numbers['rises_1']:.0%} and "
        f"{numbers['rises_all']:.0%} of the times that it was looked at."
    )


def paint(figure, drawn):
    """Draw the loss by updates, by epochs and by seconds."""
    looks = ("C1:", "C0-", "C2--", "C3-.")
    places = figure.subplots(1, 3, sharey=True)
    for (name, (updates, seconds, losses, images)), look in zip(
        drawn.items(), looks, strict=True
    ):
        m = sizes(images)[name]
        label = f"m = M = {m:,}" if name == "all" else f"m = {m}"
        epochs = updates * m / images
        for axes, x in zip(places, (updates, epochs, seconds), strict=True):
            axes.plot(x, losses, look, label=label)
    titles = ("By updates", "By epochs", "By seconds")
    for axes, title in zip(places, titles, strict=True):
        axes.set(title=title, xlabel=title.split()[1])
    places[0].set_ylabel("training loss")
    places[0].set(xlim=(0, UPDATES))
    places[1].set(xlim=(-0.05, 4))
    places[2].set(xlim=(0, None))
    figure.legend(
        *places[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
    )


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
