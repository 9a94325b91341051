"""A search -> one HTML file that shows what it found, and how sure that is."""

import shlex
from pathlib import Path

from zoo.report.page import render, short
from zoo.tuning.conclusion import conclusion, of_result
from zoo.tuning.importance import Importance, importance
from zoo.tuning.progress import duration
from zoo.tuning.records import Search
from zoo.tuning.scales import Objective, axes, digits_for


def write(directory: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a search, finished or not, from what its directory holds.

    Args:
        directory: of the search.
        output: the file to write; `None` is `report.html` in the directory.

    Returns:
        The path that was written.

    Raises:
        ZooError: (a `ValueError`) `directory` is not a search, or the file cannot be
            written.
    """
    search = Search(directory)
    output = Path(output or search.directory / "report.html")
    return render("tuning.html.j2", output, everything(search), package="zoo.tuning")


def everything(search: Search) -> dict:
    """Return the variables of `tuning.html.j2`."""
    scores = tuple(t.score for t in search.trials if t.score is not None)
    objective = Objective(search.facts["objective"], search.facts["direction"], scores)
    scales = axes(search)
    found = importance(scales, search.trials)
    return {
        "search": search,
        "objective": objective,
        "count": {
            status: sum(trial.status == status for trial in search.trials)
            for status in ("completed", "failed", "running")
        },
        "duration": duration(sum(trial.seconds for trial in search.trials)),
        "command": _command(search.facts["command"]),
        "status": _status(search),
        "final": of_result(search, "final_scores"),
        "test": of_result(search, "test_accuracies"),
        "conclusion": conclusion(search, objective, found),
        "found": found,
        "fixed": _fixed(search, scales),
        "boxes": _boxes(search.boxes, scales),
        "columns": _columns(search, scales),
        "ranked": _ranked(search.trials, objective),
        "errors": _errors(search.trials),
        **_figures(search, scales, objective, found),
    }


def _command(words):
    """Return the command of a search as it is typed; `None` if there was none."""
    if not words:
        return None
    return shlex.join(words[1:] if words[:2] == ["-m", "zoo"] else ["python", *words])


def _status(search):
    if not search.facts["over"]:
        return "running, or stopped"
    return "complete" if search.best else "all failed"


def _figures(search, scales, objective, found):
    from zoo.tuning import figures
    from zoo.tuning.parallel import parallel

    final = of_result(search, "final_scores")
    trials = search.trials
    return {
        "progress": figures.progress(
            "progress", trials, objective, final[0] if final else None
        ),
        "parallel": (
            parallel("parallel", scales, trials, objective)
            if scales and objective.scores
            else None
        ),
        "effects": [
            figures.effect(f"effect-{index}", axis, trials, objective, search.boxes)
            for index, axis in enumerate(scales)
        ],
        "importance": (
            figures.importances("importance", found)
            if isinstance(found, Importance)
            else None
        ),
    }


def _fixed(search, scales):
    """Return the hyper-parameters that have but one value."""
    varied = {axis.name for axis in scales}
    return {hp.name: hp.default for hp in search.space if hp.name not in varied}


def _boxes(boxes, scales):
    """Return, for each hyper-parameter, what each round of coarse-to-fine drew from."""
    return [
        (axis.name, [_box(axis, box["box"].get(axis.name)) for box in boxes])
        for axis in scales
        if boxes
    ]


def _box(axis, box):
    if box is None:
        return "all"
    if isinstance(box, dict):
        return ", ".join(map(axis.text, box["values"]))
    digits = digits_for(box, axis.digits)
    return " to ".join(short(end, digits) for end in box)


def _columns(search, scales):
    """Return the names of all hyper-parameters, the tuner's own last, and digits."""
    names = [hp.name for hp in search.space]
    names += [name for trial in search.trials for name in trial.values]
    return dict.fromkeys(names, 3) | {axis.name: axis.digits for axis in scales}


def _ranked(trials, objective):
    """Return the trials, the best first; those without a score as they were begun."""
    completed = [trial for trial in trials if trial.score is not None]
    rest = [trial for trial in trials if trial.score is None]
    return sorted(completed, key=lambda t: -objective.sign * t.score) + rest


def _errors(trials):
    """Return `(error, numbers of the trials, traceback of the first)`."""
    groups = {}
    for trial in trials:
        if trial.status == "failed":
            groups.setdefault(trial.error, []).append(trial)
    return [
        (error, [trial.number for trial in same], same[0].traceback)
        for error, same in groups.items()
    ]
