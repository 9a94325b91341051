"""Overparametrization: a network learns random labels by heart, yet generalises.

One hidden layer of 256 units has 204 parameters for each of 1,000 images of
Fashion-MNIST. Half of the networks learn the true labels, the others labels drawn by
lot: both come to know every training image, so that they could is no reason why the
first ones do well on new images (L5; Zhang et al. 2017, section 2: as cited, not
checked). And training on past that point, with the true labels, makes the test loss
rise, because the network grows ever surer of its few mistakes, while the test accuracy
stays. All networks are trained as one model, with the same images in the same order.

    number           claim      measured         what
    per_image        >= 50      204              parameters for each training image
    random_train     >= 99 %    100.00 ± 0.00 %  random labels: training accuracy
    random_test      5 to 15 %  9.3 ± 0.5 %      random labels: test accuracy
    true_train       >= 99 %    100.00 ± 0.00 %  true labels: training accuracy
    true_test        >= 70 %    81.3 ± 0.1 %     true labels: test accuracy
    lowest_loss      -          0.56 ± 0.01      true labels: lowest test loss
    lowest_epoch     -          11 ± 2           the epoch that it is reached in
    last_loss        -          0.78 ± 0.01      test loss after the last epoch
    loss_ratio       >= 1.1     1.40 ± 0.04      last test loss by the lowest
    accuracy_change  >= -2 %    0.4 ± 0.5 %      test accuracy since the lowest loss
    seconds          -          12               seconds on two CPU cores; quick 8

Test accuracy is that of the first 2,000 test images.
"""

import functools
import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "random_labels"


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 3
    """How many networks learn the true labels, and how many random ones."""
    images: int = 1000
    """How many images they learn."""
    units: int = 256
    """The width of the hidden layer."""
    epochs: int = 100
    """How often they see each image."""


QUICK = Config(quick=True, seeds=3, images=500, units=128, epochs=90)


def draw_by_lot(labels, classes, seed):
    """Return labels that have nothing to do with the images: uniform, independent."""
    return np.random.default_rng(seed).integers(classes, size=len(labels))


def networks(splits, config, members):
    """Return `members` networks with one hidden layer, compiled as one model."""
    import keras

    import zoo
    from zoo.ensembles import EnsembleDense, total_loss

    model = zoo.mlp(
        splits.train.x.shape[1:],
        hidden_units=(config.units,),
        layer=functools.partial(EnsembleDense, members=members),
        classes=len(splits.class_names),
    )
    model.compile(
        keras.optimizers.Adam(1e-3),
        loss=total_loss("sparse_categorical_crossentropy"),
        steps_per_execution=5,
        jit_compile=True,
    )
    return model


def loss_and_accuracy(probabilities, labels):
    """Return each member's mean cross-entropy and its accuracy.

    Args:
        probabilities: `(n, members, classes)`.
        labels: int `(n, members)`.
    """
    true = np.take_along_axis(probabilities, labels[..., None], -1)[..., 0]
    loss = -np.log(np.maximum(true, 1e-7)).mean(0)  # clipped as Keras does
    return loss, (probabilities.argmax(-1) == labels).mean(0)


def measure(run):
    """Train all networks at once; return the numbers and what to draw."""
    import keras

    config, seeds = run.config, len(run.seeds)
    splits = run.load(
        "fashion_mnist", limit=config.images, validation=0.0, seed=config.seed
    )
    x, y = splits.train
    lots = [draw_by_lot(y, len(splits.class_names), seed) for seed in run.seeds]
    labels = np.stack([y] * seeds + lots, axis=1)
    test_x, test_y = (part[:2000] for part in splits.test)
    test_y = np.repeat(test_y[:, None], 2 * seeds, axis=1)
    model = networks(splits, config, 2 * seeds)
    both, curves = np.concatenate([x, test_x]), []

    def look(epoch, logs):
        guess = model.predict_on_batch(both)
        train = loss_and_accuracy(guess[: len(x)], labels)
        test = loss_and_accuracy(guess[len(x) :], test_y)
        curves.append((train, test))

    model.fit(
        x,
        labels,
        batch_size=100,
        epochs=config.epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_end=look),
            run.epochs(config.epochs),
        ],
    )
    # (epochs, train or test, loss or accuracy, true or random labels, seeds)
    curves = np.array(curves).reshape(config.epochs, 2, 2, 2, seeds)
    numbers = summary(curves)
    numbers["per_image"] = model.count_params() / (2 * seeds) / len(x)
    return numbers, curves


def summary(curves):
    """Return the numbers of curves, shaped as `measure` has them."""
    loss, accuracy = curves[:, 1, :, 0].swapaxes(0, 1)
    lowest = loss.argmin(0)
    seeds = np.arange(loss.shape[1])
    return {
        "random_train": curves[-1, 0, 1, 1],
        "random_test": curves[-1, 1, 1, 1],
        "true_train": curves[-1, 0, 1, 0],
        "true_test": accuracy[-1],
        "lowest_loss": loss.min(0),
        "lowest_epoch": lowest + 1,
        "last_loss": loss[-1],
        "loss_ratio": loss[-1] / loss.min(0),
        "accuracy_change": accuracy[-1] - accuracy[lowest, seeds],
    }


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    change = 100 * numbers["accuracy_change"]
    return (
        f"With {numbers['per_image']:.0f} parameters for each image a network learns "
        f"random labels by heart ({numbers['random_train']:.1%} in training, "
        f"{numbers['random_test']:.1%} on new images), and true labels no better in "
        f"training, but it gets {numbers['true_test']:.1%} of new images right; "
        f"training on from epoch {numbers['lowest_epoch']:.0f} multiplies the test "
        f"loss by {numbers['loss_ratio']:.1f} and changes the test accuracy by "
        f"{change:+.1f} points."
    )


def paint(figure, drawn):
    """Draw accuracy for both kinds of labels, and the loss for the true ones."""
    epochs = np.arange(1, len(drawn) + 1)
    left, right = figure.subplots(1, 2)
    for kind, (colour, name) in enumerate((("C0", "true"), ("C1", "random"))):
        for split, (dash, where) in enumerate((("-", "training"), ("--", "test"))):
            curve = 100 * drawn[:, split, 1, kind].mean(-1)
            label = f"{name} labels, {where}"
            left.plot(epochs, curve, dash, color=colour, label=label)
    left.set(title="Both are learned by heart", xlabel="epoch", ylabel="accuracy, %")
    left.set(ylim=(0, 104))
    left.legend(loc="center right", bbox_to_anchor=(1, 0.35))
    loss, accuracy = drawn[:, 1, :, 0].mean(-1).swapaxes(0, 1)
    right.plot(epochs, loss, color="C4", label="test loss")
    right.plot(epochs, 1 - accuracy, "--", color="C0", label="test error")
    lowest = loss.argmin()
    right.plot(epochs[lowest], loss[lowest], "o", color="C4")
    right.annotate(
        f"mean lowest: epoch {epochs[lowest]}",
        (epochs[lowest], loss[lowest]),
        xytext=(0, -16),
        textcoords="offset points",
        va="top",
    )
    right.set(title="True labels: loss up, error not", xlabel="epoch")
    right.set(ylabel="cross-entropy; share wrong", ylim=(0, None))
    right.legend()


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
