"""Logistic regression is a network without hidden layer, and so is a linear one.

One sigmoid neuron, trained with cross-entropy until nothing changes, has the weights
and probabilities of scikit-learn's logistic regression: on breast cancers (569 tumours,
30 features), of which it sees four in five. A line nearly separates them, so both pay
the same small L2 penalty; without one the best weights would be endless (L5). A hidden
layer without activation changes no answer, as two linear maps are one. A hidden layer
with ReLU does, where a line is not enough: opposite quadrants and the ring.

    number         claim       measured      what
    coefficients   <= 0.05     0.001         largest difference of weights
    probabilities  <= 0.01     0.001         largest difference of probabilities
    cancer         >= 92 %     97.0 ± 2.0 %  of the other tumours, called right
    linear_same    <= 0.01     0.00000       with a linear hidden layer: difference
    line           40 to 68 %  52.2 ± 3.5 %  quadrants called right: no hidden layer
    linear         40 to 68 %  52.2 ± 3.5 %  with a linear hidden layer
    relu           >= 90 %     98.7 ± 0.8 %  with a ReLU hidden layer
    ring_line      40 to 70 %  49.2 ± 1.3 %  ring called right: no hidden layer
    ring_relu      >= 80 %     94.3 ± 0.9 %  with a ReLU hidden layer
    seconds        -           8             seconds on two CPU cores; quick 5

Weights are those of standardised features. The linear hidden layer's difference is the
largest of its probabilities to those without one, on two overlapping clouds, where no
penalty is needed, on the quadrants and on the ring, all over the plane.

The outer edge of the ring alone gives 92 %: some of the ReLU networks miss the hole.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions
from zoo.data import toys

NAME = "logistic_regression"
C = 1.0  # scikit-learn's inverse penalty
SETS = {"clouds": toys.blobs, "quadrants": toys.quadrants, "ring": toys.ring}
HIDDEN = ("no hidden layer", "linear hidden layer", "ReLU hidden layer")
AXIS = np.linspace(-3, 3, 41)
POINTS = 300


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Splits of the tumours, draws of the points, and starts of the networks."""
    steps: int = 2000
    """Steps of gradient descent, each on all examples."""


QUICK = Config(quick=True, seeds=3, steps=1000)


def network(members, features, hidden=None, penalty=0.0):
    """Return `members` networks that answer with one sigmoid.

    Args:
        members: how many, each with examples of its own.
        features: of an example.
        hidden: `None`, or the activation of a hidden layer of 16 units.
        penalty: times the sum of the squared weights is added to each loss.
    """
    import keras

    from zoo.ensembles import EnsembleDense, total_loss

    layers = [keras.Input((members, features))]
    if hidden:
        layers.append(EnsembleDense(16, members, activation=hidden))
    squares = keras.regularizers.L2(penalty) if penalty else None
    layers.append(EnsembleDense(1, members, kernel_regularizer=squares))  # a sigmoid
    model = keras.Sequential(layers)
    if hidden == "relu":
        optimizer = keras.optimizers.Adam(0.01)
    else:
        optimizer = keras.optimizers.SGD(0.1, momentum=0.95, nesterov=True)
    model.compile(
        optimizer,
        total_loss("binary_crossentropy"),
        steps_per_execution=50,
        jit_compile=True,
    )
    return model


