"""Hyper-parameters: random, coarse-to-fine and grid search with as many trials.

Six hyper-parameters of a small network (L1, L2) are searched with the tuners of
`zoo tune`. Bergstra and Bengio (JMLR 2012) say why random search beats a grid: only few
hyper-parameters matter, and of each a grid tries few values, random search many.

To repeat every search cheaply, the validation accuracy of each configuration of a fine
table is measured once: 1,000 pictures of clothes, 7 pixels wide and high, learned by
SGD. A search looks its trials up there. The table also tells how much each
hyper-parameter matters: the share of the variance of all accuracies that lies between
the means of its values. The grid spreads its points evenly over each range and is not
random: there is one. Its 24 points and the default leave no room for more than one
activation and batch size, which random search varies. Test images are not used.

    number          claim    measured      what
    configurations  -        2,400         networks trained for the table
    rate_share      >= 40 %  73.5 %        variance due to the learning rate alone
    next_share      <= 20 %  5.5 %         due to the next most important one
    random_rates    -        16.5 ± 1.0    learning rates tried by random search
    grid_rates      -        3             by the grid
    more_rates      >= 3     5.5 ± 0.3     their ratio
    random_best     -        66.0 ± 2.1 %  best validation accuracy, random search
    fine_best       -        66.6 ± 1.6 %  coarse-to-fine
    grid_best       -        59.4 %        grid
    random_gain     >= 0 %   6.6 ± 2.1 %   random search minus grid
    fine_gain       >= 0 %   7.2 ± 1.6 %   coarse-to-fine minus grid
    best            -        69.1 %        best of the whole table
    seconds         -        15            seconds on two CPU cores; quick 10

Bergstra and Bengio found random search as good as grids of many times its trials on
several sets (as cited, not checked); here the space, the data and the budget are small.
"""

import itertools
import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "random_search"
TUNERS = {"random": "random", "coarse-to-fine": "fine", "grid": "grid"}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    rates: int = 25
    """Learning rates in the table, from 0.001 to 1."""
    trials: int = 25
    """Of each search."""
    seeds: int = 10
    """Searches of each tuner that draws at random."""
    epochs: int = 4
    """How often a network goes through the images."""


QUICK = Config(quick=True, rates=19, seeds=5, epochs=3)


def space(config):
    """Return the values of each hyper-parameter, the most important first."""
    return {
        "learning rate": tuple(
            float(f"{r:.3g}") for r in np.geomspace(1e-3, 1, config.rates)
        ),
        "L2": (0.0, 1e-4, 1e-3, 1e-2),
        "width": (8, 16, 32),
        "depth": (1, 2),
        "activation": ("relu", "tanh"),
        "batch size": (25, 100),
    }


def table(run, splits):
    """Return the validation accuracy of each configuration, an axis for each value.

    Networks that differ in learning rate, L2 and width train as one model.
    """
    import keras

    from zoo.ensembles import EnsembleDense, accuracies, penalty, rated_loss
    from zoo.recipes.depth_width import small

    values = space(run.config)
    members = list(
        itertools.product(values["learning rate"], values["L2"], values["width"])
    )
    rates, strengths, widths = zip(*members, strict=True)
    # A rate times the loss is a rate of SGD; its penalty takes it too.
    regularizer = penalty(2, np.multiply(rates, strengths))
    (x, y), validation = small(splits.train), small(splits.validation)
    results = np.zeros([len(each) for each in values.values()])
    kinds = itertools.product(
        *(range(len(values[k])) for k in ("depth", "activation", "batch size"))
    )
    for depth, activation, batch in run.bar(list(kinds), "Training", "model"):
        keras.utils.set_random_seed(run.config.seed)
        inputs = outputs = keras.Input((x.shape[1],))
        for units in [widths] * values["depth"][depth] + [10]:
            function = "softmax" if units == 10 else values["activation"][activation]
            outputs = EnsembleDense(
                units, len(members), activation=function, kernel_regularizer=regularizer
            )(outputs)
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.SGD(1.0, momentum=0.0), rated_loss(rates))
        size = values["batch size"][batch]
        model.fit(
            np.concatenate([x] * run.config.epochs),
            np.concatenate([y] * run.config.epochs),
            batch_size=size,
            shuffle=False,
            verbose=0,
        )
        accuracy = accuracies(model, *validation, batch_size=250)
        results[..., depth, activation, batch] = accuracy.reshape(results.shape[:3])
    return results


def shares(results):
    """Return the share of the variance between the means of each axis' values."""
    axes = range(results.ndim)
    means = (results.mean(tuple(a for a in axes if a != axis)) for axis in axes)
    return np.array([mean.var() for mean in means]) / results.var()


