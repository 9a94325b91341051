"""Suggest a learning rate for a recipe: the command `zoo lr-find`."""

import dataclasses
from pathlib import Path
from types import ModuleType

from zoo import console
from zoo.files import writable
from zoo.training import options


def sweep(recipe: ModuleType, argv: list[str]) -> float:
    """Sweep the learning rate of a recipe's model; print what to train with.

    The picture goes to `RUNS/RECIPE/lr-find-MODEL.png`.

    Args:
        recipe: its module, with `NAME`, `PRESETS`, `load`, `training_data` and `build`.
        argv: the recipe's own options.

    Returns:
        The learning rate that is suggested, to two digits.

    Raises:
        ZooError: an impossible option, or a loss that does not fall in the sweep.
    """
    config = options.parse_recipe(recipe.NAME, recipe.PRESETS, argv, recipe.__doc__)
    folder = writable(Path(config.runs_dir) / recipe.NAME, "--runs-dir")
    print("Loading TensorFlow ...", flush=True)
    keras = console.import_keras()
    from zoo.callbacks import LearningRateFinder

    splits = recipe.load(config)
    print(splits, flush=True)
    batches = recipe.training_data(config, splits)
    keras.utils.set_random_seed(config.seed)
    model = recipe.build(config, splits.num_train)
    model.steps_per_execution = 1  # the finder sees one loss an execution
    finder = LearningRateFinder()
    print(
        f"Sweep: {config.model}, {finder.steps} steps, learning rate {finder.lowest:g} "
        f"to {finder.highest:g}",
        flush=True,
    )
    model.fit(
        batches,
        steps_per_epoch=finder.steps,
        callbacks=[finder],
        shuffle=False,  # the batches are shuffled already
    )
    suggestion = float(f"{finder.suggestion:.2g}")
    picture = finder.plot(folder / f"lr-find-{config.model}.png")
    # The sweep saw whole batches: nothing is left to be scaled.
    config = dataclasses.replace(
        config, learning_rate=suggestion, scale_learning_rate=False
    )
    print(
        f"\nlearning rate  {suggestion:g}\n\n"
        f"Picture      {picture}\n"
        f"Train        {options.command(recipe.NAME, recipe.PRESETS, config)}",
        flush=True,
    )
    return suggestion
