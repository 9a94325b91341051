"""Double descent: the test error peaks where a model just fits, and falls beyond.

Classical wisdom says that too many parameters overfit. Belkin et al. (2019) found that
it is the number that just suffices to fit the training data that overfits worst; with
more, the error falls again, below what it was before (L5). Two ways to see it:

- Random Fourier features: cos and sin of N/2 random projections of the pixels, fitted
  to n images by least squares, of all solutions the one with the smallest norm. Below
  n features that is ordinary least squares; with n there is one solution, which has to
  fit exactly; with more there is a choice.
- A network with one hidden layer, on images of which a fifth have a wrong label. It
  sees 7x7 pixels, so that few units do not suffice, and is trained until it fits.

    number      claim    measured      what
    before      -        28.6 ± 1.0 %  features: least test error with N < n
    peak        -        85.8 ± 1.4 %  features: test error at N = n
    far         -        24.2 ± 0.8 %  features: test error at N = 10 n
    rises       >= 10 %  57.2 ± 2.0 %  features: peak minus the least before
    below       >= 1 %   4.3 ± 1.2 %   features: least before minus far
    peak_at     = 1.0    1.0           features: N / n of the largest test error
    net_before  -        46.9 ± 4.7 %  network: least test error before it fits
    net_peak    -        52.1 ± 2.6 %  network: largest test error after that
    net_far     -        39.6 ± 1.4 %  network: test error of the widest
    net_rises   > 0 %    5.2 ± 2.9 %   network: peak minus the least before
    net_below   >= 1 %   7.3 ± 4.9 %   network: least before minus the widest
    net_fits    4 to 24  10            network: units at which 95 % of labels fit
    seconds     -        38            seconds on two CPU cores; quick 12

Belkin et al. (PNAS 2019, figures 2 and 4) show both peaks on MNIST, with more images
and far wider models; their figures were not checked here. The network's peak is small
beside that of the features, and not there in every seed.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "double_descent"
RATIOS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10)  # N / n
WIDTHS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 48, 128)
TESTED = 2000


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 5
    """Sets of training images, of random projections and of starts."""
    images: int = 500
    """Training images for the Fourier features, n."""
    noisy: int = 400
    """Training images for the network, a fifth of them with a random label."""
    steps: int = 2000
    """Steps of the network's training, each on all its images."""


QUICK = Config(quick=True, seeds=3, images=200, steps=800)


