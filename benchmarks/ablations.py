"""Which knobs pay: a preset, and the preset with one option changed at a time.

    python benchmarks/ablations.py RECIPE MODEL [--seeds 3] [--epochs N] [--limit N]
        [--change="--erase 0" --change=--no-flip ...]

Each is trained on every seed, in turns, and judged on the validation images alone; the
test set has no say. Without --change, a list of usual ones is tried. Prints a Markdown
table: the mean of the best validation accuracies, how far it is from the preset's, and
seconds as a ratio to the preset's.
"""

import argparse
import statistics

from timing import metrics_of

from zoo import recipes

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
    changes = ["", *(asked.change or CHANGES)]
    runs = {change: [] for change in changes}
    for seed in range(asked.seeds):  # in turns: the machine has its moods
        for change in changes:
            words = [*common, *change.split(), "--seed", str(seed)]
            runs[change].append(metrics_of(recipe, words))
    preset = _means(runs[""])
    print("| change | validation accuracy | against the preset | time |")
    print("|---|---|---|---|")
    for change, results in runs.items():
        accuracy, seconds = _means(results)
        difference = 100 * (accuracy - preset[0])
        print(
            f"| {f'`{change}`' if change else 'the preset'} | {accuracy:.2%} "
            f"| {difference:+.2f} | {seconds / preset[1]:.2f} |"
        )


def _means(results: list[dict]) -> tuple[float, float]:
    """Return the mean validation accuracy and the median seconds of trainings."""
    return (
        statistics.fmean(metrics["validation_accuracy"] for metrics in results),
        statistics.median(metrics["train_seconds"] for metrics in results),
    )


if __name__ == "__main__":
    main()
