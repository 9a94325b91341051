"""Which knobs pay: a preset, and the preset with one option changed at a time.

    python benchmarks/ablations.py RECIPE MODEL [--seeds 3] [--epochs N] [--limit N]
        [--change="--erase 0" --change=--no-flip ...]

Each is trained on every seed, in turns, and judged on the validation images alone; the
test set has no say. Without --change, a list of usual ones is tried. Prints a Markdown
table: the mean of the best validation accuracies, how far it is from the preset's (mean
over the seeds ± standard error), and seconds as a ratio to the preset's.
"""

import argparse
import statistics
import sys
import time
from types import ModuleType

from zoo import console, recipes
from zoo.data import pipeline
from zoo.errors import ZooError
from zoo.training import options

CHANGES = (
    "--flip",
    "--no-flip",
    "--shift 1",
    "--shift 2",
    "--erase 8",
    "--erase 0",
    "--dropout 0.1",
    "--weight-decay 0.03",
    "--weight-decay 0.3",
    "--batch-size 64",
    "--batch-size 256",
    "--activation silu",
)


def main() -> None:
    """Train the preset and its variations, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--change", action="append")
    asked = parser.parse_args()
    recipe = recipes.model(asked.recipe, "train")
    common = ["--model", asked.model]
    for option in ("epochs", "limit"):
        if getattr(asked, option):
            common += [f"--{option}", str(getattr(asked, option))]

    def parsed(*words):
        argv = [*common, *words]
        return options.parse_recipe(recipe.NAME, recipe.PRESETS, argv, recipe.__doc__)

    changes = asked.change or [c for c in CHANGES if differs(parsed, c)]
    for change in changes:
        parsed(*change.split())  # before the first training
    runs = {change: [] for change in ["", *changes]}
    for seed in map(str, range(asked.seeds)):
        for change in runs:  # in turns: the machine has its moods
            config = parsed(*change.split(), "--seed", seed)
            runs[change].append(trained(recipe, config))
            told = f"seed {seed}: {change}: {runs[change][-1][0]:.2%}"
            print(told, file=sys.stderr, flush=True)
    print("| change | validation accuracy | against the preset | time |")
    print("|---|---|---|---|")
    for change, results in runs.items():
        accuracies, seconds = zip(*results, strict=True)
        differences = [
            100 * (accuracy - before)
            for accuracy, (before, _) in zip(accuracies, runs[""], strict=True)
        ]
        against = f"{statistics.fmean(differences):+.2f}"
        if change and asked.seeds > 1:
            error = statistics.stdev(differences) / asked.seeds**0.5
            against += f" ± {error:.2f}"
        ratio = statistics.median(seconds) / statistics.median(s for _, s in runs[""])
        print(
            f"| {f'`{change}`' if change else 'the preset'} "
            f"| {statistics.fmean(accuracies):.2%} | {against} | {ratio:.2f} |"
        )


def differs(parsed, change: str) -> bool:
    """Return whether a change is possible, and not what the preset does anyway."""
    try:
        return parsed(*change.split()) != parsed()
    except ZooError:
        return False


def trained(recipe: ModuleType, config) -> tuple[float, float]:
    """Return the best validation accuracy of a training, and its seconds."""
    keras = console.import_keras()
    keras.backend.clear_session()
    splits = recipe.load(config)
    keras.utils.set_random_seed(config.seed)
    model = recipe.build(config, splits.num_train)
    steps, _ = pipeline.schedule(splits.num_train, config.batch_size)
    began = time.perf_counter()
    history = model.fit(
        recipe.training_data(config, splits),
        steps_per_epoch=steps,
        epochs=config.epochs,
        validation_data=pipeline.evaluation(splits.validation),
        shuffle=False,
        verbose=0,
    ).history
    return max(history["val_accuracy"]), time.perf_counter() - began


if __name__ == "__main__":
    main()
