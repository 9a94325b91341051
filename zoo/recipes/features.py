"""Features seen: what a network has learned pulls the classes apart in a plane.

Test images of Fashion-MNIST are points in 784 dimensions, their pixels, and points in
as many dimensions as the last hidden layer of a trained MLP has units, their learned
features (L3). Both are laid out in a plane: by PCA, the two directions of largest
variance, and by t-SNE, which keeps neighbours together (van der Maaten and Hinton, JMLR
2008). The number is the accuracy of the nearest neighbour in the plane: an image gets
the class of the image next to it, itself left out. The network has not been trained on
any of these images, and neither PCA nor t-SNE is told their classes.

    number       claim    measured      what
    pixels_pca   >= 20 %  43.4 ± 0.3 %  nearest neighbour: PCA of pixels
    pixels_tsne  >= 55 %  74.4 ± 1.8 %  nearest neighbour: t-SNE of pixels
    mlp_pca      >= 30 %  61.4 ± 3.7 %  nearest neighbour: PCA of features
    mlp_tsne     >= 60 %  81.9 ± 0.8 %  nearest neighbour: t-SNE of features
    pca_gain     >= 1 %   17.9 ± 4.0 %  PCA: features minus pixels
    tsne_gain    > 0 %    7.5 ± 1.7 %   t-SNE: features minus pixels
    network      -        88.9 ± 0.0 %  test accuracy of the network itself, all images
    seconds      -        31            seconds on two CPU cores; quick 5

"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.accuracy import accuracy
from zoo.course import DataOptions
from zoo.course.training import train
from zoo.errors import number
from zoo.recipes.fashion_mnist import PIXELS

NAME = "features"
SHOWN = 550  # points of a plane are drawn: more would hide one another
PANELS = {
    "pixels_pca": "PCA of 784 pixels",
    "pixels_tsne": "t-SNE of 784 pixels",
    "mlp_pca": "PCA of 64 learned features",
    "mlp_tsne": "t-SNE of 64 learned features",
}


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    limit: int | None = None
    """So many of the 60,000 training images."""
    seeds: int = 3
    """How many networks are trained, each with test images of its own choice."""
    points: int = 2000
    """So many test images are laid out."""
    hidden_units: tuple[int, ...] = (256, 64)
    """The widths of the hidden layers; the last one's outputs are the features."""
    epochs: int = 6
    """How often the network goes through the training images."""

    def __post_init__(self):
        super().__post_init__()
        number("points", self.points, below=10_001)  # there are 10,000 test images


QUICK = Config(quick=True, limit=6000, seeds=1, points=700, epochs=5)


def planes(vectors, seed):
    """Return PCA and t-SNE coordinates, `(n, 2)` each, of vectors `(n, dimensions)`."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    count = min(50, *vectors.shape)
    reduced = PCA(count, random_state=seed).fit_transform(vectors)
    # Threads that wait for one another make t-SNE slower on few cores.
    with threadpool_limits(1):
        spread = TSNE(max_iter=500, random_state=seed).fit_transform(reduced)
    return reduced[:, :2], spread


def neighbour_accuracy(points, classes):
    """Return the share of points whose nearest other point is of the same class."""
    squares = (points**2).sum(1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    return (classes[distances.argmin(1)] == classes).mean()


def measure(run):
    """Train a network, lay out pixels and features; return the accuracies."""
    import keras

    import zoo

    config = run.config
    splits = run.load(
        "fashion_mnist", limit=config.limit, validation=0, seed=config.seed
    )
    numbers, shown = {name: [] for name in ["network", *PANELS]}, {}
    for seed in run.seeds:
        keras.utils.set_random_seed(seed)
        model = zoo.mlp(splits.train.x.shape[1:], config.hidden_units, **PIXELS)
        bar = run.epochs(config.epochs)
        train(model, splits.train, config.epochs, seed, callbacks=[bar])
        numbers["network"].append(accuracy(model, splits.test))
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(splits.test.y), config.points, replace=False)
        images, classes = splits.test.x[chosen], splits.test.y[chosen]
        hidden = keras.Model(model.input, model.layers[-2].output)
        vectors = {
            "pixels": images.reshape(len(images), -1) / 255.0,
            "mlp": np.asarray(hidden(images), "float64"),
        }
        for name in run.bar(vectors, "Laying out", "set of vectors"):
            for method, plane in zip(
                ("pca", "tsne"), planes(vectors[name], seed), strict=True
            ):
                panel = f"{name}_{method}"
                share = neighbour_accuracy(plane.astype("float64"), classes)
                numbers[panel].append(share)
                shown.setdefault(panel, (plane, classes, share))
    for method in ("pca", "tsne"):
        numbers[f"{method}_gain"] = np.subtract(
            numbers[f"mlp_{method}"], numbers[f"pixels_{method}"]
        )
    return numbers, (shown, splits.class_names)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    better = "t-SNE" if numbers["mlp_tsne"] >= numbers["mlp_pca"] else "PCA"
    return (
        "The nearest neighbour in the plane has the same class for "
        f"{numbers['pixels_pca']:.1%} of the images after PCA of pixels, "
        f"{numbers['mlp_pca']:.1%} after PCA of learned features; after t-SNE for "
        f"{numbers['pixels_tsne']:.1%} and {numbers['mlp_tsne']:.1%}: the learned "
        f"features part the classes better, and {better} shows it best."
    )


def paint(figure, drawn):
    """Draw the four planes, a colour and a mark for each class."""
    from zoo.report.figures import COLOURS, MARKERS

    shown, names = drawn
    for axes, (panel, (points, classes, share)) in zip(
        figure.subplots(2, 2).T.flat, sorted(shown.items(), reverse=True), strict=True
    ):
        for index, name in enumerate(names):
            own = points[:SHOWN][classes[:SHOWN] == index]
            axes.scatter(
                *own.T,
                14,
                COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                label=name,
                linewidths=0,
                rasterized=True,
            )
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{PANELS[panel]}: {share:.0%}", fontsize=14)
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside right center",
        markerscale=2.2,
        handletextpad=0.1,
        title="Share: nearest\nneighbour of the\nsame class\n",
        title_fontsize=13,
    )


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
