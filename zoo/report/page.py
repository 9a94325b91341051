"""Run directories -> one HTML file that needs no other."""

import math
from pathlib import Path

from zoo.errors import ZooError
from zoo.files import replacing, writable
from zoo.report.record import read


def write(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run, from what its directory holds.

    It needs neither the data set nor TensorFlow, and what is missing in the directory
    is missing, and named, in the report.

    Args:
        run_dir: the run's directory.
        output: the file to write; `None` is `report.html` in the run's directory.

    Returns:
        The path that was written.

    Raises:
        ZooError: (a `ValueError`) `run_dir` is not a run directory, or the file cannot
            be written.
    """
    from zoo.report import sections  # draws: Matplotlib takes a while to import

    record = read(run_dir)
    output = Path(output or record.path / "report.html")
    return render("report.html.j2", output, sections.everything(record))


def compare(run_dirs: list[str | Path], output: str | Path) -> Path:
    """Write one page that compares runs, as far as they can be compared.

    Args:
        run_dirs: the runs' directories.
        output: the file to write.

    Returns:
        The path that was written.

    Raises:
        ZooError: (a `ValueError`) one of them is not a run directory, or the file
            cannot be written.
    """
    from zoo.report import comparison

    records = [read(run_dir) for run_dir in run_dirs]
    return render("comparison.html.j2", Path(output), comparison.everything(records))


def render(
    template: str, output: Path, variables: dict, package: str = "zoo.report"
) -> Path:
    """Write a page from a template.

    Args:
        template: name of the file.
        output: the file to write.
        variables: of the template.
        package: the template is in it; those that it includes may be in this one.

    Returns:
        `output`.

    Raises:
        ZooError: (a `ValueError`) the file cannot be written.
    """
    import jinja2

    if output.is_dir():
        raise ZooError(f"--output must be a file. Received: {output}, a directory")
    writable(output.parent, "--output")
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(name, ".") for name in (package, "zoo.report")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": _percent, "short": short}
    html = environment.get_template(template).render(variables)
    with replacing(output) as path:
        path.write_text(html, encoding="utf8")
    return output


def _percent(value) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1%}"


def short(value, digits: int = 3) -> str:
    """Write a value as a table shows it.

    Args:
        value: of any type.
        digits: of a float; more where it is nearly 1: 0.9999 is not 1.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _float(value, digits) if math.isfinite(value) else "–"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _float(value, digits):
    text = f"{value:,.{digits}g}"
    if abs(value) < 1 and text in ("1", "-1"):
        return _float(value, digits + 1)
    return text
