"""Universality: one hidden layer comes as near to a function as it is wide.

A network with one hidden layer can be brought as close to any continuous function on an
interval as one likes, if only it is wide enough (L2, L3, L5; Cybenko 1989 and Hornik
1991). Here such networks learn a curve with a bend, a bump and a wave from 100 points
on [-1, 1], ReLU and sigmoid, many widths and several starts, all in one training each.

    number        claim    measured       what
    relu_1        -        0.425 ± 0.011  rms error, 1 ReLU
    relu_64       -        0.102 ± 0.032  rms error, 64 ReLUs
    relu_gain     >= 2     4.7 ± 2.1      error of 1 ReLU / error of 64
    sigmoid_1     -        0.399 ± 0.022  rms error, 1 sigmoid
    sigmoid_64    -        0.027 ± 0.010  rms error, 64 sigmoids
    sigmoid_gain  >= 3     16.1 ± 5.8     error of 1 sigmoid / error of 64
    steps_down    >= 80 %  92 %           doublings that lower the mean error
    seconds       -        7              seconds on two CPU cores; quick 4

The theorem says that good weights exist, not that training finds them: the error that
is left at large width is that of a training that ends, not of the network.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "universality"
WIDTHS = (1, 2, 4, 8, 16, 32, 64)
ACTIVATIONS = ("relu", "sigmoid")
POINTS = 100


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Starts of each width and activation."""
    steps: int = 6000
    """Steps of training, each on all points."""


QUICK = Config(quick=True, seeds=3, steps=3000)


def curve(x):
    """Return the function to be learned: a bend, a bump and a wave."""
    return np.abs(x) + np.exp(-(((x - 0.4) / 0.1) ** 2)) + 0.3 * np.sin(6 * np.pi * x)


def networks(activation, seeds, steps):
    """Return one model of `seeds` networks of every width.

    The hidden units begin with their bends spread over the interval.
    """
    import keras

    from zoo.ensembles import EnsembleDense, total_loss

    widths = [width for width in WIDTHS for _ in range(seeds)]
    slopes = {"relu": 2.0, "sigmoid": 12.0}[activation]
    spread = {
        "kernel_initializer": keras.initializers.RandomUniform(-slopes, slopes),
        "bias_initializer": keras.initializers.RandomUniform(-slopes / 2, slopes / 2),
    }
    members = len(widths)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            EnsembleDense(widths, members, activation=activation, **spread),
            EnsembleDense(1, members, activation=None),
        ]
    )
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, steps)),
        total_loss("mean_squared_error"),
        steps_per_execution=100,
        jit_compile=True,
    )
    return model


def measure(run):
    """Train all networks; return their errors, and what some have learned."""
    config = run.config
    x = np.linspace(-1, 1, POINTS, dtype="float32")[:, None]
    y = curve(x)
    numbers, errors, fits = {}, {}, {}
    for activation in ACTIVATIONS:
        model = networks(activation, config.seeds, config.steps)
        epochs = -(-config.steps // 100)  # of 100 steps each, all on the same points
        model.fit(
            np.tile(x, (100, 1)),
            np.tile(y, (100, 1)),
            batch_size=POINTS,
            epochs=epochs,
            shuffle=False,
            callbacks=[run.epochs(epochs, f"Training with {activation}")],
            verbose=0,
        )
        guesses = model.predict(x, batch_size=POINTS, verbose=0)[..., 0]
        rms = np.sqrt(((guesses - y) ** 2).mean(0)).reshape(len(WIDTHS), -1)
        errors[activation] = rms
        guesses = guesses.reshape(POINTS, len(WIDTHS), -1)
        fits[activation] = {w: guesses[:, WIDTHS.index(w), 0] for w in (4, 16, 64)}
        numbers |= {
            f"{activation}_1": list(rms[0]),
            f"{activation}_64": list(rms[-1]),
            f"{activation}_gain": list(rms[0] / rms[-1]),
        }
    down = [np.diff(rms.mean(1)) < 0 for rms in errors.values()]
    numbers["steps_down"] = np.mean(down)
    return numbers, (x[:, 0], y[:, 0], errors, fits)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"From 1 to 64 hidden units the error falls to 1/{numbers['relu_gain']:.0f} "
        f"with ReLU (to {numbers['relu_64']:.3f}) and to "
        f"1/{numbers['sigmoid_gain']:.0f} with sigmoid (to "
        f"{numbers['sigmoid_64']:.3f}); {numbers['steps_down']:.0%} of the doublings "
        "of the width lower it."
    )


def paint(figure, drawn):
    """Draw fits of three widths, and the error against the width."""
    from zoo.report.figures import DASHES, MARKERS

    x, y, errors, fits = drawn
    left, right = figure.subplots(1, 2)
    left.plot(x, y, color="C5", linewidth=6, alpha=0.5, label="to be learned")
    for index, (width, guesses) in enumerate(fits["relu"].items()):
        left.plot(
            x, guesses, color=f"C{index}", linestyle=DASHES[(index + 1) % 4],
            label=f"{width} ReLUs",
        )  # fmt: skip
    left.set(xlabel="x", ylabel="f(x)", title="Fits of one hidden layer")
    left.legend(fontsize=12)
    for index, (activation, rms) in enumerate(errors.items()):
        mean = rms.mean(1)
        right.plot(
            WIDTHS, mean, color=f"C{index}", marker=MARKERS[index],
            linestyle=DASHES[index], label=activation,
        )  # fmt: skip
        right.fill_between(WIDTHS, rms.min(1), rms.max(1), color=f"C{index}", alpha=0.2)
    right.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="rms error")
    right.set_title("Error against width")
    right.set_xticks(WIDTHS, WIDTHS)
    right.minorticks_off()
    right.legend()


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
