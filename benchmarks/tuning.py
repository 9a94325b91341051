"""Which tuner finds what at an equal budget: best-of-S curves on a small real problem.

    python benchmarks/tuning.py [--trials 32] [--seeds 6] [--figure docs/tuning.svg]

A perceptron with one hidden layer learns 2,000 images of Fashion-MNIST, made half as
wide and high. Five numbers and an activation are searched, by each tuner with as many
trials and several seeds; a seed decides what is tried, the initial weights and the
order of the images. Printed is the mean ± standard deviation over the seeds of the best
validation accuracy (5,000 images) among the first S trials, as by Bergstra and Bengio
("Random Search for Hyper-Parameter Optimization", JMLR 2012, figure 5); its difference
to that of random search ± the standard error of the differences, seed by seed; and the
test accuracy of what each search picks, trained again from three other initial weights.

All try the defaults first: the middle of each range. The grid is the finest that fits,
the last hyper-parameter's points first, so its curve before the end depends on that.
"""

import argparse
import functools
import tempfile
from pathlib import Path

import keras
import keras_tuner
import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from timing import whole_fashion_mnist

from zoo.report.figures import COLOURS
from zoo.tuning import oracles, records, space
from zoo.tuning.trials import Training, Trials

TUNERS = ("random", "coarse-to-fine", "bayesian", "grid")
OBJECTIVE = keras_tuner.Objective("val_accuracy", "max")
EPOCHS, BATCH = 10, 50
NUM_TRAIN, NUM_VALIDATION = 2_000, 5_000
SIZES = (4, 8, 16, 32, 64)
RETRAINS = 3  # of what a search picks
STYLES = ((COLOURS[5], ":"), (COLOURS[1], "-"), (COLOURS[0], "--"), (COLOURS[2], "-."))


class Adjustable(keras.layers.Layer):
    """A random layer whose strength is a variable, so that one graph serves all."""

    def __init__(self):
        super().__init__()
        self.strength = self.add_weight(name="strength", trainable=False)
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs, training=False):
        """Disturb the inputs of a training step."""
        return self.disturb(inputs) if training else inputs


class Noise(Adjustable):
    """Adds a normal number of standard deviation `strength`."""

    def disturb(self, inputs):
        """Return noisy inputs."""
        shape = keras.ops.shape(inputs)
        return inputs + self.strength * keras.random.normal(shape, seed=self.generator)


class Dropout(Adjustable):
    """Drops the share `strength` of its inputs."""

    def disturb(self, inputs):
        """Return what is left, scaled up."""
        chance = keras.random.uniform(keras.ops.shape(inputs), seed=self.generator)
        kept = keras.ops.cast(chance >= self.strength, inputs.dtype)
        return inputs * kept / (1 - self.strength)


class L2(keras.regularizers.Regularizer):
    """`strength` times the sum of squares."""

    def __init__(self):
        self.strength = keras.Variable(0.0, trainable=False)

    def __call__(self, kernel):
        """Return the penalty of a kernel."""
        return self.strength * keras.ops.sum(kernel**2)


class Perceptron:
    """A hidden layer on few images, as what `zoo.tuning` searches.

    A model for each width and activation is built once; each training begins with new
    weights in it.
    """

    name = "perceptron"

    def __init__(self, splits):
        self._train = _examples(splits.train, NUM_TRAIN)
        self._validation = _examples(splits.validation, NUM_VALIDATION)
        self._test = _examples(splits.test, None)

    def space(self, hp):
        """Declare the hyper-parameters, the important ones first, for the grid."""
        hp.Float("learning_rate", 1e-5, 1.0, sampling="log", default=3e-3)
        hp.Float("dropout", 0.0, 0.9, default=0.45)
        hp.Float("noise", 0.0, 1.0, default=0.5)
        hp.Float("l2", 1e-7, 1e-1, sampling="log", default=1e-4)
        hp.Int("units", 8, 128, step=2, sampling="log", default=32)
        hp.Choice("activation", ["relu", "tanh"])

    def train(self, hp, seed, folder):
        """Train from the beginning; validate at the end."""
        model = self._ready(hp.values, seed)
        history = self._fit(model, seed, validation_data=self._validation)
        return Training(history, model.count_params(), seconds_before=0.0)

    def test(self, values, seed) -> float:
        """Return the test accuracy after a training."""
        model = self._ready(values, seed)
        self._fit(model, seed)
        return model.evaluate(*self._test, batch_size=NUM_VALIDATION, verbose=0)[1]

    def _fit(self, model, seed, **arguments):
        # All epochs are one to Keras: most of so short a training is what surrounds it.
        order = np.random.default_rng(seed)
        orders = [order.permutation(NUM_TRAIN) for _ in range(EPOCHS)]
        batches = tf.data.Dataset.from_tensor_slices(np.reshape(orders, (-1, BATCH)))
        batches = batches.map(
            lambda chosen: [tf.gather(a, chosen) for a in self._train]
        )
        return model.fit(
            batches, validation_batch_size=NUM_VALIDATION, verbose=0, **arguments
        ).history

    def command(self, values):
        """Return nothing: no command trains the same."""

    def _ready(self, values, seed):
        model, dropout, noise, penalty = self._model(
            values["units"], values["activation"]
        )
        keras.utils.set_random_seed(seed)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dense):
                glorot = keras.initializers.GlorotUniform()
                layer.set_weights([glorot(layer.kernel.shape), layer.bias * 0])
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        model.optimizer.learning_rate.assign(values["learning_rate"])
        penalty.strength.assign(values["l2"])
        for layer, name in ((dropout, "dropout"), (noise, "noise")):
            layer.strength.assign(values[name])
            layer.generator.state.assign([seed, len(name)])
        return model

    @functools.cache  # noqa: B019, there is one of them
    def _model(self, units, activation):
        dropout, noise, penalty = Dropout(), Noise(), L2()
        inputs = keras.Input(self._train[0].shape[1:])
        hidden = keras.layers.Dense(units, activation, kernel_regularizer=penalty)
        logits = keras.layers.Dense(10, kernel_regularizer=penalty)
        model = keras.Model(inputs, logits(dropout(hidden(noise(inputs)))))
        model.compile(
            "adam",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            steps_per_execution=EPOCHS * NUM_TRAIN // BATCH,
            jit_compile=False,
        )
        model.optimizer.build(model.trainable_variables)
        return model, dropout, noise, penalty


