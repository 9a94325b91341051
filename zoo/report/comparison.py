"""What the page that compares runs shows."""

from zoo.report import figures, sections
from zoo.report.record import Record

_NOT_OPTIONS = {"runs_dir", "saved_models_dir", "data_dir", "mirror", "summary"}
_CURVES = {
    "val_accuracy": "Validation accuracy",
    "val_loss": "Validation loss",
    "accuracy": "Training accuracy",
    "loss": "Training loss",
}


def everything(records: list[Record]) -> dict:
    """Return the variables of `comparison.html.j2`."""
    return {
        "runs": [_run(number, record) for number, record in enumerate(records, 1)],
        "caveats": _caveats(records),
        "best": _best(records),
        "options": _different_options(records),
        "curves": _curves(records),
    }


def _run(number, record):
    training, validation = sections.accuracies(record)
    return {
        "number": number,
        "record": record,
        "status": sections.status(record),
        "training": training,
        "validation": validation,
        "diagnosis": sections.diagnosis(record),
        "findings": (record.gradients or {}).get("findings", []),
    }


def _same_data(records):
    """Return whether the runs that recorded their data were tested on the same."""
    data = [record.metrics["data"] for record in records if "data" in record.metrics]
    return len({(d["name"], d["digest"], d["test"]) for d in data}) <= 1


def _same_validation(records):
    """Return whether validation is of the same images: the seed chooses them."""
    chosen = {
        (record.metrics["data"]["validation"], str(record.config.get("seed")))
        for record in records
        if "data" in record.metrics
    }
    return _same_data(records) and len(chosen) <= 1


def _caveats(records):
    """Say what cannot be compared."""
    caveats = []
    if len({record.recipe for record in records}) > 1:
        caveats.append("The runs are of different recipes.")
    if not _same_data(records):
        caveats.append(
            "The runs are of different data: their accuracies cannot be compared, and "
            "none is marked as best."
        )
    elif not _same_validation(records):
        caveats.append(
            "Validation accuracy is of different images: the seed chooses them. None "
            "is marked as best."
        )
    return caveats


def _best(records):
    """Return, for each result, which runs (numbers from 1) are best at it."""
    contests = {}
    if _same_data(records):
        contests |= {"test_accuracy": max, "test_loss": min}
    if _same_validation(records):
        contests["validation_accuracy"] = max
    best = {}
    for key, better in contests.items():
        values = [record.metrics.get(key) for record in records]
        known = [value for value in values if value is not None]
        if len(known) > 1:
            top = better(known)
            best[key] = [n for n, value in enumerate(values, 1) if value == top]
    return best


def _different_options(records):
    """Return `(option, [value per run])` for the options that are not all the same."""
    names = dict.fromkeys(name for record in records for name in record.config)
    rows = [
        (name, [record.config.get(name) for record in records])
        for name in names
        if name not in _NOT_OPTIONS
    ]
    return [row for row in rows if any(value != row[1][0] for value in row[1])]


def _curves(records):
    drawings = []
    for column, title in _CURVES.items():
        series = {
            f"run {number}": record.history[column]
            for number, record in enumerate(records, 1)
            if column in record.history
        }
        if series:
            percent = column.endswith("accuracy")
            ends = [
                f"{run} ends at {values[-1]:{'.1%' if percent else '.3g'}}"
                for run, values in series.items()
            ]
            label = f"{title} by epoch: {'; '.join(ends)}."
            drawings.append(
                figures.lines(column, label, series, title, percent=percent)
            )
    return drawings
