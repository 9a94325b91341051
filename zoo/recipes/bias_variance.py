"""Train, validation, test: two accuracies say what a network lacks.

The lecture's table (L2) reads a training and a validation accuracy: 99/89 is
overfitting (high variance), 90/89 underfitting (high bias), 89/78 both.
`zoo.report.diagnose` reads it so too, against a reference of 100 %. Then real networks
on pictures of clothes are made to fall into each cell, and the advice is followed: more
images, a larger network, longer training. Its two gaps are smaller, but not gone. The
test set is asked for that last network alone.

At last an MLP learns 2,000 pictures by SGD, once from raw pixels (0 to 255) and once
from scaled ones (mean 0, standard deviation 1), each with seven learning rates.

    number              claim      measured       what
    table_right         = 3        3              cells read as in the lecture, of 3
    read_right          >= 60 %    100.0 ± 0.0 %  networks read as foreseen
    small_train         -          67.2 ± 3.3 %   too small and short: training accuracy
    small_validation    -          66.8 ± 3.3 %   its validation accuracy
    large_train         -          100.0 ± 0.0 %  large, few images: training accuracy
    large_validation    -          79.0 ± 0.2 %   its validation accuracy
    short_train         -          85.8 ± 0.4 %   short, few images: training accuracy
    short_validation    -          75.1 ± 0.2 %   its validation accuracy
    advised_train       -          92.9 ± 0.3 %   advice followed: training accuracy
    advised_validation  -          85.5 ± 0.4 %   its validation accuracy
    bias_closed         >= 10 %    25.8 ± 3.1 %   training accuracy that the small gains
    variance_closed     >= 5 %     13.6 ± 0.6 %   by how much the large's gap shrinks
    luck                -3 to 3 %  0.6 ± 0.3 %    advice followed: validation minus test
    raw                 -          47.0 ± 1.2 %   raw pixels, best rate: validation
    scaled              -          80.4 ± 0.5 %   scaled pixels, best rate: the same
    scaling             >= 15 %    33.4 ± 1.0 %   the difference
    rates               >= 100     10,000         best learning rate, scaled over raw
    seconds             -          11             seconds on two CPU cores; quick 8

"""

import functools
import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "bias_variance"
TABLE = {
    (0.99, 0.89): "overfitting",
    (0.90, 0.89): "underfitting",
    (0.89, 0.78): "both",
}
RATES = 10.0 ** np.arange(-6, 1.0)  # of SGD
MOST = 1_000_000  # all there are
RAW = {"mean": 0.0, "std": 1.0}


class Network(NamedTuple):
    """A network that is made to fall into a cell of the table."""

    key: str
    images: int
    units: int
    epochs: int
    cell: str


NETWORKS = {
    "too small and short": Network("small", MOST, 4, 3, "underfitting"),
    "large, few images": Network("large", 500, 128, 50, "overfitting"),
    "short, few images": Network("short", 500, 128, 4, "both"),
    "advice followed": Network("advised", MOST, 128, 10, ""),
}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 5
    """Networks of each kind, from different initial weights."""
    images: int = 8_000
    """Training images; half as many more are for validation."""
    epochs: int = 10
    """How often SGD goes through 2,000 images, raw or scaled."""


QUICK = Config(quick=True, seeds=3, images=4_000, epochs=5)


def cell(training, validation):
    """Return the table's cell, as `zoo.report.diagnose` reads two accuracies."""
    from zoo.report import diagnose

    high = diagnose(training, validation, "not known: the reference is 100 %").high
    names = {("bias",): "underfitting", ("variance",): "overfitting", (): "neither"}
    return names.get(high, "both")


def build(units, members, pixels):
    """Return an MLP with one hidden layer, `members` of them side by side."""
    import zoo
    from zoo.ensembles import EnsembleDense

    layer = functools.partial(EnsembleDense, members=members)
    return zoo.mlp(hidden_units=(units,), layer=layer, **pixels)


def fit(model, examples, epochs, seed):
    """Train by batches of 50; all epochs are one to Keras: each would take time."""
    from zoo.data import Examples, pipeline

    model.fit(
        pipeline.training(Examples(*examples), 50, seed=seed),
        steps_per_epoch=epochs
        * pipeline.schedule(len(examples[1]), 50).steps_per_epoch,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
    )


def train(network, splits, config):
    """Return accuracies of all seeds on training, validation and test images."""
    import keras

    from zoo.ensembles import accuracies, total_loss
    from zoo.recipes.fashion_mnist import PIXELS

    model = build(network.units, config.seeds, PIXELS)
    x, y = (array[: network.images] for array in splits.train)
    loss = total_loss("sparse_categorical_crossentropy")
    model.compile(keras.optimizers.Adam(0.001), loss)
    fit(model, (x, y), network.epochs, config.seed)
    parts = (x, y), splits.validation, splits.test
    return [accuracies(model, *part) for part in parts]


