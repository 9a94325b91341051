"""The world's smallest perceptron: one weight learns a line, if its steps are small.

One linear neuron y = w x meets four points, one at a time, and moves its weight after
each: w += eta (y - w x) x (L3). That is a step of gradient descent on half the squared
error, so Keras's SGD takes the same steps. The best weight is known: least squares,
w = sum(x y) / sum(x x) = 117.8 / 117.25.

    number         claim      measured  what
    least_squares  = 1.00469  1.00469   the weight that least squares gives
    learned        = 1.00469  1.00469   where the loop ends, eta = 0.00005
    large_step     > 100      298.5     eta = 1: furthest from it in the last pass
    together       = 116.25   116.25    eta = 1, all points at once: error grows by
    one_by_one     = 231.98   231.98    eta = 0.9, one at a time: grows in a pass by
    by_keras       <= 1e-5    0.00000   largest gap to the weights of Keras's SGD
    two_inputs     <= 1e-4    0.00002   largest gap to least squares, two weights
    seconds        -          0.4       seconds on two CPU cores; quick 0.4

What "eta = 1 diverges" means depends on how the points are taken. All four at once, the
error is multiplied by 1 - 117.25 a step and grows without end; eta must be below
2 / 117.25 = 0.017. One at a time, a point multiplies the error it sees by 1 - eta x x:
-99, -3, -11.25, and 0 for the last point, whose x is 1. So at exactly eta = 1 the
weight is thrown about by hundreds in every pass and brought back at its end, never to
settle. At 0.9 the four factors, -89, -2.6, -10.025 and 0.1, make it grow without end,
as the lecture says. A constant small eta ends in a small circle
around the best weight, the smaller the nearer.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "smallest_perceptron"
X = np.array([[10.0], [2.0], [3.5], [1.0]])
Y = np.array([10.1, 1.9, 3.4, 1.1])
# The same first input with a second one, and y near x1 + x2 / 2.
X2 = np.array([[10.0, 1.0], [2.0, 3.0], [3.5, 2.0], [1.0, 4.0]])
Y2 = np.array([10.6, 3.4, 4.4, 3.1])
SMALL, MIDDLE = 5e-5, 1e-3


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    passes: int = 4000
    """How often the loop with the smallest steps goes through the points."""


QUICK = Config(quick=True)


def loop(x, y, eta, passes):
    """Return the weights after every update, `(passes * points + 1, inputs)`."""
    w = np.zeros(x.shape[1])
    path = [w]
    for _ in range(passes):
        for point, target in zip(x, y, strict=True):
            w = w + eta * (target - w @ point) * point
            path.append(w)
    return np.array(path)


def together(x, y, eta, steps):
    """Return the weights when all points make one step together."""
    path = [np.zeros(x.shape[1])]
    for _ in range(steps):
        path.append(path[-1] + eta * (y - x @ path[-1]) @ x)
    return np.array(path)


def keras_path(x, y, eta, passes):
    """Return what `loop` does, by Keras: SGD on half the squared error."""
    import keras

    import zoo

    layer = zoo.MyDenseLayer(1, activation=None, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    layer.bias.trainable = False  # it stays 0: there is no bias here
    path = [layer.kernel.numpy()[:, 0]]
    model.compile(
        keras.optimizers.SGD(eta),
        lambda y_true, y_pred: keras.ops.square(y_true - y_pred) / 2,
    )
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: path.append(layer.kernel.numpy()[:, 0])
    )
    model.fit(
        x.astype("float32"), y[:, None].astype("float32"), batch_size=1,
        epochs=passes, shuffle=False, callbacks=[note], verbose=0,
    )  # fmt: skip
    return np.array(path)


def measure(run):
    """Learn with several steps, one input and two; compare with least squares."""
    best = np.linalg.lstsq(X, Y)[0]
    best2 = np.linalg.lstsq(X2, Y2)[0]
    passes = run.config.passes
    paths = {
        "η = 1, all at once": together(X, Y, 1.0, 12),
        "η = 0.9": loop(X, Y, 0.9, 8),
        "η = 1": loop(X, Y, 1.0, 8),
        "η = 0.001": loop(X, Y, MIDDLE, passes),
        "η = 0.00005": loop(X, Y, SMALL, passes),
    }
    gaps = {name: np.abs(path - best)[:, 0] for name, path in paths.items()}
    batch, online = gaps["η = 1, all at once"], gaps["η = 0.9"]
    ours, theirs = loop(X, Y, MIDDLE, 10), keras_path(X, Y, MIDDLE, 10)
    two = loop(X2, Y2, SMALL, 2 * passes)
    return {
        "least_squares": best[0],
        "learned": paths["η = 0.00005"][-1, 0],
        "large_step": gaps["η = 1"][-4:].max(),
        "together": batch[-1] / batch[-2],
        "one_by_one": online[-1] / online[-5],
        "by_keras": np.abs(ours - theirs).max(),
        "two_inputs": np.abs(two[-1] - best2).max(),
    }, (best[0], gaps, two, best2)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    gap = abs(numbers["learned"] - numbers["least_squares"])
    return (
        f"With small steps the loop ends at w = {numbers['learned']:.5f}, "
        f"{'the' if gap < 1e-5 else 'not the'} weight of least squares "
        f"({numbers['least_squares']:.5f}); with eta = 1 it is still thrown "
        f"{numbers['large_step']:.0f} away from it, or, all points at once, gets "
        f"{numbers['together']:.0f} times as far with every step."
    )


def paint(figure, drawn):
    """Draw the points with the line, and how far the weights are from the best."""
    best, gaps, two, best2 = drawn
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.6])
    ends = np.array([0, 11])
    left.plot(ends, best * ends, "C0", label=f"y = {best:.5f} x")
    left.plot(X[:, 0], Y, "C1o", markersize=10, label="the four points")
    left.set(xlabel="x", ylabel="y", title="Least squares")
    left.legend(loc="upper left")
    gaps["two inputs"] = np.linalg.norm(two - best2, axis=1)
    looks = "C5-", "C3-.", "C0--", "C1-.", "C2-", "C4:"
    for look, (name, gap) in zip(looks, gaps.items(), strict=True):
        # Small steps: after every pass, as the weight circles within each.
        updates = np.arange(len(gap))[:: 4 if len(gap) > 100 else 1]
        right.plot(updates, gap[updates], look, label=name)
    right.set_xscale("symlog", linthresh=10)
    right.set_yscale("log")
    right.set(ylim=(1e-6, 1e7), xlim=(0, None), xlabel="updates of the weight")
    right.set(ylabel="distance to least squares", title="Steps too large, and small")
    right.legend(loc="upper right")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
