"""Initialization: why weights start at random, and how large, in deep networks.

Weights that all start at zero get the same gradients, so the hidden units stay copies
of each other (L1). At random, the size matters: a ReLU layer keeps the size of its
signal if the weights have variance 2/n (He et al. 2015, equation 10), and halves its
mean square with 1/n (Xavier: Glorot and Bengio 2010, equation 12), so that after L
layers the rms activation has fallen to 2^(-L/2) (L2). It is measured in stacks of equal
width for one input of rms 1 and averaged over networks. Then networks of 22 and 30
layers without batch normalization learn pictures of clothes by SGD.

    number             claim           measured     what
    zero_difference    <= 0.00001      0            zero start: difference of units
    zero_moved         >= 0.001        0.03         zero start: largest weight then
    random_difference  >= 0.1          0.3          random start: difference of units
    xavier_at_22       2e-4 to 1e-3    4.2e-4       rms activation, layer 22, Xavier
    xavier_at_30       1.2e-5 to 7e-5  2.6e-5       rms activation, layer 30, Xavier
    he_at_22           0.5 to 2        1.14         rms activation, layer 22, He
    he_at_30           0.5 to 2        1.12         rms activation, layer 30, He
    xavier_22          -               2.06 ± 0.21  loss after 22 layers, Xavier
    he_22              <= 1.7          0.53 ± 0.02  loss after 22 layers, He
    xavier_30          2.15 to 2.31    2.29 ± 0.02  loss after 30 layers, Xavier
    he_30              <= 2            0.82 ± 0.11  loss after 30 layers, He
    ahead              >= 0.3          1.48 ± 0.12  xavier_30 minus he_30
    seconds            -               25           seconds on two CPU cores; quick 11

2^(-L/2) is 4.9e-4 at 22 layers and 3.1e-5 at 30; guessing has a loss of ln 10 = 2.303.
He et al., "Delving deep into rectifiers", ICCV 2015, section 2.2, show the same of
convolutional networks: with 22 layers both learn and He's earlier (figure 2), with 30
Xavier's stays where it was (figure 3; as cited, not checked). Ours are fully connected
and 128 units wide. Longer training lets 22 Xavier layers learn too,
and in the end some of 30: they stand still for long, not for ever.
"""

import functools
import math
import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "initialization"
DEPTHS = 22, 30
RATE = 0.02
INITIALIZERS = {"Xavier": "glorot_normal", "He": "he_normal"}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 5
    """Networks of each depth and initialization that are trained."""
    images: int = 3_200
    """Training images."""
    epochs: int = 6
    """How often SGD goes through them."""
    width: int = 128
    """Units of each layer of the networks that are trained."""
    networks: int = 60
    """Networks whose activations are measured before training."""


QUICK = Config(quick=True, seeds=2, epochs=3, networks=20)


def activations(initializer, depth, networks, seed, width=128):
    """Return the rms activation of each layer in a new ReLU stack, float `(depth,)`.

    Args:
        initializer: of the kernels, a Keras initializer's name.
        depth: number of layers, all `width` wide.
        networks: over how many the mean square is averaged.
        seed: of the input; the weights follow Keras's global seed.
        width: of every layer, and of the input, which has rms 1.
    """
    from zoo.ensembles import EnsembleDense

    a = np.random.default_rng(seed).normal(size=(1, width)).astype("float32")
    a /= np.sqrt(np.mean(a**2))
    rms = []
    for _ in range(depth):
        layer = EnsembleDense(
            width, networks, activation="relu", kernel_initializer=initializer
        )
        a = layer(a)
        rms.append(np.sqrt(np.mean(np.square(a, dtype="float64"))))
    return np.array(rms)


def build(depth, seeds, width):
    """Return `seeds` networks with Xavier and as many with He weights, as one model.

    `depth` counts the layers with weights, the softmax among them.
    """
    import zoo
    from zoo.ensembles import EnsembleDense
    from zoo.recipes.fashion_mnist import PIXELS

    halves = []
    for initializer in INITIALIZERS.values():
        layer = functools.partial(
            EnsembleDense, members=seeds, kernel_initializer=initializer
        )
        stack = zoo.mlp(hidden_units=(width,) * (depth - 1), layer=layer, **PIXELS)
        halves.append(stack.get_weights())
    layer = functools.partial(EnsembleDense, members=2 * seeds)
    model = zoo.mlp(hidden_units=(width,) * (depth - 1), layer=layer, **PIXELS)
    model.set_weights([np.concatenate(pair) for pair in zip(*halves, strict=True)])
    return model


