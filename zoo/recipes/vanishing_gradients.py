"""Vanishing and exploding gradients: what depth does to them, and who notices.

A gradient is multiplied by a matrix and by the activation's derivative at every layer
that it passes on its way back (L1). The sigmoid's derivative is 1/4 at most, so ten
sigmoid layers take nearly all of it away; ReLU with He's initialization keeps it;
linear layers of gain 2 double it, 15 times over. Such networks learn pictures of
clothes with momentum while `zoo.callbacks.GradientMonitor` takes the norm of each
layer's gradient at every step, and says what is wrong: its verdict.

    number             claim       measured     what
    sigmoid_ratio      <= 1e-3     1e-5 ± 3e-7  first layer's norm / last's, sigmoid
    sigmoid_step       <= 0.4      0.24 ± 0.00  what a sigmoid layer leaves of a norm
    sigmoid_vanishing  = 1         1            verdict vanishing, sigmoid
    relu_ratio         0.05 to 20  0.6 ± 0.1    first layer's norm / last's, ReLU
    relu_ill           = 0         0            either verdict, ReLU
    linear_ratio       -           0.7 ± 0.1    first layer's norm / last's, linear
    linear_norm        >= 100      1e4 ± 9e3    last layer's norm / weights', linear
    linear_exploding   = 1         1            verdict exploding, linear
    seconds            -           11           seconds on two CPU cores; quick 5

The first and the last hidden layer of equal shape are compared, at the first step, and
the verdicts are read after training. Glorot and Bengio (2010, figure 7) measured
gradients by layer so. A linear stack's gradients are equally large in all layers: the
gradient of weights is a product of what came forwards and what comes back, and what a
layer has less of the one it has more of the other.
"""

import functools
import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "vanishing_gradients"
WIDTH = 64
VANISHING, EXPLODING = "vanishing gradients", "exploding gradients"
# name -> hidden layers, activation, gain: by how much a layer changes a norm
NETWORKS = {
    "10 sigmoid layers": ("sigmoid", 10, "sigmoid"),
    "10 ReLU layers, He": ("relu", 10, "relu"),
    "15 linear layers, gain 2": ("linear", 15, None),
}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 3
    """Networks of each kind, from different initial weights."""
    images: int = 6_000
    """Training images."""
    epochs: int = 2
    """How often SGD goes through them."""


QUICK = Config(quick=True, seeds=1, images=1_280, epochs=1)


def build(depth, activation, seed):
    """Return an MLP of `depth` equal hidden layers, compiled for SGD with momentum.

    The kernels: Glorot's for sigmoid, He's for ReLU; a linear layer gets weights of
    variance 4/n, which double the norm of what passes, forwards and backwards.
    """
    import keras

    import zoo
    from zoo.recipes.fashion_mnist import PIXELS

    keras.utils.set_random_seed(seed)
    scaling = keras.initializers.VarianceScaling
    initializer = {"sigmoid": "glorot_uniform", "relu": "he_normal"}.get(activation)
    layer = functools.partial(
        keras.layers.Dense, kernel_initializer=initializer or scaling(4.0)
    )
    model = zoo.mlp(
        hidden_units=(WIDTH,) * depth,
        activation=activation,
        layer=layer,
        classifier_activation=None,  # logits: the loss stays exact far from 0 and 1
        **PIXELS,
    )
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=10,
    )
    return model


def watch(model, examples, epochs):
    """Train; return each hidden layer's numbers in the first epoch, and the verdicts.

    The first layer is left out: it alone has 784 inputs.
    """
    from zoo.callbacks import GradientMonitor

    monitor = GradientMonitor(verbose=0)
    model.fit(*examples, 64, epochs=epochs, verbose=0, callbacks=[monitor])
    layers = monitor.epochs[0]["layers"]
    hidden = [layers[name] for name in layers if name.startswith("hidden")][1:]
    return hidden, {finding.verdict for finding in monitor.findings}


def measure(run):
    """Train each kind of network under the monitor."""
    config = run.config
    splits = run.load(
        "fashion_mnist", limit=config.images, validation=0, seed=config.seed
    )
    jobs = [(name, seed) for name in NETWORKS for seed in run.seeds]
    drawn = {name: [] for name in NETWORKS}
    numbers = {}
    for name, seed in run.bar(jobs, "Training", "network"):
        key, depth, activation = NETWORKS[name]
        model = build(depth, activation, seed)
        hidden, verdicts = watch(model, splits.train, config.epochs)
        norms = [layer["first_norm"] for layer in hidden]
        drawn[name].append((norms, verdicts))
        ratio = norms[0] / norms[-1]
        own = {"ratio": ratio, "vanishing": VANISHING in verdicts}
        own["exploding"] = EXPLODING in verdicts
        own["ill"] = bool({VANISHING, EXPLODING} & verdicts)
        own["step"] = ratio ** (1 / (len(norms) - 1))
        own["norm"] = norms[-1] / hidden[-1]["start_norm"]
        for what, value in own.items():
            numbers.setdefault(f"{key}_{what}", []).append(value)
    return numbers, drawn


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"A sigmoid layer leaves {numbers['sigmoid_step']:.2f} of a gradient, so the "
        f"first of the stack gets {numbers['sigmoid_ratio']:.0e} of the last one's, "
        f"and ReLU with He's weights {numbers['relu_ratio']:.1f}; in the linear stack "
        f"the gradient is {numbers['linear_norm']:.0e} times the weights. The monitor "
        f"says vanishing to {numbers['sigmoid_vanishing']:.0%} of the sigmoid "
        f"networks, exploding to {numbers['linear_exploding']:.0%} of the linear "
        f"ones, and either to {numbers['relu_ill']:.0%} of the ReLU ones."
    )


def paint(figure, drawn):
    """Draw the gradient norm of each hidden layer, before the first step."""
    axes = figure.subplots()
    for (name, runs), look in zip(
        drawn.items(), ("C1s--", "C0o-", "C2^-."), strict=True
    ):
        layers = np.arange(2, 2 + len(runs[0][0]))
        verdicts = set.union(*(verdicts for _, verdicts in runs))
        said = ", ".join(sorted(verdicts & {VANISHING, EXPLODING})) or "neither"
        for index, (norms, _) in enumerate(runs):
            label = None if index else f"{name}\n(verdict: {said})"
            axes.plot(layers, norms, look, alpha=0.8, label=label)
    axes.set(title="Gradients of each layer at the first step", yscale="log")
    axes.set(xlabel="hidden layer, from the input", ylabel="norm of the gradient")
    axes.set_xticks(range(2, 16, 2))
    figure.legend(loc="outside lower center", ncols=3, fontsize=12)


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
