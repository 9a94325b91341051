"""Optimizers: SGD, momentum, AdaGrad and Adam, each at its best rate.

Four ways to use the same gradients (L1, L2, L5): one network, one start a seed, the
same batches. None may win by its learning rate: each is tried with every rate of one
grid, and the best for it, by validation loss, is taken. Adam has the published
constants, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8. Before that, its update written
from the formula (Kingma and Ba 2015, algorithm 1) takes 100 steps beside Keras's.

    number         claim    measured     what
    adam_error     <= 1e-5  2e-7         Adam by formula and Keras, 100 steps
    sgd            <= 0.9   0.46 ± 0.01  validation loss, SGD
    momentum       <= 0.9   0.46 ± 0.01  validation loss, momentum 0.9
    adagrad        <= 0.9   0.45 ± 0.01  validation loss, AdaGrad
    adam           <= 0.9   0.47 ± 0.01  validation loss, Adam
    spread         <= 0.3   0.02         worst of the four minus best
    bad_rate       >= 0.1   1.8          lost by the grid's worst rate, Adam
    sgd_rate       -        0.100        the best rate, SGD
    momentum_rate  -        0.010        the best rate, momentum
    adagrad_rate   -        0.030        the best rate, AdaGrad
    adam_rate      -        0.001        the best rate, Adam
    seconds        -        19           seconds on two CPU cores; quick 6

Keras takes its epsilon as the paper's "epsilon hat", the form at the end of section 2:
its step is rate * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon), so it is
algorithm 1 with an epsilon larger by 1 / sqrt(1 - beta2^t), 32 times at the first step.
"""

import functools
import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "optimizers"
# the grid that every optimizer is tried with
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
NAMES = {
    "sgd": "SGD",
    "momentum": "momentum 0.9",
    "adagrad": "AdaGrad",
    "adam": "Adam",
}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 3
    """Networks for each optimizer and rate, from different initial weights."""
    images: int = 8_000
    """Images; a quarter of them is for validation."""
    epochs: int = 5
    """How often each network goes through the rest."""


QUICK = Config(quick=True, seeds=2, images=2_400, epochs=3)


def optimizer(name, rate):
    """Return one of the four as Keras has it."""
    import keras

    return {
        "sgd": lambda: keras.optimizers.SGD(rate),
        "momentum": lambda: keras.optimizers.SGD(rate, momentum=0.9),
        "adagrad": lambda: keras.optimizers.Adagrad(rate),
        "adam": lambda: keras.optimizers.Adam(rate, 0.9, 0.999, 1e-8),
    }[name]()


