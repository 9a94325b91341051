"""CNNs explained: few weights, moved digits, and what a hidden unit looks for.

A convolution looks for the same few patterns everywhere in an image (L5). So it needs
few weights: counted here for a layer that makes 16 maps of 28x28 from an image of as
many pixels, with shared weights, with weights of its own at every place (locally
connected) and with every pixel joined to every unit (dense), biases included. And a
moved digit excites the same units at another place, and the maximum over all places
forgets which: a CNN with global max-pooling and an MLP that are about equally good on
MNIST are asked for test digits moved by up to 6 pixels (left, right, up and down; zeros
come in). The CNN is not immune: its three blocks halve the image, so only a move by a
multiple of 8 pixels moves its last maps by whole places. A hidden unit, one of the last
convolution's, is shown by the test images that excite it most, and by an image made for
it by gradient ascent on the pixels (Erhan et al., "Visualizing Higher-Layer Features of
a Deep Network", 2009).

    number          claim        measured      what
    shared          = 160        160           parameters: convolution
    local           = 125,440    125,440       parameters: locally connected
    dense           = 9,847,040  9,847,040     parameters: dense
    unmoved_gap     -5 to 8 %    1.3 ± 0.3 %   CNN minus MLP, digits not moved
    cnn_unmoved     >= 85 %      97.9 ± 0.3 %  accuracy: CNN, digits not moved
    cnn_moved       -            59.2 ± 1.3 %  the same, moved by 4 pixels
    mlp_unmoved     >= 85 %      96.6 ± 0.2 %  accuracy: MLP, digits not moved
    mlp_moved       -            23.2 ± 0.4 %  the same, moved by 4 pixels
    loses_less      >= 5 %       34.8 ± 1.2 %  MLP's loss at 4 pixels minus the CNN's
    made_over_best  > 1          2.3 ± 0.7     excitation: image made / best test image
    seconds         -            28            seconds on two CPU cores; quick 6

The 2,000 test digits that are moved are the first of MNIST's 10,000; the image made is
set beside all 10,000, for one unit of each CNN.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.accuracy import accuracy_moved
from zoo.course import DataOptions
from zoo.course.training import train

NAME = "cnn_explained"
SHIFTS = range(7)
MOVED = 4  # pixels: the margin around MNIST's digits, so that nothing is cut off
FILTERS = (16, 32, 64)
KERNEL = 3
STARTS, STEPS, STEP = 16, 100, 0.1  # of the gradient ascent, in images from 0 to 1


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    limit: int | None = 20_000
    """So many of the 60,000 training images."""
    seeds: int = 3
    """How many networks of each kind are trained."""
    asked: int = 2000
    """So many test images are moved about."""
    epochs: int = 6
    """How often the MLP goes through the training images."""
    cnn_epochs: int = 3
    """How often the CNN does."""


QUICK = Config(quick=True, limit=5000, seeds=1, asked=500, epochs=6, cnn_epochs=4)


def parameters(height, width, channels, filters, kernel=KERNEL):
    """Return the parameters of three layers that make the same maps from an image.

    Returns:
        A dict: `shared`, `local`, `dense`. The maps are as large as the image.
    """
    places = height * width
    one = kernel * kernel * channels + 1  # with its bias
    return {
        "shared": one * filters,
        "local": one * filters * places,
        "dense": (places * channels + 1) * places * filters,
    }


def build(shape, classes):
    """Return an untrained CNN with global max-pooling, and an MLP."""
    import keras

    import zoo

    # Black is 0, as the padding is: else the border would tell the place.
    black = {"mean": 0, "std": 255}
    base = zoo.small_cnn(shape, FILTERS, include_top=False, pooling="max", **black)
    outputs = keras.layers.Dense(classes, activation="softmax")(base.output)
    cnn = keras.Model(base.input, outputs, name="cnn")
    return {"cnn": cnn, "mlp": zoo.mlp(shape, (256, 128), classes=classes)}


def excitation(cnn):
    """Return the model of the last convolution's units, from standardised images.

    A unit's excitation is its largest value over all places, before the ReLU.
    """
    import keras

    last = cnn.get_layer(f"norm_{len(FILTERS)}").output
    pooled = keras.layers.GlobalMaxPooling2D()(last)
    return keras.Model(cnn.get_layer("standardise").output, pooled)


def ascend(units, unit, shape, seed):
    """Return an image, uint8, that excites a unit: gradient ascent from noise.

    The best of several starts, as gradient ascent ends in local maxima.
    """
    import tensorflow as tf

    start = np.random.default_rng(seed).uniform(0, 1, (STARTS, *shape))
    images = tf.Variable(start, dtype="float32")
    for count in range(STEPS):
        with tf.GradientTape() as tape:
            values = units(images, training=False)[:, unit]
        slope = tape.gradient(values, images)
        size = tf.reduce_mean(slope**2, [1, 2, 3], keepdims=True) ** 0.5 + 1e-9
        step = STEP * (1 - count / STEPS) * slope / size
        images.assign(tf.clip_by_value(images + step, 0, 1))  # they remain images
    best = np.argmax(units(images, training=False)[:, unit])
    return np.round(255 * images.numpy()[best]).astype(np.uint8)


def look_inside(cnn, images, seed):
    """Return what a unit looks for, how much the made image excites it, and maps."""
    import keras

    from zoo.report.pictures import kernel_sheet

    units, standardise = excitation(cnn), cnn.get_layer("standardise")
    values = np.concatenate(
        [units(standardise(images[at : at + 500])) for at in range(0, len(images), 500)]
    )
    unit = values.max(0).argmax()
    made = ascend(units, unit, images.shape[1:], seed)
    best = values[:, unit].argsort()[::-1][:5]
    value = float(np.asarray(units(standardise(made[None])))[0, unit])
    maps = keras.Model(cnn.input, cnn.get_layer("activation_1").output)
    kernels = cnn.get_layer("conv_1").kernel.numpy().transpose(3, 0, 1, 2)
    drawn = {
        "kernels": kernel_sheet(kernels),
        "image": images[0],
        "maps": np.asarray(maps(images[:1]))[0, ..., :5],
        "best": images[best],
        "made": made,
        "unit": unit,
        "ratio": value / values[:, unit].max(),
    }
    return drawn


def measure(run):
    """Count weights, train a CNN and an MLP, move digits, look at a hidden unit."""
    import keras

    config = run.config
    splits = run.load("mnist", limit=config.limit, validation=0, seed=config.seed)
    shape, classes = splits.train.x.shape[1:], len(splits.class_names)
    asked = [part[: config.asked] for part in splits.test]
    curves, inside = {"cnn": [], "mlp": []}, []
    for seed in run.bar(run.seeds, "Training", "pair of networks"):
        keras.utils.set_random_seed(seed)
        for kind, model in build(shape, classes).items():
            epochs = config.cnn_epochs if kind == "cnn" else config.epochs
            train(model, splits.train, epochs, seed, 5e-3 if kind == "cnn" else 2e-3)
            curves[kind].append(
                [accuracy_moved(model, asked, shift) for shift in SHIFTS]
            )
            if kind == "cnn":
                inside.append(look_inside(model, splits.test.x, seed))
    cnn, mlp = np.array(curves["cnn"]), np.array(curves["mlp"])
    counts = parameters(*shape, FILTERS[0])
    numbers = counts | {
        "unmoved_gap": cnn[:, 0] - mlp[:, 0],
        "cnn_unmoved": cnn[:, 0],
        "cnn_moved": cnn[:, MOVED],
        "mlp_unmoved": mlp[:, 0],
        "mlp_moved": mlp[:, MOVED],
        "loses_less": (mlp[:, 0] - mlp[:, MOVED]) - (cnn[:, 0] - cnn[:, MOVED]),
        "made_over_best": [each["ratio"] for each in inside],
    }
    return numbers, (cnn.mean(0), mlp.mean(0), counts, inside[0])


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"Sharing its weights, a layer has {numbers['shared']:,.0f} parameters, "
        f"without {numbers['local']:,.0f} or, dense, {numbers['dense']:,.0f}; on "
        f"digits moved by {MOVED} pixels the CNN goes from "
        f"{numbers['cnn_unmoved']:.1%} to {numbers['cnn_moved']:.1%}, the MLP from "
        f"{numbers['mlp_unmoved']:.1%} to "
        f"{numbers['mlp_moved']:.1%}; the image made for a hidden unit excites it "
        f"{numbers['made_over_best']:.1f} times as much as the best test image."
    )


def paint(figure, drawn):
    """Draw accuracy by shift, the counts, and the inside of the CNN."""
    from matplotlib.ticker import PercentFormatter

    cnn, mlp, counts, inside = drawn
    left, right = figure.subfigures(1, 2, width_ratios=[5, 5])
    axes, below = left.subplots(2, 1, height_ratios=[5, 3])
    axes.plot(SHIFTS, cnn, "C1s-", label="CNN")
    axes.plot(SHIFTS, mlp, "C0o--", label="MLP")
    axes.set(title="Moved test digits", xlabel="pixels moved", ylabel="accuracy")
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="lower left")
    names = {"shared": "shared", "local": "own", "dense": "dense"}
    below.barh(
        list(names.values()), counts.values(), color=["C1", "C5", "C0"],
        hatch=["//", "..", ""],
    )  # fmt: skip
    for place, count in enumerate(counts.values()):
        below.text(count * 1.3, place, f"{count:,}", va="center", fontsize=13)
    below.set(xscale="log", xlim=(20, 1e9), xlabel="parameters of a layer")
    below.set_ylabel("weights")
    below.invert_yaxis()
    sheet = inside["kernels"]
    rows = right.subplots(4, 1, height_ratios=[2.4, 2, 2, 2])
    rows[0].imshow(sheet[..., 0], "PuOr", alpha=sheet[..., -1] / 255)
    rows[0].set_title(f"First layer: {FILTERS[0]} kernels of 3x3", fontsize=14)
    size = inside["image"].shape[0]

    def strip(axes, tiles, title):
        """Draw tiles side by side, each scaled to black and white."""
        tiles = [tile / max(tile.max(), 1e-9) for tile in tiles]
        scaled = [tile.repeat(size // len(tile), 0) for tile in tiles]
        scaled = [tile.repeat(size // tile.shape[1], 1) for tile in scaled]
        framed = [np.pad(tile, 1, constant_values=0.6) for tile in scaled]
        axes.imshow(np.hstack(framed), "Greys", interpolation="none")
        axes.set_title(title, fontsize=14)

    image, maps = inside["image"][..., 0] / 255, np.moveaxis(inside["maps"], -1, 0)
    strip(rows[1], [image, *maps], "A digit and its first 5 feature maps")
    strip(rows[2], list(inside["best"][..., 0]), "What excites a hidden unit most")
    made = f"Made for it: {inside['ratio']:.1f} times the best digit's"
    strip(rows[3], [inside["made"][..., 0], inside["best"][0, ..., 0]], made)
    rows[3].set_xlim(-0.5, 5 * (size + 2) - 0.5)  # as wide as the row above
    for axes in rows:
        axes.axis("off")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
