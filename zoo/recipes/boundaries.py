"""Decision boundaries: a line fails on hard sets, hidden units bend it round them.

Green points against red ones, in three sets that no line separates: opposite
quadrants, the ring 1 <= |x| <= 2, and three modes (L1, L3, L4). Two classifiers without
a hidden layer, one on x = (x1, x2) and one on phi(x) = (x1, x2, x1 x2), and networks of
one hidden layer, 1 to 500 units of step, tanh or ReLU, all trained at once by Adam. The
step has no gradient to learn by: it is given the slope of a hard tanh, 1 where |z| < 1
(a straight-through estimator: Bengio, Leonard and Courville, "Estimating or
propagating gradients through stochastic neurons", 2013).

    number              claim    measured      what
    linear_quadrants    <= 75 %  51.2 %        linear, quadrants: share right
    linear_ring         <= 75 %  49.8 %        linear, ring
    linear_three_modes  <= 75 %  38.6 %        linear, three modes
    product_quadrants   >= 95 %  99.6 %        linear on (x1, x2, x1 x2), quadrants
    ring_1              <= 75 %  57.3 ± 0.9 %  ring, 1 hidden ReLU
    ring_2              -        61.5 ± 4.3 %  ring, 2
    ring_3              <= 85 %  72.3 ± 3.8 %  ring, 3
    ring_10             >= 75 %  87.5 ± 2.0 %  ring, 10
    ring_100            >= 90 %  97.0 ± 0.2 %  ring, 100
    step_500            >= 88 %  94.2 ± 0.5 %  500 steps, the hardest set
    tanh_500            >= 90 %  97.5 ± 0.0 %  500 tanh, the hardest set
    relu_500            >= 90 %  97.7 ± 0.1 %  500 ReLU, the hardest set
    seconds             -        13            seconds on two CPU cores; quick 4

"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions
from zoo.data import toys

NAME = "boundaries"
SETS = {"quadrants": toys.quadrants, "ring": toys.ring, "three modes": toys.three_modes}
WIDTHS = (1, 2, 3, 5, 10, 20), (50, 100), (200,), (500,)  # padded: those of a group
ACTIVATIONS = "step", "tanh", "ReLU"
LINEAR, PRODUCT = ("linear", 2), ("linear", 3)  # without and with the product x1 x2
BATCH = 25
SHOWN = 1, 2, 3, 10, 100, 500
SIDES = 1.05, 3.0, 2.5  # what is drawn of each set


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Networks of each width, activation and set."""
    epochs: int = 40
    """Passes over the 1,000 points of a set."""


QUICK = Config(quick=True, seeds=2, epochs=15)


def step(z):
    """Return the sign of z; its gradient, zero, is replaced by that of a hard tanh."""
    from keras import ops

    passed = ops.clip(z, -1, 1)
    return passed + ops.stop_gradient(ops.where(z > 0, 1.0, -1.0) - passed)


def each_its_own(z):
    """Return step, tanh and ReLU of the first, second and third part of the members."""
    from keras import ops

    first, second, third = ops.split(z, len(ACTIVATIONS), axis=1)
    return ops.concatenate([step(first), ops.tanh(second), ops.relu(third)], axis=1)


def network(seeds):
    """Return all networks as one model, and their names: activation, width.

    Input `(batch, sets, 2)`; output `(batch, sets * names * seeds, 1)`.
    """
    import keras
    from keras import ops

    from zoo.ensembles import EnsembleDense

    def dense(units, activation, x, **kwargs):
        return EnsembleDense(units, x.shape[1], activation=activation, **kwargs)(x)

    x = keras.Input((len(SETS), 2))
    each = ops.repeat(x, seeds, axis=1)
    product = ops.concatenate([each, each[..., :1] * each[..., 1:]], axis=-1)
    names, outputs = (
        [LINEAR, PRODUCT],
        [dense(1, "sigmoid", x) for x in (each, product)],
    )
    # Lines in all places and directions to begin with, whatever the width.
    start = {
        "kernel_initializer": "he_normal",
        "bias_initializer": keras.initializers.RandomNormal(stddev=1.0),
    }
    for widths in WIDTHS:
        units = np.repeat(widths, len(SETS) * seeds).tolist() * len(ACTIVATIONS)
        inputs = ops.tile(each, (1, len(ACTIVATIONS) * len(widths), 1))
        hidden = dense(tuple(units), each_its_own, inputs, **start)
        outputs.append(dense(1, "sigmoid", hidden))
        names += [(name, width) for name in ACTIVATIONS for width in widths]
    return keras.Model(x, ops.concatenate(outputs, axis=1)), names


def points(n, seed):
    """Return the points of all sets, `(n, sets, 2)`, and their classes."""
    sets = [make(n, seed) for make in SETS.values()]
    return np.stack([s.x for s in sets], 1), np.stack([s.y for s in sets], 1)


