"""The command `zoo tune`: search for the options of a recipe, then prove them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from tyro.conf import Suppress

from zoo import console
from zoo.errors import positive_integer
from zoo.training import distribute, options, resuming
from zoo.training.options import RunOptions
from zoo.tuning import TunerName, limits, place


@dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions):
    """How to search; the recipe's own options hold where they are given.

    What is not given is searched, where the recipe's space has it. The same command
    goes on where a killed search stopped.
    """

    tuner: TunerName = "random"
    """What chooses the configurations: docs/tuning.md says which one when."""
    trials: int = 30
    """How many configurations to try; the first is the model's own defaults."""
    objective: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    """What to go by, measured on the validation images."""
    retrains: int = 1
    """Trainings of each configuration, from different initial weights: their mean
    counts."""
    max_minutes: float | None = None
    """Begin no trial after so many minutes, over all parts of the search."""
    final_seeds: int = 3
    """How often to train the best configuration in the end, on other seeds."""
    directory: Path | None = None
    """Where the search is recorded; None is tuning/RECIPE_MODEL."""
    fork: bool = False
    """Search beside the directory (DIR-2) if it holds another search."""
    workers: int | None = None
    """Have so many processes of this machine run the trials; they share its cores."""
    resume: Suppress[str | None] = None
    summary: Suppress[bool] = False
    runs_dir: Suppress[Path] = Path("runs")

    def __post_init__(self):
        super().__post_init__()
        positive_integer("final_seeds", self.final_seeds)
        limits.check(
            self.trials, self.retrains, self.seed, self.max_minutes, self.final_seeds
        )
        if self.workers is not None:
            positive_integer("workers", self.workers)


def run(recipe: ModuleType, argv: list[str]) -> dict | None:
    """Search for better options of a recipe; train, test and export with the best.

    Args:
        recipe: its module; besides the recipe's contract it has `space(hp, config)`.
        argv: the options of the search and of the recipe.

    Returns:
        What `result.json` holds; `None` on a worker.

    Raises:
        ZooError: an impossible option, another search in the directory, or a search
            without a result.
    """
    asked, config, given = _parse(recipe, argv)
    if asked.workers:
        place.refuse_another()
    print("Loading TensorFlow ...", flush=True)
    console.import_keras()
    from zoo.tuning import final, searching
    from zoo.tuning.recipe import RecipeProblem

    strategy = distribute.of_recipe(config)
    splits = recipe.load(config)
    print(splits, flush=True)
    problem = RecipeProblem(recipe, config, given, strategy, splits)
    search = searching.run(
        problem,
        searching.Options(
            tuner=asked.tuner,
            objective=asked.objective,
            trials=asked.trials,
            retrains=asked.retrains,
            epochs=config.epochs,
            seed=config.seed,
            max_minutes=asked.max_minutes,
        ),
        asked.directory or Path("tuning") / f"{recipe.NAME}_{config.model}",
        fork=asked.fork,
        workers=asked.workers,
        command=["-m", "zoo", "tune", recipe.NAME, *argv],
    )
    return final.prove(search, recipe, problem, asked) if search else None


def _parse(recipe: ModuleType, argv: list[str]):
    """Return the options of the search, those of the recipe, and which are given."""
    first = next(iter(recipe.PRESETS.values()))
    preset = recipe.PRESETS.get(options.value_of("--model", argv), first)
    kind, name = type(preset), f"zoo tune {recipe.NAME}"
    both = dataclasses.make_dataclass(
        kind.__name__, [], bases=(SearchOptions, kind), frozen=True
    )
    options.own_first(both, RunOptions)
    options.own_first(both, kind)
    default = both(**_fields(preset, kind))
    asked = options.parse(both, argv, name, default=default, description=_about(recipe))
    config = kind(**_fields(asked, kind))
    words = {word.partition("=")[0].replace("_", "-") for word in argv}
    given = {
        field.name
        for field in dataclasses.fields(kind)
        if words & {resuming.flag(field.name), resuming.flag(f"no_{field.name}")}
    }
    if "epochs" not in given and asked.tuner == "hyperband":
        given.add("epochs")  # its own to choose, up to the preset's
    return asked, config, given


def _fields(instance, kind):
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: getattr(instance, name) for name in names}


def _about(recipe):
    return (
        f"Search for better options of {recipe.NAME}, and train with the best ones.\n\n"
        "An option of the recipe that is given holds in every trial; the others are "
        "searched, where its space has them, or are those of the model's preset."
    )
