"""Threshold neuron: AND, OR, NOT and a diagnosis of flu by fixed weights.

A neuron of McCulloch and Pitts (1943) fires when the weighted sum of its inputs is
above its threshold. Nothing is learned: the weights are chosen by hand (L1, L2).

    number     claim  measured  what
    and_wrong  = 0    0         inputs that AND gets wrong, of 4
    or_wrong   = 0    0         inputs that OR gets wrong, of 4
    not_wrong  = 0    0         inputs that NOT gets wrong, of 2
    flu_fires  = 1    1         of the 8 sets of symptoms, those called flu
    all_three  = 5    5         weighted sum of all three symptoms
    seconds    -      0.1       seconds on two CPU cores; quick 0.1

With weights (-1, 3, 3) and threshold 5, all three symptoms give 5, which is not above
5: only the second and third without the first are called flu.
"""

import itertools
import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "neuron"
# gate -> weights, threshold, the truth table's last column, inputs in counting order
GATES = {
    "AND": ((1, 1), 1.5, (0, 0, 0, 1)),
    "OR": ((1, 1), 0.5, (0, 1, 1, 1)),
    "NOT": ((-1,), -0.5, (1, 0)),
}
FLU = (-1, 3, 3), 5


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""


QUICK = Config(quick=True)


def neuron(weights, threshold):
    """Return a neuron that fires (1) where the weighted sum is above the threshold."""
    import keras

    import zoo

    layer = zoo.MyDenseLayer(1, activation=lambda z: keras.ops.cast(z > 0, "float32"))
    layer.build((None, len(weights)))
    layer.set_weights([np.transpose([weights]), np.array([-threshold])])
    return layer


def inputs(count):
    """Return all sets of `count` inputs of 0 and 1, `(2**count, count)`."""
    return np.array(list(itertools.product([0, 1], repeat=count)), "float32")


def measure(run):
    """Ask each neuron for all sets of inputs; return the numbers and what to draw."""
    numbers, drawn = {}, {}
    for name, (weights, threshold, truth) in GATES.items():
        x = inputs(len(weights))
        fires = np.array(neuron(weights, threshold)(x))[:, 0]
        numbers[f"{name.lower()}_wrong"] = int((fires != truth).sum())
        drawn[name] = (x @ weights, threshold, fires, x)
    weights, threshold = FLU
    x = inputs(3)
    fires = np.array(neuron(weights, threshold)(x))[:, 0]
    drawn["flu"] = (x @ weights, threshold, fires, x)
    sums = x @ weights
    return numbers | {"flu_fires": int(fires.sum()), "all_three": sums[-1]}, drawn


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        "One neuron with fixed weights computes AND, OR and NOT without a mistake; the "
        f"flu neuron fires for {numbers['flu_fires']:.0f} of 8 sets of symptoms, not "
        f"for all three, whose sum {numbers['all_three']:.0f} is not above its "
        f"threshold of {FLU[1]}."
    )


def paint(figure, drawn):
    """Draw each neuron's weighted sums against its threshold."""
    from matplotlib.ticker import MaxNLocator

    for axes, (name, (sums, threshold, fires, x)) in zip(
        figure.subplots(1, len(drawn), width_ratios=[4, 4, 2, 8]),
        drawn.items(),
        strict=True,
    ):
        places = np.arange(len(sums))
        for value, style, label in ((0, "C5s", "silent"), (1, "C1o", "fires")):
            at = fires == value
            axes.vlines(places[at], 0, sums[at], style[:2], linewidth=3)
            axes.plot(places[at], sums[at], style, markersize=11, label=label)
        axes.axhline(threshold, color="C0", linestyle="--", label="threshold")
        axes.set_xticks(places, ["".join(f"{v:.0f}" for v in row) for row in x])
        axes.tick_params(axis="x", rotation=90)
        axes.set(title=name, xlabel="inputs", ylabel="weighted sum")
        axes.margins(x=0.15, y=0.12)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3
    )


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
