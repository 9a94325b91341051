"""One module per recipe; `names` lists them, `module` loads one.

A recipe trains a model to keep, or is an experiment of the course (`zoo.course`).
"""

import importlib
import pkgutil
from types import ModuleType

from zoo.course import syllabus
from zoo.errors import ZooError, unknown


def names() -> list[str]:
    """Return the names of all recipes, in alphabetical order."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def models() -> list[str]:
    """Return the names of the recipes that train a model to keep."""
    return [name for name in names() if name not in syllabus.RECIPES]


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


def model(name: str, command: str) -> ModuleType:
    """Return the module of a recipe that trains a model to keep.

    Args:
        name: of the recipe.
        command: what is to be done with it, e.g. `"tune"`, for the message.

    Raises:
        ZooError: there is no such recipe, or it is an experiment of the course.
    """
    recipe = module(name)
    if recipe.NAME in syllabus.RECIPES:
        raise ZooError(
            f"{recipe.NAME} is an experiment of the course: zoo {command} has nothing "
            f"to work on. Run it with: zoo train {recipe.NAME}. zoo {command} takes: "
            f"{', '.join(models())}."
        )
    return recipe
