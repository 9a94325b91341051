"""The page of an experiment: conclusion, picture, numbers."""

import base64
import json
from pathlib import Path

from zoo import recipes
from zoo.course import claims, syllabus
from zoo.errors import ZooError
from zoo.report import page


def is_experiment(path: Path) -> bool:
    """Return whether a folder is the record of a row of the course."""
    try:
        environment = json.loads((path / "environment.json").read_text("utf8"))
        return environment["recipe"] in syllabus.RECIPES
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write(path: Path, output: Path | None = None) -> Path:
    """Write `report.html` of an experiment, from what its directory holds.

    Args:
        path: the directory.
        output: the file to write; `None` is `report.html` there.

    Returns:
        The path that was written.

    Raises:
        ZooError: the experiment did not finish, or the file cannot be written.
    """
    try:
        metrics = json.loads((path / "metrics.json").read_text("utf8"))
        picture = (path / "figure.png").read_bytes()
        row = syllabus.RECIPES[metrics["recipe"]]
        if metrics["status"] != "complete":
            raise ZooError(f"it is {metrics['status']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ZooError(
            f"the experiment in {path} has no result to show ({error}): run it again."
        ) from None
    before, after = claims.text(recipes.module(row.recipe).__doc__)
    variables = {
        "metrics": metrics,
        "system": row.system,
        "lectures": row.lectures,
        "text": [part for part in f"{before}\n\n{after}".split("\n\n") if part],
        "figure": f"data:image/png;base64,{base64.b64encode(picture).decode()}",
    }
    output = Path(output or path / "report.html")
    return page.render("report.html.j2", output, variables, package="zoo.course")
