"""Whether a run's files are of the shape that the report reads.

They may be damaged, edited by hand, or written by another version.
"""

import numpy as np

_TEXT = (str, type(None))
_NUMBER = (int, float, type(None))  # what is not finite is written as null
_METRICS = {
    **dict.fromkeys(["recipe", "status", "command"], _TEXT),
    **dict.fromkeys(["parameters", "train_seconds", "images_per_second"], _NUMBER),
    **dict.fromkeys(["training_accuracy", "validation_accuracy"], _NUMBER),
    **dict.fromkeys(["test_accuracy", "test_loss"], _NUMBER),
    "data": {"name": str, "digest": str, "validation": int, "test": int},
}
_LAYER = dict.fromkeys(["gradient_norm", "gradient_norm_max", "update_ratio"], _NUMBER)
_SHARES = {...: (int, float)}
_GRADIENTS = {
    "epochs": [
        {"epoch": int, "layers": {...: _LAYER}, "dead": _SHARES, "saturated": _SHARES}
    ],
    "findings": [str],
}


def damaged_metrics(metrics: dict) -> list[str]:
    """Return the keys of `metrics.json` whose values are not what they should be."""
    return [
        key
        for key, shape in _METRICS.items()
        if key in metrics and not _fits(metrics[key], shape)
    ]


def gradients_fit(gradients: dict) -> bool:
    """Return whether the epochs of `gradients.json`, one at least, are alike."""
    if not _fits(gradients, _GRADIENTS):
        return False
    first = gradients["epochs"][0]
    return bool(first["layers"]) and all(
        list(epoch[part]) == list(first[part])
        for epoch in gradients["epochs"]
        for part in ("layers", "dead", "saturated")
    )


def evaluation_fits(arrays: dict[str, np.ndarray]) -> bool:
    """Return whether the arrays of `evaluation.npz` belong together."""
    labels, probabilities = arrays["labels"], arrays["probabilities"]
    pictures, kernels = arrays["pictures"], arrays["kernels"]
    index, sample = arrays["picture_index"], arrays["sample"]
    points = (len(sample), 2) if len(arrays["pca"]) else (0, 2)
    return (
        probabilities.shape == (len(labels), len(arrays["class_names"]))
        and probabilities.size > 0
        and bool(np.isfinite(probabilities).all())
        and _within(labels, len(arrays["class_names"]))
        and _within(sample, len(labels))
        and _within(index, len(labels))
        and pictures.ndim == 4
        and pictures.dtype == np.uint8
        and len(pictures) == len(index)
        and kernels.ndim == 4
        and all(kernels.shape[1:] + pictures.shape[1:])
        and arrays["pca"].shape == arrays["tsne"].shape == points
    )


def _within(index, size):
    """Return whether all are valid indices; none at all are as well."""
    return index.ndim == 1 and (
        index.size == 0
        or (index.dtype.kind in "iu" and index.min() >= 0 and index.max() < size)
    )


def _fits(value, shape):
    """Return whether JSON is of a type, or of a list or dict of shapes; ... is all."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(v, shape[0]) for v in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        shape = dict.fromkeys(value, shape[...]) if ... in shape else shape
        return all(k in value and _fits(value[k], inner) for k, inner in shape.items())
    return isinstance(value, shape)
