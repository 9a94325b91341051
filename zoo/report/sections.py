"""What each section of a run's page shows, from the record of the run."""

import math

import numpy as np

from zoo.callbacks import heat_map
from zoo.errors import ZooError
from zoo.report import evaluation, figures, measures
from zoo.report.diagnosis import Diagnosis, diagnose
from zoo.report.pictures import data_uri, kernel_sheet
from zoo.report.record import Record

_STATUS = {
    "trained": "trained, but it ended before evaluation and export",
    "diverged": "diverged: the loss became infinite or NaN",
    None: "killed, or still running",
}


def everything(record: Record) -> dict:
    """Return the variables of `report.html.j2`."""
    training, validation = accuracies(record)
    return {
        "record": record,
        "status": status(record),
        "training": training,
        "validation": validation,
        "diagnosis": diagnosis(record),
        "curves": _curves(record),
        "test": _test_set(record.evaluation),
        "gradients": _gradients(record.gradients),
    }


def status(record: Record) -> str:
    """Return how the run ended, in words."""
    name = record.metrics.get("status")
    return _STATUS.get(name, name)


def accuracies(record: Record) -> tuple[float | None, float | None]:
    """Return training and validation accuracy of the weights that were kept.

    A run that finished measured training accuracy without dropout and augmentation;
    else the mean over the epoch has to do.
    """

    def value(metric, column):
        measured = record.metrics.get(metric)
        if measured is None and column in record.history and record.best_epoch:
            measured = record.history[column][record.best_epoch - 1]
        return measured if measured is not None and math.isfinite(measured) else None

    return (
        value("training_accuracy", "accuracy"),
        value("validation_accuracy", "val_accuracy"),
    )


def diagnosis(record: Record) -> Diagnosis | str:
    """Return the diagnosis, or why there is none."""
    if record.metrics.get("status") == "diverged":
        return "No diagnosis: the loss became infinite or NaN."
    training, validation = accuracies(record)
    if training is None or validation is None:
        return (
            "No diagnosis: it takes the training and validation accuracy of a "
            "finished epoch."
        )
    try:
        return diagnose(training, validation, record.dataset)
    except ZooError as error:  # an accuracy in percent
        return f"No diagnosis: {error}."


def _curves(record):
    accuracy = {"training": "accuracy", "validation": "val_accuracy"}
    loss = {"training": "loss", "validation": "val_loss"}
    return [
        *_curve(record, "Accuracy", accuracy),
        *_curve(record, "Loss", loss),
        *_learning_rate(record),
    ]


def _curve(record, title, columns):
    """Return the drawing of what there is of these columns: one or none."""
    series = {
        what: record.history[column]
        for what, column in columns.items()
        if column in record.history
    }
    if not series:
        return []
    percent = title == "Accuracy"
    form = ".1%" if percent else ".3g"
    parts = [f"{what} {_course(values, form)}" for what, values in series.items()]
    label = f"{title} by epoch: {'; '.join(parts)}."
    best = record.best_epoch
    return [
        figures.lines(
            title.lower(), label, series, title, percent=percent, best_epoch=best
        )
    ]


def _learning_rate(record):
    if "learning_rate" not in record.history:
        return []
    rates = record.history["learning_rate"]
    title = "Learning rate after each epoch"
    label = f"{title}: {_course(rates, '.3g')}."
    series, best = {"learning rate": rates}, record.best_epoch
    return [figures.lines("learning-rate", label, series, title, best_epoch=best)]


def _course(values, form):
    """Say where a curve begins and ends, and where it is not a number."""
    finite = [value for value in values if math.isfinite(value)]
    broken = [
        str(epoch) for epoch, v in enumerate(values, start=1) if not math.isfinite(v)
    ]
    text = "nowhere: no number is finite"
    if finite:
        text = f"from {finite[0]:{form}} to {finite[-1]:{form}}"
        if broken:
            text += f", not a finite number in epoch {', '.join(broken[:5])}"
            text += " and others" if len(broken) > 5 else ""
    return text


