"""Depth against width: with the same parameters, fat and short or thin and tall?

The question of L2 and L3, asked of networks with 1 to 8 hidden layers whose widths are
such that all have the same number of parameters, within 2 %. They learn two tasks: two
arms of a spiral, where a line must be bent many times, and pictures of clothes, made 7
pixels wide and high. All shapes train side by side, on the same batches, with the same
optimizer (Adam), from the initial weights of He et al. (2015).

    number         claim    measured      what
    unequal        <= 2 %   1.4 %         largest difference in parameters
    spirals_fat    -        62.0 ± 0.6 %  spirals, 1 hidden layer: test accuracy
    spirals_thin   -        95.3 ± 7.1 %  spirals, 8 hidden layers
    depth_gain     >= 15 %  33.3 ± 7.7 %  spirals: best depth minus 1 layer
    best_depth     >= 3     8             spirals: hidden layers of the best shape
    clothes_fat    -        81.0 ± 0.2 %  clothes, 1 hidden layer: test accuracy
    clothes_thin   -        79.0 ± 0.7 %  clothes, 8 hidden layers
    clothes_range  <= 10 %  2.0 %         clothes: best shape minus worst
    seconds        -        16            seconds on two CPU cores; quick 15

For comparison, Seide, Li and Yu (Interspeech 2011), speech, word error rate: five
layers of 2,048 units 17.2 %, one layer with as many parameters (3,772 units) 22.5 %,
one of 16,000 units 22.1 % (as cited, not checked). Their networks are far larger.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "depth_width"
TURNS = 2.5  # of each arm
SHAPES = {  # depth -> width; equal parameters but for 2 %
    "spirals": {1: 354, 2: 39, 3: 28, 5: 20, 8: 15},
    "clothes": {1: 322, 2: 112, 3: 84, 5: 62, 8: 48},
}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 3
    """Networks of each shape, from different initial weights."""
    steps: int = 600
    """Batches of 100 that each network learns."""
    images: int = 2_000
    """Training images of the clothes."""


QUICK = Config(quick=True, seeds=2, steps=450, images=1_000)


def parameters(inputs, width, depth, classes):
    """Return the parameters of a network with `depth` hidden layers of one width."""
    return (
        (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * classes
    )


def counts(task):
    """Return the parameters of each shape of a task."""
    inputs, classes = {"spirals": (2, 2), "clothes": (49, 10)}[task]
    return [parameters(inputs, w, d, classes) for d, w in SHAPES[task].items()]


def network(inputs, shapes, classes, seeds):
    """Return the networks of all shapes as one model, `seeds` members of each."""
    import keras

    from zoo.ensembles import EnsembleDense

    images = keras.Input((inputs,))
    outputs = []
    for depth, width in shapes.items():
        x = images
        for _ in range(depth):
            x = EnsembleDense(
                width, seeds, activation="relu", kernel_initializer="he_normal"
            )(x)
        outputs.append(EnsembleDense(classes, seeds, activation="softmax")(x))
    return keras.Model(images, keras.layers.Concatenate(axis=1)(outputs))


def small(examples):
    """Return images a quarter as wide and high, as rows of numbers near 0 to 1."""
    x = examples.x[:, :28, :28].reshape(-1, 7, 4, 7, 4, examples.x.shape[-1])
    return x.mean((2, 4)).reshape(len(x), -1).astype("float32") / 255, examples.y


def train(run, task, examples, test):
    """Return the accuracies on training and test examples, `(shapes, seeds)`."""
    import keras

    from zoo.ensembles import accuracies, total_loss

    x, y = examples
    keras.utils.set_random_seed(run.config.seed)
    model = network(x.shape[1], SHAPES[task], int(y.max()) + 1, run.config.seeds)
    model.compile(
        keras.optimizers.Adam(0.003),
        total_loss("sparse_categorical_crossentropy"),
        jit_compile=True,
    )
    rng = np.random.default_rng(run.config.seed)
    epochs = -(-run.config.steps * 100 // len(x))
    order = np.concatenate([rng.permutation(len(x)) for _ in range(epochs)])
    # One epoch to Keras, which takes time for each.
    model.fit(x[order], y[order], batch_size=100, shuffle=False, verbose=0)
    parts = examples, test
    return [accuracies(model, *part).reshape(len(SHAPES[task]), -1) for part in parts]


def measure(run):
    """Train all shapes on both tasks; return the accuracies."""
    from zoo.data import toys

    config = run.config
    splits = run.load("fashion_mnist", limit=config.images * 10 // 9, seed=config.seed)
    test = [array[:5_000] for array in small(splits.test)]
    spirals = [toys.spirals(n, config.seed + n, TURNS) for n in (1_000, 4_000)]
    tasks = {"spirals": spirals, "clothes": (small(splits.train), test)}
    numbers, drawn = {}, {}
    for task, (examples, new) in run.bar(tasks.items(), "Training", "task"):
        drawn[task] = training, test = train(run, task, examples, new)
        numbers[f"{task}_fat"], numbers[f"{task}_thin"] = test[0], test[-1]
        best = test.mean(1).argmax()
        numbers[f"{task}_depth"] = list(SHAPES[task])[best]
        numbers[f"{task}_gain"] = test[best] - test[0]
        numbers[f"{task}_range"] = np.ptp(test.mean(1))
    numbers["unequal"] = max(
        max(counts(task)) / min(counts(task)) - 1 for task in SHAPES
    )
    numbers["depth_gain"], numbers["best_depth"] = (
        numbers["spirals_gain"],
        numbers["spirals_depth"],
    )
    return numbers, drawn


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"With equal parameters, {numbers['best_depth']:.0f} thin hidden layers learn "
        f"the spirals {100 * numbers['depth_gain']:.0f} points better than one fat "
        f"layer ({numbers['spirals_fat']:.0%}); on the clothes all shapes lie within "
        f"{100 * numbers['clothes_range']:.1f} points, the best at "
        f"depth {numbers['clothes_depth']:.0f}."
    )


def paint(figure, drawn):
    """Draw test accuracy by shape, a dot for each seed."""
    from matplotlib.ticker import PercentFormatter

    for axes, (task, (training, test)) in zip(
        figure.subplots(1, 2), drawn.items(), strict=True
    ):
        shapes = SHAPES[task]
        for place, values in enumerate(test):
            axes.plot(np.full(len(values), place), values, "C1o", alpha=0.5)
        axes.plot(training.mean(1), "C0s--", label="training, mean")
        axes.plot(test.mean(1), "C1o-", markersize=11, label="test, mean and seeds")
        names = [f"{depth}x{width}" for depth, width in shapes.items()]
        axes.set_xticks(range(len(shapes)), names)
        axes.set(title=f"{task}: about {counts(task)[0]:,} parameters")
        axes.set(xlabel="hidden layers x units", ylabel="accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.margins(y=0.1)
        axes.grid(axis="y")
    axes.legend(loc="lower right")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
