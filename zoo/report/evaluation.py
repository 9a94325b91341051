"""What a report needs of the model and the data, measured once and kept.

After this a report is a function of the run directory alone: it can be made again
without the data set, and without TensorFlow.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data import pipeline
from zoo.data.datasets import Examples, Splits
from zoo.files import replacing
from zoo.report import measures

if TYPE_CHECKING:
    import keras

NAME = "evaluation.npz"
KEYS = (
    "class_names labels probabilities picture_index pictures kernels "
    "sample pca tsne explained_variance"
).split()

WORST, PAIRS, EXAMPLES_OF_PAIR = 24, 6, 6
_MOST_TRAINING, _MOST_POINTS, _MOST_KERNELS = 10_000, 1_500, 64
_LARGEST_PICTURE = 64  # pixels a side: the page stays under 5 MB


def measure(model: "keras.Model", splits: Splits, path: str | Path) -> float:
    """Predict the test set, keep what the report shows, and return training accuracy.

    Args:
        model: ends in class probabilities; with the weights that are reported.
        splits: the data set; training images are taken without augmentation.
        path: the `.npz` file to write, whole or not at all. It holds the class names;
            test labels int64 `(n,)` and probabilities float32 `(n, classes)`; pictures
            of the worst mistakes and the most confused pairs, uint8, with their
            indices; the first layer's kernels `(k, height, width, channels)`; and the
            last features of up to 1,500 test images on a plane, by PCA and t-SNE.

    Returns:
        Accuracy on up to 10,000 training images, 0 to 1: dropout is off, so it can be
        compared with validation accuracy.

    Reference:
        van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    path = Path(path)
    probabilities = model.predict(pipeline.evaluation(splits.test), verbose=0)
    labels = splits.test.y
    pictured = _pictured(labels, probabilities)
    sample = _spread(len(labels), _MOST_POINTS)
    features = _features(model, _subset(splits.test, sample))
    pca, tsne, explained = _planes(features)
    with replacing(path) as beside:
        np.savez_compressed(
            beside,
            class_names=np.array(splits.class_names),
            labels=labels,
            probabilities=probabilities.astype(np.float32),
            picture_index=pictured,
            pictures=_small(splits.test.x[pictured]),
            kernels=_first_kernels(model, splits.test.x.shape[1:]),
            sample=sample,
            pca=pca,
            tsne=tsne,
            explained_variance=explained,
        )
    train = _subset(splits.train, _spread(len(splits.train.y), _MOST_TRAINING))
    predictions = model.predict(pipeline.evaluation(train), verbose=0).argmax(1)
    return float((predictions == train.y).mean())


def _pictured(labels, probabilities):
    matrix = measures.confusion(labels, probabilities.argmax(1), probabilities.shape[1])
    of_pairs = [
        measures.pair_examples(labels, probabilities, true, read, EXAMPLES_OF_PAIR)
        for true, read, _ in measures.confused_pairs(matrix, PAIRS)
    ]
    worst = measures.worst_mistakes(labels, probabilities, WORST)
    return np.unique(np.concatenate([worst, *of_pairs]))


def _small(images):
    step = -(-max(images.shape[1:3]) // _LARGEST_PICTURE)
    return images[:, ::step, ::step]


def _spread(size, most):
    return np.linspace(0, size - 1, min(size, most)).astype(np.int64)


def _subset(examples, index):
    return Examples(examples.x[index], examples.y[index])


def _features(model, examples):
    """Return what the classifier sees: the inputs of the last layer with weights."""
    import keras

    last = [layer for layer in model.layers if layer.weights][-1]
    vectors = keras.Model(model.inputs, last.input)
    features = vectors.predict(pipeline.evaluation(examples), verbose=0)
    return features.reshape(len(features), -1)


def _planes(features):
    """Return PCA and t-SNE coordinates `(n, 2)`, and PCA's shares of the variance.

    All are empty where there is nothing to spread out.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    components = min(50, *features.shape)
    if components < 4 or not features.std() > 0:
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
    pca = PCA(components, random_state=0)
    reduced = pca.fit_transform(features)
    perplexity = min(30, (len(features) - 1) / 3)
    # Threads that wait for one another made it 9 times as slow on two cores.
    with threadpool_limits(1):
        plane = TSNE(perplexity=perplexity, max_iter=500, random_state=0).fit_transform(
            reduced
        )
    return reduced[:, :2], plane, pca.explained_variance_ratio_[:2]


def _first_kernels(model, image_shape):
    """Return kernels `(k, height, width, channels)`; none if they do not see pixels."""
    kernels = (
        weight for layer in model.layers for weight in layer.weights
        if len(weight.shape) > 1
    )  # fmt: skip
    kernel = np.asarray(next(kernels, np.zeros((0, 0))), np.float32)
    if kernel.ndim == 4 and kernel.shape[2] == image_shape[2]:
        kernel = kernel.transpose(3, 0, 1, 2)
    elif kernel.ndim == 2 and len(kernel) == np.prod(image_shape):
        kernel = kernel.T.reshape(-1, *image_shape)
    else:
        kernel = np.zeros((0, 1, 1, 1), np.float32)
    return kernel[:_MOST_KERNELS]