def _test_set(arrays):
    if arrays is None:
        return None
    labels, probabilities = arrays["labels"], arrays["probabilities"]
    names = arrays["class_names"].tolist()
    matrix = measures.confusion(labels, probabilities.argmax(1), len(names))
    pairs = measures.confused_pairs(matrix, evaluation.PAIRS)
    return {
        "count": len(labels),
        "wrong": int(matrix.sum() - matrix.trace()),
        "confusion": _confusion(matrix, pairs, names),
        "per_class": list(zip(names, *measures.per_class(matrix), strict=True)),
        "reliability": _reliability(labels, probabilities),
        "worst": _worst(arrays, names),
        "pairs": _pairs(arrays, pairs, names),
        "kernels": _kernels(arrays["kernels"]),
        "planes": _planes(arrays, names),
    }


def _confusion(matrix, pairs, names):
    wrong = 1 - matrix.trace() / matrix.sum()
    label = f"Confusion matrix: {wrong:.1%} of {matrix.sum():,} are wrong"
    if pairs:
        true, read, count = pairs[0]
        label += f"; most confused: {names[true]} read as {names[read]}, {count} times"
    return figures.confusion("confusion", f"{label}.", matrix, names)


def _reliability(labels, probabilities):
    calibration = measures.calibration(labels, probabilities)
    confidence = probabilities.max(1).mean()
    accuracy = (probabilities.argmax(1) == labels).mean()
    label = (
        f"Reliability: mean confidence {confidence:.1%}, accuracy {accuracy:.1%}; "
        f"expected calibration error {calibration.error:.1%}."
    )
    return figures.reliability("reliability", label, calibration)


def _worst(arrays, names):
    labels, probabilities = arrays["labels"], arrays["probabilities"]
    worst = measures.worst_mistakes(labels, probabilities, evaluation.WORST)
    return _pictures(arrays, names, worst)


def _pairs(arrays, pairs, names):
    labels, probabilities = arrays["labels"], arrays["probabilities"]
    return [
        {
            "true": names[true],
            "read": names[read],
            "count": count,
            "pictures": _pictures(
                arrays,
                names,
                measures.pair_examples(
                    labels, probabilities, true, read, evaluation.EXAMPLES_OF_PAIR
                ),
            ),
        }
        for true, read, count in pairs
    ]


def _pictures(arrays, names, indices):
    kept = dict(zip(arrays["picture_index"].tolist(), arrays["pictures"], strict=True))
    return [
        {
            "index": index,
            "true": names[arrays["labels"][index]],
            "read": names[arrays["probabilities"][index].argmax()],
            "confidence": float(arrays["probabilities"][index].max()),
            "uri": data_uri(kept[index]),
        }
        for index in indices.tolist()
        if index in kept  # an older run may have kept others
    ]


def _kernels(kernels):
    if not len(kernels):
        return None
    count, height, width, _ = kernels.shape
    return {
        "label": f"The first layer's kernels: {count} of {height}x{width} pixels.",
        "uri": data_uri(kernel_sheet(kernels)),
    }


def _planes(arrays, names):
    classes = arrays["labels"][arrays["sample"]]
    if not len(arrays["pca"]):
        return []
    held = arrays["explained_variance"].sum()
    titles = {
        "pca": f"PCA: two components hold {held:.0%} of the variance",
        "tsne": "t-SNE",
    }
    drawings = []
    for name, title in titles.items():
        near = measures.nearest_neighbour_accuracy(arrays[name], classes)
        label = (
            f"{title}. For {near:.0%} of {len(classes):,} images the nearest neighbour "
            "on this plane is of the same class."
        )
        drawings.append(figures.scatter(name, label, arrays[name], classes, names))
    return drawings


def _gradients(gradients):
    if gradients is None:
        return None
    epochs = gradients["epochs"]
    last = epochs[-1]
    label = "Gradient norm by layer and epoch"
    norms = heat_map.norms(epochs)
    shown = norms[np.isfinite(norms) & (norms > 0)]
    if len(shown):
        label += f": from {shown.min():.2g} to {shown.max():.2g}"
    return {
        "heat_map": figures.gradients("gradients", f"{label}.", epochs),
        "findings": gradients["findings"],
        "layers": last["layers"],
        "units": [
            (layer, kind, share, max(record[kind][layer] for record in epochs))
            for kind in ("dead", "saturated")
            for layer, share in last[kind].items()
        ],
    }