def descend(model, x, y, steps, callbacks=()):
    """Train on all examples at once: x `(n, members, features)`, y `(n, members)`."""
    many = np.tile(x, (50, 1, 1)), np.tile(y, (50, 1))[..., None]  # 50 steps an epoch
    options = {"batch_size": len(x), "shuffle": False, "verbose": 0}
    model.fit(*many, epochs=-(-steps // 50), callbacks=list(callbacks), **options)


def tumours(seeds):
    """Return the training and the other tumours of each seed, standardised."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    parts = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(x))
        known, new = order[: len(x) * 4 // 5], order[len(x) * 4 // 5 :]
        scaled = (x - x[known].mean(0)) / x[known].std(0)
        parts.append((scaled[known], y[known], scaled[new], y[new]))
    return [
        np.stack(part, axis=1).astype("float32") for part in zip(*parts, strict=True)
    ]


def scikit(x, y, c):
    """Return scikit-learn's logistic regression, fitted to the last digit."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x, y)


def cancer(run):
    """Compare one neuron with scikit-learn on the tumours, a member for each seed."""
    x, y, new, truth = tumours(run.seeds)
    # scikit-learn adds |w|²/2 to C times the sum of the losses, Keras to their mean.
    model = network(len(run.seeds), x.shape[-1], penalty=1 / (2 * C * len(x)))
    bar = run.epochs(-(-run.config.steps // 50), "Training on tumours")
    descend(model, x, y, run.config.steps, [bar])
    weights, answers = model.get_weights()[0][..., 0], np.array(model(new))[..., 0]
    peers = [scikit(x[:, i], y[:, i], C) for i in range(x.shape[1])]
    expected = np.stack([p.predict_proba(new[:, i])[:, 1] for i, p in enumerate(peers)])
    return {
        "coefficients": np.abs(weights - [p.coef_[0] for p in peers]).max(),
        "probabilities": np.abs(answers.T - expected).max(),
        "cancer": ((answers > 0.5) == truth).mean(0),
    }


def measure(run):
    """Train on tumours and on points of the plane; return numbers and drawing."""
    numbers = cancer(run)
    points = [make(POINTS, s) for make in SETS.values() for s in run.seeds]
    tests = [make(2000, s + 10**6) for make in SETS.values() for s in run.seeds]
    x, y = (np.stack(part, 1) for part in zip(*points, strict=True))
    new, truth = (np.stack(part, 1) for part in zip(*tests, strict=True))
    plane = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 1, 2).astype("float32")
    plane = np.repeat(plane, len(points), axis=1)
    right, planes = {}, {}
    for name, hidden in zip(HIDDEN, (None, "linear", "relu"), strict=True):
        model = network(len(points), 2, hidden)
        bar = run.epochs(-(-run.config.steps // 50), f"Training with {name}")
        descend(model, x, y, run.config.steps, [bar])
        called = np.array(model(new))[..., 0] > 0.5
        right[name] = (called == truth).mean(0).reshape(len(SETS), -1)
        planes[name] = np.array(model(plane))[..., 0]
    none, linear, relu = HIDDEN
    _, quadrants, ring = range(len(SETS))
    numbers |= {
        "linear_same": np.abs(planes[linear] - planes[none]).max(),
        "line": right[none][quadrants],
        "linear": right[linear][quadrants],
        "relu": right[relu][quadrants],
        "ring_line": right[none][ring],
        "ring_relu": right[relu][ring],
    }
    first = slice(None, None, len(run.seeds))  # of each set, the first seed's
    drawn = {name: p[:, first].T for name, p in planes.items()}
    return numbers, {"planes": drawn, "right": right, "points": points[first]}


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        "One sigmoid neuron gives scikit-learn's logistic regression up to "
        f"{numbers['probabilities']:.1g} of a probability, and a linear hidden layer "
        f"changes its answers by {numbers['linear_same']:.1g} at most; one with ReLU "
        f"lifts opposite quadrants from {numbers['line']:.0%} to {numbers['relu']:.0%} "
        f"and the ring from {numbers['ring_line']:.0%} to {numbers['ring_relu']:.0%}."
    )


def paint(figure, drawn):
    """Draw what each network answers on each set, and how many it calls right."""
    grid = figure.subplots(2, 3, sharex="row", sharey="row")
    for row, index in zip(grid, (1, 2), strict=True):
        title = list(SETS)[index]
        reach = (1.2, 3)[index - 1]
        x, y = drawn["points"][index]
        for axes, name in zip(row, HIDDEN, strict=True):
            image = axes.contourf(
                AXIS, AXIS, drawn["planes"][name][index].reshape(2 * AXIS.shape),
                np.linspace(0, 1, 11), cmap="cividis",
            )  # fmt: skip
            for value, mark, colour in ((0, "o", "white"), (1, "X", "C1")):
                axes.plot(
                    *x[:120][y[:120] == value].T, mark, color=colour, markersize=5,
                    markeredgecolor="black", markeredgewidth=0.6,
                    label=f"class {value}",
                )  # fmt: skip
            share = drawn["right"][name][index].mean()
            above = f"{name}\n" if index == 1 else ""
            axes.set_title(f"{above}{title}: {share:.0%} right", fontsize=13)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
            axes.set_xlabel("x1")
        row[0].set_ylabel("x2")
    bar = figure.colorbar(image, ax=grid, label="probability of class 1", shrink=0.8)
    bar.set_ticks([0, 0.5, 1])
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2,
        facecolor="#b0b0b0", frameon=True, markerscale=1.6,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