def by_rate(pixels, splits, config):
    """Return the validation accuracy of SGD, `(rates, seeds)`."""
    import keras

    from zoo.ensembles import accuracies, rated_loss

    rates = np.repeat(RATES, config.seeds)
    keras.utils.set_random_seed(config.seed)  # raw and scaled start equal
    model = build(32, len(rates), pixels)
    model.compile(keras.optimizers.SGD(1.0), rated_loss(rates))
    few = [array[:2000] for array in splits.train]
    fit(model, few, config.epochs, config.seed)
    return accuracies(model, *splits.validation).reshape(len(RATES), -1)


def measure(run):
    """Read the table, train into its cells, and train with and without scaling."""
    import keras

    from zoo.recipes.fashion_mnist import PIXELS

    config = run.config
    limit = config.images * 3 // 2
    splits = run.load("fashion_mnist", limit=limit, validation=1 / 3, seed=config.seed)
    numbers = {"table_right": sum(cell(*pair) == TABLE[pair] for pair in TABLE)}
    drawn, right = {}, []
    for name, network in run.bar(NETWORKS.items(), "Training", "network"):
        keras.utils.set_random_seed(config.seed)
        training, validation, test = train(network, splits, config)
        read = [cell(*pair) for pair in zip(training, validation, strict=True)]
        if network.cell:
            right.append([one == network.cell for one in read])
        numbers[f"{network.key}_train"] = training
        numbers[f"{network.key}_validation"] = validation
        drawn[name] = training, validation, cell(training.mean(), validation.mean())
    numbers["read_right"] = np.mean(right, axis=0)
    numbers["bias_closed"] = numbers["advised_train"] - numbers["small_train"]
    gaps = [
        numbers[f"{key}_train"] - numbers[f"{key}_validation"]
        for key in ("large", "advised")
    ]
    numbers["variance_closed"] = gaps[0] - gaps[1]
    numbers["luck"] = validation - test
    curves = {
        "raw": by_rate(RAW, splits, config),
        "scaled": by_rate(PIXELS, splits, config),
    }
    best = {name: curve.mean(1).argmax() for name, curve in curves.items()}
    numbers |= {name: curve[best[name]] for name, curve in curves.items()}
    numbers["scaling"] = numbers["scaled"] - numbers["raw"]
    numbers["rates"] = RATES[best["scaled"]] / RATES[best["raw"]]
    return numbers, (drawn, curves)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"All {numbers['table_right']:.0f} cells are read as in the lecture, and "
        f"{numbers['read_right']:.0%} of the networks made for them; with more images, "
        "more units and more epochs training accuracy rises from "
        f"{numbers['small_train']:.0%} to {numbers['advised_train']:.0%} and the gap "
        f"to validation shrinks by {100 * numbers['variance_closed']:.0f} points. SGD "
        f"reaches {numbers['scaled']:.0%} on scaled pixels, {numbers['raw']:.0%} on "
        "raw ones, each at its best rate."
    )


def paint(figure, drawn):
    """Draw the networks' two accuracies, and accuracy by learning rate."""
    from matplotlib.ticker import PercentFormatter

    networks, curves = drawn
    left, right = figure.subplots(1, 2, width_ratios=[6, 5])
    for place, (name, (training, validation, read)) in enumerate(networks.items()):
        ends = training.mean(), validation.mean()
        left.plot(ends, [place, place], "C5-", linewidth=4, zorder=1)
        for values, look, label in (
            (training, "C0o", "training"),
            (validation, "C1s", "validation"),
        ):
            left.plot(values, np.full(len(values), place), look, alpha=0.5)
            left.plot(
                values.mean(),
                place,
                look,
                markersize=11,
                label=None if place else label,
            )
        both = " / ".join(f"{100 * end:.0f}" for end in ends)
        left.text(
            1.0,
            place - 0.2,
            f"{name}: {both}\n{read}",
            ha="right",
            va="bottom",
            fontsize=13,
        )
    left.set(title="Read by two accuracies", xlabel="accuracy", yticks=[])
    left.set(ylim=(len(networks) - 0.6, -0.9), xlim=(0.45, 1.02))
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.spines["left"].set_visible(False)
    left.legend(loc="lower left", handletextpad=0.2)
    for (name, curve), look in zip(curves.items(), ("C1s--", "C0o-"), strict=True):
        middle = curve.mean(1)
        right.plot(RATES, middle, look, label=f"{name} pixels")
        right.fill_between(RATES, curve.min(1), curve.max(1), color=look[:2], alpha=0.2)
    right.axhline(0.1, color="k", linestyle=":", linewidth=1.2)
    right.text(RATES[-1], 0.085, "chance", ha="right", va="top", fontsize=12)
    right.set(title="Scaling the inputs", xlabel="learning rate of SGD", xscale="log")
    right.set(ylabel="validation accuracy", ylim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.legend(loc="upper left")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
