"""The rows of the course as a list and as cards, from the recipes' docstrings."""

from collections.abc import Iterator
from types import ModuleType

from zoo import recipes
from zoo.course import claims, syllabus


def summary() -> str:
    """Return the rows: number, system, lectures, recipe, and what it claims."""
    return "\n\n".join(
        "\n".join(
            [
                f"{row.number:2}  {row.system} ({row.lectures})",
                f"      zoo train {row.recipe}",
                f"      {recipe.__doc__.splitlines()[0]}",
                *_lines(claims.read(recipe.__doc__)),
            ]
        )
        for row, recipe in _modules()
    )


def _lines(table: list[claims.Claim]) -> list[str]:
    width = max(len(claim.what) for claim in table)
    return [
        f"      {claim.what:{width}}  {claim.measured}"
        + ("" if claim.bound == "-" else f"  (claimed {claim.bound})")
        for claim in table
    ]


def cards() -> str:
    """Return a card for each row, in Markdown: the claims of its docstring."""
    return "\n\n".join(_card(row, recipe) for row, recipe in _modules())


def _card(row: syllabus.Row, recipe: ModuleType) -> str:
    table = "\n".join(
        f"| {what} | {'' if c.bound == '-' else c.bound} | {c.measured} |"
        for c in claims.read(recipe.__doc__)
        for what in [c.what.replace("|", r"\|")]  # else it would end the cell
    )
    before, after = claims.text(recipe.__doc__)
    parts = [
        f"### Row {row.number}, {row.recipe}: {row.system}",
        before,
        f"```bash\npython -m zoo.recipes.{row.recipe}\n```",
        f"| number | claim | measured |\n|---|---|---|\n{table}",
        after,
    ]
    return "\n\n".join(part for part in parts if part)


def _modules() -> Iterator[tuple[syllabus.Row, ModuleType]]:
    for row in syllabus.ROWS:
        yield row, recipes.module(row.recipe)
