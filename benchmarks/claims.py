"""Measure a recipe's claims again: mean ± standard deviation over seeds, per model.

    python benchmarks/claims.py [RECIPE] [--seeds 5]

Prints the table that the recipe's docstring, its card and the README show. Each
training is a run like any other; records and models go to a temporary folder.
"""

import argparse
import statistics

from timing import metrics_of

from zoo import recipes


def main() -> None:
    """Train every model of a recipe on several seeds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="fashion_mnist")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    recipe = recipes.model(options.recipe, "claims")
    width = max(map(len, [*recipe.PRESETS, "model"]))
    print(f"    {'model':{width}}  parameters  test accuracy    training", flush=True)
    for model in recipe.PRESETS:
        runs = [
            metrics_of(recipe, ["--model", model, "--seed", str(seed)])
            for seed in range(options.seeds)
        ]
        accuracies = [100 * run["test_accuracy"] for run in runs]
        mean = statistics.mean(accuracies)
        spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
        seconds = statistics.median(run["train_seconds"] for run in runs)
        print(
            f"    {model:{width}}  {runs[0]['parameters']:10,}  {mean:.2f} ± "
            f"{spread:.2f} % {seconds:8.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
