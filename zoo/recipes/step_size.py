"""Step size: too small creeps, too large overshoots, a decreasing one settles.

Gradient descent steps against the gradient, the learning rate eta times as far as that
is long (L1). First on a bowl, f(x) = (x1^2 + L x2^2) / 2 with L = 10: every step
multiplies the coordinates by 1 - eta and 1 - eta L, so it converges exactly if
eta < 2/L (L2). Where the gradients are noisy, a constant rate never comes to rest;
decreasing ones do, such as eta0 / (1 + gamma t) and 0.9^t eta0, where t counts epochs.
Then SGD learns pictures of clothes: a network of each seed starts from the same
weights with every rate and sees the same batches.

    number      claim    measured     what
    bowl_error  <= 1e-9  1e-14        largest relative difference, closed form
    bowl_right  = 12     12           rates that converge iff below 2/L, of 12
    right       <= 0.8   0.24 ± 0.01  training loss, rate 0.1
    too_small   >= 0.9   1.33 ± 0.08  training loss, rate 0.0001
    too_large   >= 1.8   2.32 ± 0.00  training loss, rate 3
    constant    -        0.39 ± 0.04  training loss, rate 0.3
    hyperbola   -        0.30 ± 0.02  training loss, 0.3 / (1 + t/2)
    power       -        0.29 ± 0.02  training loss, 0.3 * 0.9^t
    gained      >= 0.01  0.09 ± 0.02  constant minus hyperbola
    seconds     -        7            seconds on two CPU cores; quick 4

A rate of 0.3 is too large to end with, but does no harm at first: hence what a
decreasing rate gains. Against a well chosen constant one, 0.1, it need gain nothing.
A network whose weights became NaN is counted with ln 10, the loss of
guessing.
"""

import functools
import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "step_size"
CURVES = np.array([1.0, 10.0])  # of the bowl; the larger one is L
LIMIT = 2 / CURVES.max()
START = np.array([9.0, 1.0])
BOWL = {"too small": 0.05, "right": 0.9, "too large": 1.02}  # times 2/L
# number -> what it is called, eta0, gamma of eta0 / (1 + gamma t), factor^t
SCHEDULES = {
    "too_small": ("0.0001: too small", 0.0001, 0.0, 1.0),
    "right": ("0.1: right", 0.1, 0.0, 1.0),
    "too_large": ("3: too large", 3.0, 0.0, 1.0),
    "constant": ("0.3: constant", 0.3, 0.0, 1.0),
    "hyperbola": ("0.3 / (1 + t/2)", 0.3, 0.5, 1.0),
    "power": ("$0.9^t$ · 0.3", 0.3, 0.0, 0.9),
}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 5
    """Networks for each rate, from different initial weights."""
    images: int = 8_000
    """Training images."""
    epochs: int = 12
    """How often SGD goes through them."""


QUICK = Config(quick=True, seeds=3, images=3_200, epochs=8)


def descend(rates, steps=60):
    """Return the paths of gradient descent on the bowl, float `(rates, steps + 1, 2)`.

    Keras's SGD takes the steps; every rate has a starting point of its own.
    """
    import keras
    import tensorflow as tf

    x = keras.Variable(np.tile(START, (len(rates), 1)), dtype="float64")
    sgd, path = keras.optimizers.SGD(1.0), [x.numpy()]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            heights = tf.reduce_sum(CURVES * x.value**2, axis=1) / 2
        gradient = tape.gradient(heights, x.value)
        sgd.apply([gradient * np.asarray(rates)[:, None]], [x])
        path.append(x.numpy())
    return np.stack(path, axis=1)


def rate(schedule, epoch):
    """Return the learning rate of an epoch, from 0, under one of `SCHEDULES`."""
    _, start, gamma, factor = SCHEDULES[schedule]
    return start * factor**epoch / (1 + gamma * epoch)