def main() -> None:
    """Search with every tuner and seed in turn; print the tables, draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--figure", type=Path, help="an .svg file to draw")
    options = parser.parse_args()
    problem = Perceptron(whole_fashion_mnist())
    curves, tests = ({tuner: [] for tuner in TUNERS} for _ in range(2))
    for seed in range(options.seeds):
        for tuner in TUNERS:
            scores, best = search(problem, tuner, options.trials, seed)
            curves[tuner].append(np.maximum.accumulate(scores))
            others = range(1000 + seed, 1000 + seed + 100 * RETRAINS, 100)
            tests[tuner].append(np.mean([problem.test(best, s) for s in others]))
            print(
                f"seed {seed}, {tuner:14} {len(scores)} trials, best {max(scores):.4f}"
                f" of {best}, test {tests[tuner][-1]:.4f}",
                flush=True,
            )
    curves = {name: np.array(of_seeds) for name, of_seeds in curves.items()}
    show(curves, tests)
    if options.figure:
        draw(curves, options.figure)


def search(problem, tuner: str, trials: int, seed: int) -> tuple[list[float], dict]:
    """Return the scores of all trials in order, and the values of the best.

    A failed trial has the score 0; where a grid has fewer points, the last ones too.
    """
    hyperparameters = space.explore(problem.space)
    oracle = oracles.make(
        tuner,
        objective=OBJECTIVE,
        trials=trials,
        seed=seed,
        hyperparameters=hyperparameters,
        epochs=EPOCHS,
    )
    with tempfile.TemporaryDirectory() as folder:
        Trials(oracle, problem, folder, retrains=1, seed=seed).search()
        ended = [records.read(Path(folder) / f"trial_{k}") for k in oracle.start_order]
    best = max(ended, key=lambda trial: trial.score or 0.0)
    scores = [trial.score or 0.0 for trial in ended]
    return scores + [0.0] * (trials - len(scores)), best.values


def show(curves, tests) -> None:
    """Print the best so far, the differences to random search, and the test scores."""
    trials = next(iter(curves.values())).shape[1]
    sizes = [size for size in SIZES if size < trials] + [trials]
    heads = "".join(f"{f'S = {size}':>15}" for size in sizes)
    print(f"\n{'best validation, %':18}{heads}{'test, %':>15}")
    for name, of_seeds in curves.items():
        columns = [*of_seeds[:, [size - 1 for size in sizes]].T, tests[name]]
        cells = (f"{100 * np.mean(c):.2f} ± {100 * _spread(c):.2f}" for c in columns)
        print(f"  {name:16}" + "".join(f"{cell:>15}" for cell in cells))
    print(f"\n{'minus random, %':18}{heads}{'test, %':>15}")
    for name, of_seeds in list(curves.items())[1:]:
        other = curves[TUNERS[0]]
        columns = [*(of_seeds - other)[:, [size - 1 for size in sizes]].T]
        columns.append(np.subtract(tests[name], tests[TUNERS[0]]))
        cells = (
            f"{100 * np.mean(c):+.2f} ± {100 * _spread(c) / len(c) ** 0.5:.2f}"
            for c in columns
        )
        print(f"  {name:16}" + "".join(f"{cell:>15}" for cell in cells))


def _spread(values):
    """Return the sample standard deviation over the first axis; 0 for one value."""
    return np.std(values, axis=0, ddof=min(1, len(values) - 1))


def draw(curves, path: Path) -> None:
    """Draw the mean best so far of each tuner, ± its standard error."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zoo"}):
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        axes = figure.subplots()
        for (name, of_seeds), (colour, dashes) in zip(
            curves.items(), STYLES, strict=True
        ):
            tried = np.arange(1, of_seeds.shape[1] + 1)
            mean = 100 * of_seeds.mean(0)
            error = 100 * _spread(of_seeds) / len(of_seeds) ** 0.5
            axes.plot(tried, mean, dashes, color=colour, label=name)
            axes.fill_between(
                tried, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0
            )
        axes.set(
            xlabel="trials S",
            ylabel="best validation accuracy of S trials, %",
            xscale="log",
            title=f"mean of {len(of_seeds)} searches ± standard error",
        )
        ticks = [size for size in (1, 2, *SIZES) if size <= len(tried)]
        axes.set_xticks(ticks, map(str, ticks), minor=False)
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 60))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.2)
        axes.legend(frameon=False, loc="lower right")
        figure.savefig(path, metadata={"Date": None})


def _examples(examples, limit):
    """Return images of half the height and width, flat, and labels."""
    x = examples.x[:limit].reshape(-1, 14, 2, 14, 2).mean((2, 4)) / 255
    x = x.reshape(-1, 14 * 14).astype("float32")
    return tf.constant(x), tf.constant(examples.y[:limit])


if __name__ == "__main__":
    main()
