"""Local minima: where gradient descent starts decides where it ends.

Gradient descent runs downhill and stops in the valley that it began in (L1, L3). First
on a curve drawn for it, f(x) = x²/20 + cos(2x + 1), from a grid of starts between -8
and 8. Then on a network: two of 8 tanh units, from different random weights, both
learn a set of points without a mistake, to the same loss. Their weights differ, and not
only in the order of the units: hidden units may be exchanged, and a tanh unit may
change its sign, without changing the network, so those of the second are first put in
the order and the sign that lies nearest to the first. Where the loss still rises on the
straight line between the two, there is a barrier: each lies in a minimum of its own.

    number       claim    measured       what
    minima       >= 4     6              valleys that 65 starts end in
    deepest      <= 60 %  20 %           starts that end in the deepest
    first_loss   <= 0.1   0.001 ± 0.000  loss of the first network of a pair
    second_loss  <= 0.1   0.001 ± 0.000  loss of the second
    loss_gap     <= 10 %  0 ± 0 %        their difference, of their mean
    apart        >= 0.2   0.42 ± 0.05    distance between them / size of the weights
    barrier      >= 0.01  0.11 ± 0.07    highest loss between them, above theirs
    seconds      -        2              seconds on two CPU cores; quick 1

Goodfellow, Vinyals and Saxe, "Qualitatively characterizing neural network optimization
problems", ICLR 2015, section 3, draw the loss along such lines; Hecht-Nielsen (1990)
counts the exchanges and the signs that leave a tanh network as it is.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions
from zoo.data import toys

NAME = "local_minima"
UNITS = 8
AT_ONCE = 50  # steps in one call of TensorFlow
ALONG = np.linspace(0, 1, 41)


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Pairs of networks."""
    networks: int = 40
    """Networks trained; the pairs are those whose losses are nearest to equal."""
    steps: int = 2000
    """Steps of training, each on all points."""


QUICK = Config(quick=True, networks=20, steps=1000)


def curve(x):
    """Return the height of the drawn curve, a bowl with waves in it."""
    from keras import ops

    return x**2 / 20 + ops.cos(2 * x + 1)


def descend(function, starts, rate=0.05, steps=400):
    """Return the paths of gradient descent, float `(steps + 1, starts)`."""
    import tensorflow as tf

    x = tf.Variable(starts, dtype="float64")
    path = [x.numpy()]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            heights = function(x)
        x.assign_sub(rate * tape.gradient(heights, x))
        path.append(x.numpy())
    return np.array(path)


def network(members):
    """Return `members` networks 2-8-1 as one model, tanh inside."""
    import keras

    from zoo.ensembles import EnsembleDense

    x = keras.Input((2,))
    hidden = EnsembleDense(UNITS, members, activation="tanh")(x)
    return keras.Model(x, EnsembleDense(1, members)(hidden))


def losses(model, points):
    """Return the cross-entropy of each member."""
    p = np.array(model(points.x))[..., 0]
    own = np.where(points.y[:, None] == 1, p, 1 - p)
    return -np.log(np.maximum(own, 1e-7)).mean(0)


def train(model, points, steps, *callbacks):
    """Take steps of Adam, each on all points."""
    import keras
    import tensorflow as tf

    from zoo.ensembles import total_loss

    model.compile(
        keras.optimizers.Adam(0.05),
        total_loss("binary_crossentropy"),
        steps_per_execution=AT_ONCE,
    )
    batch = points.x, points.y.astype("float32")
    model.fit(
        tf.data.Dataset.from_tensors(batch).repeat(),
        epochs=steps // AT_ONCE,
        steps_per_epoch=AT_ONCE,
        callbacks=callbacks,
        shuffle=False,  # it is one batch
        verbose=0,
    )


def closest(ends, pairs):
    """Return the `pairs` of members whose losses differ least, none in two pairs."""
    order = np.argsort(ends)
    gaps = np.diff(ends[order]) / ends[order][1:]
    chosen = []
    for place in np.argsort(gaps):
        pair = order[place : place + 2]
        if not np.isin(pair, chosen).any() and len(chosen) < pairs:
            chosen.append(pair)
    return np.array(chosen)


