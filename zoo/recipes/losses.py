"""Losses: what six of them charge for predicting 0.1 where the truth is 1.

The exam example of L4: a network says that a student passes with probability 0.1, and
she passes. Keras's losses and, for zero-one, its accuracy say how wrong that was (L1,
L3, L4); automatic differentiation says how hard each pulls at the logit.

    number        claim     measured  what
    squared       = 0.81    0.81      squared error: (1 - 0.1)²
    absolute      = 0.9     0.9       absolute error (L1): |1 - 0.1|
    zero_one      = 1       1         zero-one: 0.1 is called a 0, which is wrong
    hinge         = 1.8     1.8       hinge: max(0, 1 - s), score s = 2 · 0.1 - 1
    binary        = 2.303   2.303     binary cross-entropy: -ln 0.1
    categorical   = 2.303   2.303     categorical, (0.1, 0.9) against (1, 0)
    right         = 0.105   0.105     binary cross-entropy of 0.9: -ln 0.9
    limit         = 16.12   16.12     binary cross-entropy of 0, clipped at 1e-7
    binary_pull   = -0.9    -0.9      slope of cross-entropy in the logit: p - 1
    squared_pull  = -0.162  -0.162    of squared error: 2(p - 1) p (1 - p)
    seconds       -         0.1       seconds on two CPU cores; quick 0.1

Squared error of a sigmoid pulls least where the prediction is most wrong: its slope
holds the sigmoid's own, p(1 - p). Zero-one has no slope to follow. The hinge takes a
score between -1 and 1 here, so that it can stand beside the others.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "losses"
PREDICTED = 0.1
TITLES = {
    "squared": "squared",
    "absolute": "absolute (L1)",
    "zero_one": "zero-one",
    "hinge": "hinge",
    "binary": "cross-entropy",
}


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""


QUICK = Config(quick=True)


def losses(p):
    """Return six losses of predictions against an actual 1.

    Args:
        p: the predicted probabilities of the actual class, a float tensor `(n,)`.

    Returns:
        Name -> tensor `(n,)`.
    """
    import keras
    from keras import ops

    p = ops.convert_to_tensor(p, "float32")[:, None]
    one = ops.ones_like(p)
    pair = ops.concatenate([p, 1 - p], axis=-1)
    return {
        "squared": keras.losses.mean_squared_error(one, p),
        "absolute": keras.losses.mean_absolute_error(one, p),
        "zero_one": 1 - ops.reshape(keras.metrics.binary_accuracy(one, p), [-1]),
        "hinge": keras.losses.hinge(one, 2 * p - 1),
        "binary": keras.losses.binary_crossentropy(one, p),
        "categorical": keras.losses.categorical_crossentropy(
            ops.concatenate([one, 0 * one], axis=-1), pair
        ),
    }


def pulls(p):
    """Return the slope of every loss in the logit whose sigmoid is `p`, an array."""
    import keras
    import tensorflow as tf

    logits = tf.constant(np.log(p) - np.log1p(-p), "float32")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        values = losses(keras.activations.sigmoid(logits))
    slopes = {name: tape.gradient(value, logits) for name, value in values.items()}
    return {
        name: np.zeros_like(p) if slope is None else np.array(slope)
        for name, slope in slopes.items()
    }


def measure(run):
    """Ask for the losses of one prediction and of all; return numbers and drawing."""
    asked = np.array([PREDICTED, 0.9, 0.0], "float32")
    values = {name: np.array(value) for name, value in losses(asked).items()}
    numbers = {name: value[0] for name, value in values.items()}
    pull = pulls(asked[:1])
    numbers |= {"right": values["binary"][1], "limit": values["binary"][2]}
    numbers |= {"binary_pull": pull["binary"][0], "squared_pull": pull["squared"][0]}
    p = np.linspace(0.01, 0.99, 99)
    curves = {name: np.array(value) for name, value in losses(p).items()}
    return numbers, {"p": p, "losses": curves, "pulls": pulls(p)}


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"For a prediction of {PREDICTED} where the truth is 1, squared error charges "
        f"{numbers['squared']:.2f}, absolute {numbers['absolute']:.2f}, zero-one "
        f"{numbers['zero_one']:.0f}, hinge {numbers['hinge']:.1f} and cross-entropy "
        f"{numbers['binary']:.3f}, which pulls at the logit "
        f"{numbers['binary_pull'] / numbers['squared_pull']:.1f} times as hard as "
        "squared error."
    )


def paint(figure, drawn):
    """Draw the losses over the prediction, and their slopes in the logit."""
    from zoo.report.figures import DASHES, MARKERS

    for axes, what in zip(figure.subplots(1, 2), ("losses", "pulls"), strict=True):
        for index, (name, title) in enumerate(TITLES.items()):
            values = drawn[what][name].copy()
            if what == "losses" and name == "zero_one":
                values[1:][np.diff(values) != 0] = np.nan  # a jump is no line
            axes.plot(
                drawn["p"], values, label=title, color=f"C{index}",
                linestyle=DASHES[index % 4], marker=MARKERS[index], markevery=(9, 20),
            )  # fmt: skip
        axes.axvline(PREDICTED, color="C5", linewidth=1.2)
        axes.set(xlabel="predicted probability of a 1")
        axes.set_xticks([0, 0.1, 0.5, 1], ["0", "0.1", "0.5", "1"])
    left, right = figure.axes
    left.set(title="Loss, the truth is 1", ylabel="loss", ylim=(-0.1, 4))
    right.set(title="Its pull at the logit", ylabel="slope in the logit")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=5
    )


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