def symmetric(examples):
    """Train a zero and a random start; return differences of units, and the size.

    Returns:
        The largest difference between two hidden units' weights, of the zero start
        and of the random one; the largest weight of the zero start.
    """
    import keras

    import zoo
    from zoo.ensembles import EnsembleDense, total_loss
    from zoo.recipes.fashion_mnist import PIXELS

    layer = functools.partial(EnsembleDense, members=2)
    model = zoo.mlp(hidden_units=(16,), activation="sigmoid", layer=layer, **PIXELS)
    for weights in model.weights:
        weights.assign(
            weights.numpy() * np.reshape([0, 1], (2,) + (1,) * (weights.ndim - 1))
        )
    loss = total_loss("sparse_categorical_crossentropy")
    model.compile(keras.optimizers.SGD(0.1), loss, steps_per_execution=10)
    model.fit(*examples, 32, epochs=2, verbose=0)
    hidden = model.get_layer("hidden_1").get_weights()[0]
    zero, random = np.ptp(hidden, axis=2).max(1)
    return zero, random, np.abs(hidden[0]).max()


def losses(model, examples):
    """Return each member's cross-entropy on the first 1,000 examples."""
    x, y = examples.x[:1000], examples.y[:1000]
    own = model(x).numpy()[np.arange(len(y)), :, y]
    return -np.log(np.maximum(own, 1e-7)).mean(0)


def train(depth, examples, config, progress):
    """Train by SGD; return the losses after each epoch, `(epochs + 1, members)`."""
    import keras

    from zoo.ensembles import total_loss

    model = build(depth, config.seeds, config.width)
    loss = total_loss("sparse_categorical_crossentropy")
    model.compile(keras.optimizers.SGD(RATE), loss, steps_per_execution=10)
    curve = [losses(model, examples)]
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: curve.append(losses(model, examples))
    )
    model.fit(
        *examples, 32, epochs=config.epochs, verbose=0, callbacks=[note, progress]
    )
    return np.array(curve)


def measure(run):
    """Measure the symmetry, the signal's size in depth, and the training."""
    config = run.config
    splits = run.load(
        "fashion_mnist", limit=config.images, validation=0, seed=config.seed
    )
    zero, random, moved = symmetric(splits.train)
    numbers = {"zero_difference": zero, "zero_moved": moved}
    numbers["random_difference"] = random
    sizes, curves = {}, {}
    for name, initializer in run.bar(INITIALIZERS.items(), "Measuring", "start"):
        rms = activations(initializer, max(DEPTHS), config.networks, config.seed)
        sizes[name] = rms
        for depth in DEPTHS:
            numbers[f"{name.lower()}_at_{depth}"] = rms[depth - 1]
    for depth in DEPTHS:
        progress = run.epochs(config.epochs, f"Training {depth} layers")
        curve = train(depth, splits.train, config, progress)
        for name, own in zip(INITIALIZERS, np.split(curve, 2, axis=1), strict=True):
            curves[name, depth] = own
            numbers[f"{name.lower()}_{depth}"] = own[-1]
    numbers["ahead"] = numbers["xavier_30"] - numbers["he_30"]
    return numbers, (sizes, curves)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    learns = "learns too" if numbers["xavier_22"] < 2.25 else "hardly moves"
    return (
        f"Units that start at zero stay equal to {numbers['zero_difference']:.0e}; "
        "behind 30 ReLU layers the signal has an rms of "
        f"{numbers['xavier_at_30']:.1e} with Xavier's weights and "
        f"{numbers['he_at_30']:.2f} with He's, and SGD brings the loss to "
        f"{numbers['xavier_30']:.2f} and {numbers['he_30']:.2f}, where guessing has "
        f"{math.log(10):.2f}; with 22 layers Xavier {learns} "
        f"({numbers['xavier_22']:.2f}, He {numbers['he_22']:.2f})."
    )


def paint(figure, drawn):
    """Draw the signal's size over the layers, and the losses over the epochs."""
    sizes, curves = drawn
    left, *right = figure.subplots(1, 3, width_ratios=[5, 4, 4])
    looks = {"Xavier": "C1s--", "He": "C0o-"}
    layers = np.arange(1, max(DEPTHS) + 1)
    for name, rms in sizes.items():
        left.plot(layers, rms, looks[name], markersize=5, label=name)
    left.plot(layers, 2.0 ** (-layers / 2), "k:", linewidth=1.5, label="$2^{-L/2}$")
    left.set(title="Before training", xlabel="layer L", yscale="log")
    left.set_ylabel("rms activation")
    left.legend(loc="lower left")
    for axes, depth in zip(right, DEPTHS, strict=True):
        axes.axhline(math.log(10), color="k", linestyle=":", linewidth=1.5)
        for name, look in looks.items():
            curve = curves[name, depth]
            axes.plot(curve, look[0:2] + look[3:], linewidth=1, alpha=0.35)
            axes.plot(curve.mean(1), look, label=name)
        end = len(curve) - 1
        axes.text(end, 2.33, "ln 10", fontsize=13, va="bottom", ha="right")
        axes.set(title=f"{depth} layers, SGD", xlabel="epoch", ylim=(0, 2.7))
        axes.set_ylabel("training loss")
        axes.legend(loc="lower left")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
