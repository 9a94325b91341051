"""A small network by hand: two numbers pass through three layers of sigmoids.

A network with two inputs and three layers of two sigmoid neurons each, its weights
given (L3). Every layer is a matrix product, a sum and a sigmoid, so pen and paper will
do; here the layers are `MyDenseLayer`s, and NumPy goes the same way beside them.

    number    claim    measured  what
    first_1   = 0.62   0.6177    first output for (1, -1)
    first_2   = 0.83   0.8291    second output for (1, -1)
    zeros_1   = 0.51   0.5118    first output for (0, 0)
    zeros_2   = 0.85   0.8544    second output for (0, 0)
    by_numpy  <= 1e-6  0.000000  largest gap to the same sums in NumPy
    seconds   -        0.1       seconds on two CPU cores; quick 0.1
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "network_by_hand"
# W has a row for each neuron, as the lecture writes it: z = W x + b.
LAYERS = (
    ([[1, -2], [-1, 1]], [1, 0]),
    ([[2, -1], [-2, -1]], [0, 0]),
    ([[3, -1], [-1, 4]], [-2, 2]),
)
INPUTS = {"first": (1, -1), "zeros": (0, 0)}


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""


QUICK = Config(quick=True)


def network():
    """Return the three layers."""
    import zoo

    layers = []
    for weights, bias in LAYERS:
        layer = zoo.MyDenseLayer(2, activation="sigmoid")
        layer.build((None, 2))
        layer.set_weights([np.transpose(weights), np.array(bias)])  # it computes x W
        layers.append(layer)
    return layers


def activations(x):
    """Return the input and what each layer makes of it, `(layers + 1, 2)`."""
    passed = [np.array([x], "float32")]
    for layer in network():
        passed.append(np.array(layer(passed[-1])))
    return np.concatenate(passed)


def by_numpy(x):
    """Return the same by NumPy, written as the lecture writes it."""
    passed = [np.array(x, float)]
    for weights, bias in LAYERS:
        passed.append(1 / (1 + np.exp(-(np.array(weights) @ passed[-1] + bias))))
    return np.stack(passed)


def measure(run):
    """Pass both inputs through; return the outputs, and all activations to draw."""
    numbers, gaps, drawn = {}, [], {}
    for name, x in INPUTS.items():
        drawn[x] = activations(x)
        gaps.append(np.abs(drawn[x] - by_numpy(x)).max())
        numbers[f"{name}_1"], numbers[f"{name}_2"] = drawn[x][-1]
    return numbers | {"by_numpy": max(gaps)}, drawn


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"(1, -1) comes out as ({numbers['first_1']:.2f}, {numbers['first_2']:.2f}) "
        f"and (0, 0) as ({numbers['zeros_1']:.2f}, {numbers['zeros_2']:.2f}): layers "
        f"and NumPy agree to {max(numbers['by_numpy'], 1e-7):.0e}, so a network is "
        "sums, products and one function."
    )


def paint(figure, drawn):
    """Draw the network once for each input, with its activations on the nodes."""
    for axes, (x, passed) in zip(
        figure.subplots(2, 1, sharex=True), drawn.items(), strict=True
    ):
        for layer, (weights, bias) in enumerate(LAYERS):
            for neuron in range(2):
                for source in range(2):
                    edge(axes, layer, source, neuron, weights[neuron][source])
                if bias[neuron]:
                    axes.text(
                        layer + 1, -0.5 if neuron else 1.5, f"bias {bias[neuron]:+d}",
                        ha="center", va="center", color="C2", fontsize=13,
                    )  # fmt: skip
        for layer, pair in enumerate(passed):
            for neuron, value in enumerate(pair):
                axes.plot(
                    layer, 1 - neuron, "o", markersize=46, markeredgecolor="C0",
                    color=(1 - 0.3 * value, 1 - 0.15 * value, 1) if layer else "white",
                )  # fmt: skip
                text = f"{value:.2f}" if layer else f"{value:.0f}"
                axes.text(layer, 1 - neuron, text, ha="center", va="center")
        axes.set(xlim=(-0.4, 3.4), ylim=(-0.75, 1.75), title=f"Input {x}")
        axes.axis("off")


def edge(axes, layer, source, neuron, weight):
    """Draw a connection and its weight: solid if positive, dashed if negative."""
    ends = np.array([[layer, 1 - source], [layer + 1, 1 - neuron]])
    positive = weight > 0
    axes.plot(*ends.T, "C0-" if positive else "C1--", linewidth=0.8 + 0.8 * abs(weight))
    # A third of the way, so that the weights of crossing lines do not meet.
    axes.text(
        *(0.7 * ends[0] + 0.3 * ends[1]), f"{weight:+d}", ha="center", va="center",
        fontsize=13, color="C0" if positive else "C1",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
