"""Counting: the neurons, weights and parameters of a fully connected network.

Every neuron has a weight for each input and one bias (L3). So a layer of n neurons
after m inputs has m n weights and n biases; inputs are not neurons. The 3-4-2 network
has 4 + 2 neurons, 3*4 + 4*2 weights, and with a bias a neuron 26 parameters. Each
network is built, and its arrays are counted.

    number            claim      measured  what
    neurons           = 6        6         neurons of the 3-4-2 network
    weights           = 20       20        its weights
    parameters        = 26       26        its parameters: weights and biases
    two_hidden        = 41       41        parameters of the 3-4-4-1 network
    fashion           = 235,146  235,146   of zoo.mlp, 784-256-128-10, for 28x28 images
    fashion_first     >= 85 %    85.5 %    share of those in its first layer
    by_formula_wrong  = 0        0         counts that the formula gets wrong, of 9
    seconds           -          0.1       seconds on two CPU cores; quick 0.1
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "counting"
# From the inputs to the outputs.
NETWORKS = (3, 4, 2), (3, 4, 4, 1), (784, 256, 128, 10)


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""


QUICK = Config(quick=True)


def network(sizes):
    """Return a network of dense layers; the one for images is `zoo.mlp`."""
    import keras

    import zoo

    if sizes[0] == 28 * 28:
        return zoo.mlp((28, 28, 1), sizes[1:-1], classes=sizes[-1])
    inputs = x = keras.Input(sizes[:1])
    for units in sizes[1:]:
        x = zoo.MyDenseLayer(units)(x)
    return keras.Model(inputs, x)


def counted(sizes):
    """Return neurons, weights and parameters of a network, by counting its arrays."""
    arrays = network(sizes).get_weights()
    neurons = sum(array.size for array in arrays if array.ndim == 1)  # a bias each
    parameters = sum(array.size for array in arrays)
    return neurons, parameters - neurons, parameters


def by_formula(sizes):
    """Return the same by the formula."""
    neurons = sum(sizes[1:])
    weights = sum(m * n for m, n in zip(sizes[:-1], sizes[1:], strict=True))
    return neurons, weights, weights + neurons


def measure(run):
    """Count each network both ways."""
    counts = {sizes: counted(sizes) for sizes in NETWORKS}
    small, deeper, fashion = counts.values()
    inputs, first = NETWORKS[-1][:2]
    numbers = dict(zip(("neurons", "weights", "parameters"), small, strict=True))
    return numbers | {
        "two_hidden": deeper[2],
        "fashion": fashion[2],
        "fashion_first": (inputs + 1) * first / fashion[2],
        "by_formula_wrong": sum(
            a != b
            for sizes, count in counts.items()
            for a, b in zip(count, by_formula(sizes), strict=True)
        ),
    }, counts


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"The 3-4-2 network has {numbers['neurons']:.0f} neurons, "
        f"{numbers['weights']:.0f} weights and {numbers['parameters']:.0f} parameters; "
        f"one for small pictures has {numbers['fashion']:,.0f}, of which "
        f"{numbers['fashion_first']:.1%} lie in its first layer."
    )


def paint(figure, drawn):
    """Draw the two small networks, and where the parameters of each network are."""
    above, below = figure.subfigures(2, 1, height_ratios=[1.45, 1])
    for axes, sizes in zip(above.subplots(1, 2), NETWORKS[:2], strict=True):
        draw(axes, sizes)
        neurons, weights, parameters = drawn[sizes]
        axes.set_title(
            f"{name(sizes)}: {neurons} neurons, {weights} weights\n"
            f"{weights} + {neurons} = {parameters} parameters",
            loc="center",
        )
    axes = below.subplots()
    for row, sizes in enumerate(NETWORKS):
        start = 0.0
        for layer, (m, n) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            share = (m + 1) * n / drawn[sizes][2]
            axes.barh(
                row, share, left=start, color=f"C{layer}",
                hatch=("", "//", "..")[layer], edgecolor="white",
                label=f"layer {layer + 1}",
            )  # fmt: skip
            if share > 0.1:
                axes.text(
                    start + share / 2, row, f"{(m + 1) * n:,}", fontsize=13,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                    ha="center", va="center",
                )  # fmt: skip
            start += share
    axes.set_yticks(range(len(NETWORKS)), map(name, NETWORKS))
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the parameters", ylabel="network")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[2:5], labels[2:5], loc="center left", bbox_to_anchor=(1, 0.5))


def name(sizes):
    """Return e.g. `"3-4-2"`."""
    return "-".join(map(str, sizes))


def draw(axes, sizes):
    """Draw the neurons of a network, its inputs as squares, and its weights."""
    places = [np.arange(n) - (n - 1) / 2 for n in sizes]
    for layer, (left, right) in enumerate(zip(places[:-1], places[1:], strict=True)):
        for a in left:
            axes.plot([layer, layer + 1], [[a] * len(right), right], "C5-", linewidth=1)
    for layer, ys in enumerate(places):
        style = "C0o" if layer else "C5s"
        axes.plot([layer] * len(ys), ys, style, markersize=17)
    axes.margins(0.12)
    axes.axis("off")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