def train(examples, config, progress):
    """Return the training losses by epoch, `(epochs + 1, schedules, seeds)`.

    SGD with rate 1 on a member's loss times its rate is SGD with that rate.
    """
    import keras

    import zoo
    from zoo.ensembles import EnsembleDense
    from zoo.recipes.fashion_mnist import PIXELS

    shape = len(SCHEDULES), config.seeds
    layer = functools.partial(EnsembleDense, members=shape[0] * shape[1])
    model = zoo.mlp(hidden_units=(32,), layer=layer, **PIXELS)
    for weights in model.weights:  # a seed starts equally under all schedules
        own = weights.numpy()[: config.seeds]
        weights.assign(np.tile(own, (shape[0], *[1] * (own.ndim - 1))))
    rates = keras.Variable(np.zeros(shape[0] * shape[1]), trainable=False)
    cross_entropy = keras.losses.sparse_categorical_crossentropy

    def loss(labels, outputs):
        labels = keras.ops.reshape(labels, (-1, 1))
        labels = keras.ops.repeat(labels, shape[0] * shape[1], axis=1)
        return keras.ops.sum(rates * cross_entropy(labels, outputs), axis=-1)

    def set_rates(epoch, logs=None):
        own = [rate(schedule, epoch) for schedule in SCHEDULES]
        rates.assign(np.repeat(own, config.seeds))

    def losses():
        outputs = model(examples.x).numpy()
        own = outputs[np.arange(len(examples.y)), :, examples.y]
        own = np.nan_to_num(own, nan=0.1)  # lost: as good as guessing
        return -np.log(np.maximum(own, 1e-7)).mean(0).reshape(shape)

    curve = [losses()]
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=set_rates,
        on_epoch_end=lambda epoch, logs: curve.append(losses()),
    )
    model.compile(keras.optimizers.SGD(1.0), loss, steps_per_execution=10)
    model.fit(
        *examples, 32, epochs=config.epochs, verbose=0, callbacks=[watch, progress]
    )
    return np.array(curve)


def measure(run):
    """Roll down the bowl with rates around 2/L, and train with the schedules."""
    config = run.config
    rates = LIMIT * np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 0.99, 1.01, 1.02, 1.1])
    rates = np.append(rates, LIMIT * np.array([1.5, 2.0]))
    path = descend(rates)
    powers = np.arange(path.shape[1])[:, None]
    closed = START * (1 - rates[:, None, None] * CURVES) ** powers
    shrinks = np.abs(path[:, -1, 1]) < START[1]
    numbers = {
        "bowl_error": np.abs(path / closed - 1).max(),
        "bowl_right": (shrinks == (rates < LIMIT)).sum(),
    }
    splits = run.load(
        "fashion_mnist", limit=config.images, validation=0, seed=config.seed
    )
    curve = train(splits.train, config, run.epochs(config.epochs))
    numbers |= dict(zip(SCHEDULES, curve[-1], strict=True))
    numbers["gained"] = numbers["constant"] - numbers["hyperbola"]
    return numbers, (descend(LIMIT * np.array(list(BOWL.values())), 16), curve)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    best = min(SCHEDULES, key=numbers.get)
    return (
        f"On the bowl {numbers['bowl_right']:.0f} of 12 rates behave as 2/L says. On "
        f"clothes rate 0.1 brings the loss to {numbers['right']:.2f}, 0.0001 creeps to "
        f"{numbers['too_small']:.2f} and 3 overshoots to {numbers['too_large']:.2f}; "
        f"0.3 ends at {numbers['constant']:.2f} if constant, "
        f"{numbers['hyperbola']:.2f} and {numbers['power']:.2f} if decreasing. Lowest "
        f"is {SCHEDULES[best][0].replace('$', '')}."
    )


def paint(figure, drawn):
    """Draw the paths on the bowl, and the training losses."""
    paths, curve = drawn
    left, right = figure.subplots(1, 2, width_ratios=[5, 6])
    x, y = np.meshgrid(np.linspace(-10, 10, 80), np.linspace(-3, 3, 80))
    heights = (CURVES[0] * x**2 + CURVES[1] * y**2) / 2
    left.contour(x, y, heights, levels=3, cmap="cividis", linewidths=0.8)
    for path, (name, part), look in zip(
        paths, BOWL.items(), ("C0o-", "C2^--", "C1s:"), strict=True
    ):
        label = f"{name}: {part:g} · 2/L"
        left.plot(*path.T, look, markersize=4, linewidth=1.5, label=label)
    left.set(title="On a bowl", xlabel="$x_1$", ylabel="$x_2$", ylim=(-3, 3))
    looks = ("C0o-", "C2^--", "C1s:", "C3D-.", "C9v-", "C4P--")
    for (name, *_), losses, look in zip(
        SCHEDULES.values(), curve.swapaxes(0, 1), looks, strict=True
    ):
        right.plot(losses.mean(1), look, markersize=5, linewidth=1.8, label=name)
    right.set(title="SGD on clothes", xlabel="epoch", ylabel="training loss")
    right.set(ylim=(0, 2.8))
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=12)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=12)


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
