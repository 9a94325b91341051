"""One module per recipe; `names` lists them, `module` loads one."""

import importlib
import pkgutil
from types import ModuleType

from zoo.course import syllabus
from zoo.errors import unknown


def names() -> list[str]:
    """Return the names of all recipes, in alphabetical order."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def module(name: str) -> ModuleType:
    """Return a recipe's module: its docstring is its claim, `main(argv)` runs it.

    Args:
        name: of the recipe, or the number of a row of the course.

    Raises:
        ZooError: there is no such recipe; the message names the nearest.
    """
    if name.isdecimal():
        name = syllabus.row(name).recipe
    if name.replace("-", "_") not in names():
        raise unknown("recipe", name, names())
    return importlib.import_module(f"zoo.recipes.{name.replace('-', '_')}")