def search(tuner, results, values, trials, seed):
    """Return the accuracies of a search's trials, in order, and its learning rates."""
    import tempfile

    import keras_tuner

    from zoo.tuning import oracles

    hp = keras_tuner.HyperParameters()
    for name, choices in values.items():
        if isinstance(choices[0], str):
            hp.Choice(name, list(choices))
        else:  # its place in the table: a grid spreads its points evenly over numbers
            hp.Int(name, 0, len(choices) - 1, default=len(choices) // 2)
    oracle = oracles.make(
        tuner,
        objective=keras_tuner.Objective("val_accuracy", "max"),
        trials=trials,
        seed=seed,
        hyperparameters=hp,
        epochs=1,
    )
    scores, rates = [], []
    with tempfile.TemporaryDirectory() as folder:
        oracle._set_project_dir(folder, "search")
        while len(scores) < trials:
            trial = oracle.create_trial("one")
            if trial.status == "STOPPED":  # the grid has fewer points
                break
            chosen = trial.hyperparameters.values
            place = tuple(
                choices.index(chosen[name])
                if isinstance(chosen[name], str)
                else chosen[name]
                for name, choices in values.items()
            )
            scores.append(results[place])
            rates.append(values["learning rate"][place[0]])
            oracle.update_trial(trial.trial_id, {"val_accuracy": scores[-1]})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
    return scores, rates


def measure(run):
    """Measure the table, search it; return what was found and what to draw."""
    config, values = run.config, space(run.config)
    splits = run.load("fashion_mnist", limit=2_000, validation=0.5, seed=config.seed)
    results = table(run, splits)
    share = shares(results)
    numbers = {
        "configurations": results.size,
        "rate_share": share[0],
        "next_share": share[1:].max(),
        "best": results.max(),
    }
    curves, tried = {}, {}
    for tuner, key in TUNERS.items():
        seeds = run.seeds if tuner != "grid" else run.seeds[:1]
        found = [
            search(tuner, results, values, config.trials, seed)
            for seed in run.bar(seeds, f"Searching, {tuner}", "search")
        ]
        # A grid with fewer points keeps its best for the rest of the trials.
        best = [np.maximum.accumulate(scores) for scores, _ in found]
        curves[tuner] = np.array(
            [np.pad(b, (0, config.trials - len(b)), mode="edge") for b in best]
        )
        tried[tuner] = found[0][1]
        numbers[f"{key}_best"] = curves[tuner][:, -1]
        numbers[f"{key}_rates"] = [len(set(rates)) for _, rates in found]
    for name in ("grid_best", "grid_rates"):
        numbers[name] = numbers[name][0]
    numbers["more_rates"] = np.divide(numbers["random_rates"], numbers["grid_rates"])
    for key in ("random", "fine"):
        numbers[f"{key}_gain"] = numbers[f"{key}_best"] - numbers["grid_best"]
    return numbers, (curves, tried, dict(zip(values, share, strict=True)))


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"The learning rate alone makes {numbers['rate_share']:.0%} of the variance; "
        f"random search tries {numbers['random_rates']:.0f} of its values, the grid "
        f"{numbers['grid_rates']:.0f}: with as many trials it finds "
        f"{numbers['random_best']:.1%}, coarse-to-fine {numbers['fine_best']:.1%}, the "
        f"grid {numbers['grid_best']:.1%}."
    )


def paint(figure, drawn):
    """Draw the best by trials, the learning rates tried, and what matters."""
    from matplotlib.ticker import PercentFormatter

    curves, tried, share = drawn
    (left, above), (_, below) = grid = figure.subplots(2, 2, width_ratios=[3, 2])
    for axes in grid[:, 0]:
        axes.remove()
    left = figure.add_subplot(grid[0, 0].get_gridspec()[:, 0])
    looks = ("C0", "-", "o"), ("C1", "--", "s"), ("C2", "-.", "^")
    for place, ((name, of_seeds), (colour, dash, marker)) in enumerate(
        zip(curves.items(), looks, strict=True)
    ):
        trials = np.arange(1, of_seeds.shape[1] + 1)
        left.plot(trials, of_seeds.mean(0), color=colour, linestyle=dash, label=name)
        spread = of_seeds.std(0)
        left.fill_between(
            trials,
            of_seeds.mean(0) - spread,
            of_seeds.mean(0) + spread,
            color=colour,
            alpha=0.15,
        )
        above.plot(
            tried[name],
            np.full(len(tried[name]), place),
            marker,
            color=colour,
            alpha=0.6,
        )
    left.set(title="Best so far", xlabel="trials", ylabel="best validation accuracy")
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.set_ylim(bottom=0)
    left.legend(loc="lower right")
    above.set(title="Learning rates tried", xscale="log", xlabel="learning rate")
    above.set(ylabel="search", ylim=(2.5, -0.5))
    above.set_yticks(range(len(tried)), tried)
    below.barh(range(len(share)), list(share.values()), color="C4")
    below.set(title="What matters", xlabel="share of variance", ylabel="value of")
    below.set_yticks(range(len(share)), share)
    below.invert_yaxis()
    below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