def adam(weights, gradients, rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Yield the weights after each of Adam's steps, algorithm 1 of the paper."""
    m, v = np.zeros_like(weights), np.zeros_like(weights)
    for t, gradient in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        mean, square = m / (1 - beta1**t), v / (1 - beta2**t)
        weights = weights - rate * mean / (np.sqrt(square) + epsilon)
        yield weights


def adam_error(seed, steps=100):
    """Return the largest difference between `adam` and Keras's, in weights."""
    import keras

    rng = np.random.default_rng(seed)
    start, gradients = rng.normal(size=50), rng.normal(size=(steps, 50))
    variable = keras.Variable(start, dtype="float64")
    theirs, worst = optimizer("adam", 0.001), 0.0
    for ours, gradient in zip(adam(start, gradients), gradients, strict=True):
        theirs.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        worst = max(worst, np.abs(ours - variable.numpy()).max())
    return worst


def train(name, splits, config, bar):
    """Train with every rate; return losses by step and validation losses.

    Returns:
        float `(rates, epochs, steps)`, the mean loss of the seeds on the batch, and
        `(rates, seeds)`.
    """
    import keras

    import zoo
    from zoo.ensembles import EnsembleDense, total_loss
    from zoo.recipes.fashion_mnist import PIXELS

    keras.utils.set_random_seed(config.seed)  # every optimizer starts there
    layer = functools.partial(EnsembleDense, members=config.seeds)
    model = zoo.mlp(hidden_units=(64,), layer=layer, **PIXELS)
    start = model.get_weights()
    used = optimizer(name, RATES[0])
    model.compile(used, total_loss("sparse_categorical_crossentropy"))
    used.build(model.trainable_variables)
    fresh = [variable.numpy() for variable in used.variables]
    x, y = splits.train
    order = np.random.default_rng(config.seed)
    orders = [order.permutation(len(y)) for _ in range(config.epochs)]
    batches = [
        batch for o in orders for batch in np.array_split(o, max(1, len(y) // 64))
    ]
    curves, ends = [], []
    for rate in RATES:
        model.set_weights(start)
        for variable, value in zip(used.variables, fresh, strict=True):
            variable.assign(value)
        used.learning_rate = rate
        curve = []
        for batch in batches:
            model.reset_metrics()
            curve.append(float(model.train_on_batch(x[batch], y[batch])))
        curves.append(np.array(curve) / config.seeds)
        probabilities = model(splits.validation.x).numpy()
        own = probabilities[np.arange(len(splits.validation.y)), :, splits.validation.y]
        ends.append(-np.log(np.maximum(own, 1e-7)).mean(0))
        bar.update()
    return np.array(curves), np.array(ends)


def measure(run):
    """Compare Adam with its formula, then the four with each other."""
    numbers = {"adam_error": adam_error(run.config.seed)}
    splits = run.load(
        "fashion_mnist",
        limit=run.config.images,
        validation=0.25,
        seed=run.config.seed,
    )
    drawn = {}
    with console.progress_bar("Training", "rate", len(NAMES) * len(RATES)) as bar:
        for name in NAMES:
            curves, ends = train(name, splits, run.config, bar)
            best = np.nanargmin(ends.mean(1))  # a rate may diverge
            numbers |= {name: ends[best], f"{name}_rate": RATES[best]}
            drawn[name] = curves[best], ends.mean(1), RATES[best]
    best = [numbers[name].mean() for name in NAMES]
    numbers["spread"] = max(best) - min(best)
    _, of_adam, _ = drawn["adam"]
    numbers["bad_rate"] = of_adam.max() - of_adam.min()
    return numbers, drawn


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    first = min(NAMES, key=lambda name: numbers[name])
    losses = ", ".join(f"{NAMES[name]} {numbers[name]:.3f}" for name in NAMES)
    return (
        f"Adam by its formula is Keras's to {numbers['adam_error']:.0e}; each at its "
        f"best rate, the validation losses are {losses}: {NAMES[first]} is lowest, and "
        f"the four lie {numbers['spread']:.2f} apart, while the worst rate costs Adam "
        f"{numbers['bad_rate']:.2f}."
    )


def paint(figure, drawn):
    """Draw the losses by step, and the validation losses by rate."""
    left, right = figure.subplots(1, 2, width_ratios=[6, 5])
    looks = ("C0o-", "C1s--", "C2^-.", "C3D:")
    for (name, (curve, ends, rate)), look in zip(drawn.items(), looks, strict=True):
        width = max(len(curve) // 20, 1)
        smooth = curve[: len(curve) // width * width].reshape(-1, width).mean(1)
        steps = (np.arange(len(smooth)) + 0.5) * width
        label = f"{NAMES[name]}, {rate:g}"
        left.plot(steps, smooth, look, label=label, markersize=4, linewidth=1.6)
        right.plot(RATES, ends, look, label=NAMES[name])
    left.set(title="Each at its best rate", xlabel="step", ylabel="loss of the batch")
    left.set(ylim=(0, 2.6))
    left.legend()
    right.set(title="After training", xlabel="learning rate", xscale="log")
    right.set(ylabel="validation loss", ylim=(0, 2.6))
    right.legend()


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