def measure(run):
    """Train all networks on all sets at once; return accuracies and regions."""
    import keras

    from zoo.ensembles import total_loss

    seeds, epochs = run.config.seeds, run.config.epochs
    model, names = network(seeds)
    x, y = points(1000, run.config.seed)
    steps = len(x) // BATCH
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(0.02, epochs * steps)
        ),
        total_loss("binary_crossentropy"),
        steps_per_execution=steps,
    )
    labels = np.tile(np.repeat(y, seeds, axis=1), (1, len(names)))[..., None]
    bar = run.epochs(epochs)
    model.fit(x, labels, batch_size=BATCH, epochs=epochs, callbacks=[bar], verbose=0)

    def guesses(x):
        p = model.predict(x, batch_size=1000, verbose=0)
        return p.reshape(len(x), len(names), len(SETS), seeds) > 0.5

    test, truth = points(2000, run.config.seed + 10**6)
    right = (guesses(test) == truth[:, None, :, None]).mean(0)
    accuracy = {
        (s, *name): right[j, i]
        for i, s in enumerate(SETS)
        for j, name in enumerate(names)
    }
    numbers = {f"linear_{s.replace(' ', '_')}": accuracy[s, *LINEAR] for s in SETS} | {
        "product_quadrants": accuracy["quadrants", *PRODUCT]
    }
    for width in (1, 2, 3, 10, 100):
        numbers[f"ring_{width}"] = accuracy["ring", "ReLU", width]
    for name in ACTIVATIONS:
        own = [accuracy[s, name, 500] for s in SETS]
        numbers[f"{name.lower()}_500"] = np.min(own, 0)
    sides = [np.linspace(-side, side, 60) for side in SIDES]
    planes = np.stack(
        [np.stack(np.meshgrid(s, s), -1).reshape(-1, 2) for s in sides], 1
    )
    regions = guesses(planes.astype("float32"))[..., 0].reshape(60, 60, len(names), -1)
    return numbers, (names, regions, accuracy, x[:90], y[:90])


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    worst = min(numbers[f"{name.lower()}_500"] for name in ACTIVATIONS)
    return (
        "A straight line gets "
        f"{numbers['linear_quadrants']:.0%} of the quadrants, "
        f"{numbers['linear_ring']:.0%} of the ring and "
        f"{numbers['linear_three_modes']:.0%} of the three modes right; one more "
        f"feature, x1·x2, makes it {numbers['product_quadrants']:.0%} of the "
        "quadrants. Hidden ReLUs bend the line round the ring: "
        f"{numbers['ring_3']:.0%} with 3, "
        f"{numbers['ring_10']:.0%} with 10, {numbers['ring_100']:.0%} with 100; with "
        f"500, step, tanh and ReLU get at least {worst:.0%} of every set."
    )


def paint(figure, drawn):
    """Draw regions and points: the linear classifiers, then the ring by width."""
    from matplotlib.colors import ListedColormap

    names, regions, accuracy, x, y = drawn
    left, right = figure.subfigures(1, 2, width_ratios=[2, 6], wspace=0.02)
    left.suptitle("Linear classifier", fontsize=15, weight="bold")
    right.suptitle("Hidden units, on the ring", fontsize=15, weight="bold")
    tints = ListedColormap(["#BFE3D6", "#F6CDB4"])

    def panel(axes, name, place):
        half = SIDES[place]
        axes.imshow(
            regions[:, :, names.index(name), place],
            extent=[-half, half, -half, half],
            origin="lower", aspect="auto", interpolation="nearest",
            cmap=tints, vmin=0, vmax=1,
        )  # fmt: skip
        for value, style in ((0, "C2o"), (1, "C1^")):
            own = x[y[:, place] == value, place]
            axes.plot(*own.T, style, markersize=3, markeredgewidth=0)
        axes.set(xticks=[], yticks=[])
        mean = accuracy[list(SETS)[place], *name].mean()
        axes.set_xlabel(f"{mean:.0%}", fontsize=12, labelpad=2)

    grid = left.subplots(len(SETS), 2)
    for place, title in enumerate(SETS):
        for column, name in enumerate((LINEAR, PRODUCT)):
            panel(grid[place, column], name, place)
        grid[place, 0].set_ylabel(title, fontsize=13)
    for axes, title in zip(grid[0], ("on x1, x2", "and x1·x2"), strict=True):
        axes.set_title(title, loc="center", fontsize=12, weight="normal")
    grid = right.subplots(len(ACTIVATIONS), len(SHOWN))
    for row, activation in zip(grid, ACTIVATIONS, strict=True):
        for axes, width in zip(row, SHOWN, strict=True):
            panel(axes, (activation, width), list(SETS).index("ring"))
        row[0].set_ylabel(activation, fontsize=13)
    for axes, width in zip(grid[0], SHOWN, strict=True):
        axes.set_title(str(width), loc="center", fontsize=13, weight="normal")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