def flat(weights, member):
    """Return a network as rows, one a hidden unit: two weights, bias, output weight.

    And its output's bias.
    """
    kernel, bias, top, last = (np.array(w[member]) for w in weights)
    return np.concatenate([kernel, bias[None], top.T]).T, last


def nearest(rows, others):
    """Return the `others` in the order and with the signs that are nearest to `rows`.

    tanh is odd: a unit with all its weights negated is the same unit.
    """
    from scipy.optimize import linear_sum_assignment

    likeness = rows @ others.T  # the distance is least where this is greatest
    _, order = linear_sum_assignment(-np.abs(likeness))
    signs = np.sign(likeness[np.arange(len(rows)), order])
    return others[order] * signs[:, None]


def unflat(pairs):
    """Return the weights of a model from what `flat` made of each member."""
    rows = np.stack([r for r, _ in pairs])
    last = np.stack([b for _, b in pairs])
    return [rows[:, :, :2].swapaxes(1, 2), rows[:, :, 2], rows[:, :, 3:], last]


def measure(run):
    """Descend the curve, train networks; return numbers, paths and lines."""
    config = run.config
    starts = np.linspace(-8, 8, 65)
    paths = descend(curve, starts)
    minima = np.unique(paths[-1].round(3))
    points = toys.quadrants(200, config.seed)
    model = network(config.networks)
    epochs = config.steps // AT_ONCE
    train(model, points, config.steps, run.epochs(epochs))
    ends = losses(model, points)
    pairs = closest(ends, config.seeds)
    weights = model.get_weights()
    walk = network(len(ALONG))
    numbers = {name: [] for name in ("first_loss", "second_loss", "apart", "barrier")}
    walks = []
    for a, b in pairs:
        (first, last), (other, other_last) = flat(weights, a), flat(weights, b)
        other = nearest(first, other)
        line = [
            (first + t * (other - first), last + t * (other_last - last)) for t in ALONG
        ]
        walk.set_weights(unflat(line))
        heights = losses(walk, points)
        walks.append(heights)
        numbers["first_loss"].append(ends[a])
        numbers["second_loss"].append(ends[b])
        gap = np.linalg.norm(other - first) / np.linalg.norm(first)
        numbers["apart"].append(gap)
        numbers["barrier"].append(heights.max() - max(ends[a], ends[b]))
    numbers |= {
        "minima": len(minima),
        "deepest": np.mean(curve(paths[-1]) < curve(minima).numpy().min() + 1e-6),
        "loss_gap": np.abs(np.diff(ends[pairs])[:, 0]) / ends[pairs].mean(1),
    }
    return numbers, (starts, paths, minima, np.array(walks))


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"From 65 starts gradient descent ends in {numbers['minima']:.0f} valleys, "
        f"only {numbers['deepest']:.0%} of them in the deepest; two networks of nearly "
        f"equal loss ({numbers['first_loss']:.4f} and {numbers['second_loss']:.4f}) "
        f"lie apart by {numbers['apart']:.0%} of the size of their weights, and "
        f"between them the loss rises by {numbers['barrier']:.2f} on average."
    )


def paint(figure, drawn):
    """Draw the curve with starts and ends, and the losses between the networks."""
    from zoo.report.figures import DASHES

    starts, paths, minima, walks = drawn
    left, right = figure.subplots(1, 2)
    x = np.linspace(-8.5, 8.5, 400)
    left.plot(x, np.array(curve(x)), color="C5")
    for index, minimum in enumerate(minima):
        own = starts[np.abs(paths[-1] - minimum) < 1e-2]
        marks = "os^DvPX*"[index % 8]
        heights = np.array(curve(own))
        left.plot(own, heights, f"C{index}{marks}", markersize=6, alpha=0.6)
        lowest = float(curve(np.float64(minimum)))
        left.plot(minimum, lowest, f"C{index}{marks}", markersize=15)
    left.set(xlabel="x", ylabel="f(x)", title="Starts, and where they end")
    for index, heights in enumerate(walks):
        right.plot(
            ALONG, heights, color=f"C{index % 10}", linestyle=DASHES[index % 4],
            label=f"pair {index + 1}",
        )  # fmt: skip
    right.set(xlabel="from one network (0) to the other (1)", ylabel="loss")
    right.set_title("A barrier between two networks")
    right.legend()


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