def pixels(images, pool):
    """Return images as vectors in [0, 1]: means of `pool` by `pool` pixels."""
    n, height, width, _ = images.shape
    blocks = images.reshape(n, height // pool, pool, width // pool, pool) / 255
    return blocks.mean((2, 4)).reshape(n, -1)


def fourier(x, projections):
    """Return random Fourier features, `(n, 2 * projections)`: cos and sin of xP.

    Rahimi and Recht (2007): their products approximate a Gaussian kernel's values.
    """
    angles = x @ projections
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def least_squares(features, y, classes):
    """Return the weights that fit best; of several, those with the smallest norm."""
    return np.linalg.lstsq(features, np.eye(classes)[y], rcond=None)[0]


def descend(train, test, classes, seed):
    """Return the test error of Fourier features at each ratio."""
    rng = np.random.default_rng(seed)
    n, size = train.x.shape
    errors = []
    for ratio in RATIOS:
        projections = 0.4 * rng.normal(size=(size, max(1, round(ratio * n / 2))))
        weights = least_squares(fourier(train.x, projections), train.y, classes)
        guesses = (fourier(test.x, projections) @ weights).argmax(1)
        errors.append((guesses != test.y).mean())
    return errors


def networks(inputs, classes, seeds, steps):
    """Return one model of `seeds` networks of each width."""
    import keras

    from zoo.ensembles import EnsembleDense, total_loss

    widths = [width for width in WIDTHS for _ in range(seeds)]
    members = len(widths)
    hidden = {"activation": "relu", "kernel_initializer": "he_normal"}
    model = keras.Sequential(
        [
            keras.Input((inputs,)),
            EnsembleDense(widths, members, **hidden),
            EnsembleDense(classes, members, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, steps)),
        total_loss("sparse_categorical_crossentropy"),
        steps_per_execution=50,
    )
    return model


def measure(run):
    """Fit the features and train the networks; return errors by size."""
    from zoo.data import Examples
    from zoo.ensembles import accuracies

    config = run.config
    splits = run.load("fashion_mnist", validation=0, seed=config.seed)
    classes, y = len(splits.class_names), splits.train.y
    asked = splits.test.y[:TESTED]

    def centered(pool):
        train = pixels(splits.train.x, pool)
        center = train.mean(0)
        return train - center, pixels(splits.test.x[:TESTED], pool) - center

    x, x_test = centered(2)
    features = []
    for seed in run.bar(run.seeds, "Fitting features", "seed"):
        own = np.random.default_rng(seed).permutation(len(y))[: config.images]
        train, test = Examples(x[own], y[own]), Examples(x_test, asked)
        features.append(descend(train, test, classes, seed))
    x, x_test = (3 * part.astype("float32") for part in centered(4))
    own = np.random.default_rng(config.seed).permutation(len(y))[: config.noisy]
    x, y = x[own], y[own]
    # The networks of a seed, one of each width, have the same wrong labels.
    labels = np.stack([wrong(y, classes, seed) for seed in run.seeds], axis=1)
    labels = np.tile(labels, (1, len(WIDTHS)))
    model = networks(x.shape[1], classes, config.seeds, config.steps)
    epochs = config.steps // 50
    model.fit(
        np.tile(x, (50, 1)),
        np.tile(labels, (50, 1)),
        batch_size=len(x),
        epochs=epochs,
        shuffle=False,
        callbacks=[run.epochs(epochs, "Training networks")],
        verbose=0,
    )
    right = model.predict(x, verbose=0).argmax(-1) == labels
    misfit = 1 - right.mean(0).reshape(len(WIDTHS), -1).mean(1)
    net = 1 - accuracies(model, x_test, asked).reshape(len(WIDTHS), -1).T
    features = np.array(features)
    return numbers_of(features, net, misfit), (features, net, misfit)


def wrong(y, classes, seed):
    """Return labels of which a fifth, drawn by the seed, are random others."""
    rng = np.random.default_rng(seed)
    y = y.copy()
    chosen = rng.permutation(len(y))[: len(y) // 5]
    y[chosen] = (y[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return y


def numbers_of(features, net, misfit):
    """Return the numbers, one for each seed.

    Args:
        features: test errors `(seeds, ratios)`.
        net: test errors `(seeds, widths)`.
        misfit: training errors, `(widths,)`.
    """
    exact = RATIOS.index(1)
    before, peak = features[:, :exact].min(1), features[:, exact]
    fits = int((misfit < 0.05).argmax())  # the first width that fits
    valley = int(net.mean(0)[: max(1, fits)].argmin())
    top = valley + int(net.mean(0)[valley:].argmax())
    return {
        "before": list(before),
        "peak": list(peak),
        "far": list(features[:, -1]),
        "rises": list(peak - before),
        "below": list(before - features[:, -1]),
        "peak_at": RATIOS[int(features.mean(0).argmax())],
        "net_before": list(net[:, valley]),
        "net_peak": list(net[:, top]),
        "net_far": list(net[:, -1]),
        "net_rises": list(net[:, top] - net[:, valley]),
        "net_below": list(net[:, valley] - net[:, -1]),
        "net_fits": WIDTHS[fits],
    }


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        "With as many features as images the test error peaks at "
        f"{numbers['peak']:.0%}; with ten times as many it is {numbers['far']:.0%}, "
        f"{100 * numbers['below']:.0f} points below the best before the peak "
        f"({numbers['before']:.0%}). A network on noisy labels falls to "
        f"{numbers['net_before']:.1%}, rises to {numbers['net_peak']:.1%} where it "
        f"begins to fit, and ends at {numbers['net_far']:.1%}, the widest."
    )


def paint(figure, drawn):
    """Draw the test errors of both against their size."""
    from matplotlib.ticker import PercentFormatter

    features, net, misfit = drawn
    left, right = figure.subplots(1, 2)
    for axes, sizes, errors in ((left, RATIOS, features), (right, WIDTHS, net)):
        axes.plot(sizes, errors.mean(0), "C0o-", label="test error")
        axes.fill_between(sizes, errors.min(0), errors.max(0), color="C0", alpha=0.2)
        axes.set(xscale="log", ylabel="error", ylim=(0, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    left.axvline(1, color="C5", linestyle=":", label="N = n")
    left.set(xlabel="features per image, N / n", title="Random Fourier features")
    left.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    right.plot(WIDTHS, misfit, "C1s--", label="training error")
    right.set(xlabel="hidden units", title="Network, 20 % wrong labels")
    right.set_xticks([1, 3, 10, 24, 128], [1, 3, 10, 24, 128])
    for axes in (left, right):
        axes.minorticks_off()
        axes.legend()


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
