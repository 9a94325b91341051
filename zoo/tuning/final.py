"""The end of a search: the best configuration is trained anew, and tested."""

import contextlib
import csv
import dataclasses
import json
import statistics
from pathlib import Path
from types import ModuleType

from zoo import console, export
from zoo.files import write_json
from zoo.training import options, resuming
from zoo.tuning import progress, records, report


@console.errors_only("tensorflow")
def prove(search: records.Search, recipe: ModuleType, problem, asked) -> dict:
    """Train the best configuration on seeds that the search had not; print the result.

    Each training is an ordinary run of the recipe, in `final/` of the directory, and
    evaluates on test once. The model is that of the run best on validation.

    Args:
        search: with a completed trial.
        recipe: its module.
        problem: the `RecipeProblem`.
        asked: the options of the search.

    Returns:
        What `result.json` holds.
    """
    objective, best = search.facts["objective"], search.best
    config = problem.config(best.values)
    first = config.seed + asked.retrains  # the search has used those before
    seeds = range(first, first + asked.final_seeds)
    print(f"\nTraining the best, trial {best.number}, on other seeds ...", flush=True)
    runs = []
    with console.progress_bar("Trainings", "training", len(seeds)) as bar:
        for seed in seeds:
            own = dataclasses.replace(config, seed=seed, **_places(search.directory))
            runs.append(_run(recipe, own, search))
            bar.clear()
            _show(runs[-1], objective)
            bar.update()
    result = _result(search, runs)
    before = search.result or {}
    if before.get("path") == result["path"]:  # the same command again
        result["saved_model"] = before["saved_model"]
    else:
        exported = Path(result["saved_model"])
        served = asked.saved_models_dir / exported.parent.name
        result["saved_model"] = str(export.copy(exported, served))
    chosen = dataclasses.replace(config, seed=result["seed"])
    result["command"] = options.command(recipe.NAME, recipe.PRESETS, chosen)
    write_json(search.directory / records.RESULT, result)
    page = report.write(search.directory)
    print(_summary(search, result, page), flush=True)
    return result


def _places(directory: Path) -> dict[str, Path]:
    folder = directory / "final"
    return {"runs_dir": folder / "runs", "saved_models_dir": folder / "saved_models"}


def _run(recipe, config, search) -> dict:
    """Return the metrics of a run, done now or before the command was killed."""
    path = resuming.find_complete(recipe.NAME, config.runs_dir, config)
    if path is None:
        config.runs_dir.mkdir(parents=True, exist_ok=True)
        words = [*options.words(recipe.PRESETS, config), "--resume", resuming.AUTO]
        with (
            (config.runs_dir / "log.txt").open("a", encoding="utf8") as log,
            contextlib.redirect_stdout(log),
        ):
            recipe.main(words)
        path = resuming.find_complete(recipe.NAME, config.runs_dir, config)
    metrics = json.loads((path / "metrics.json").read_text(encoding="utf8"))
    with (path / "history.csv").open(encoding="utf8") as file:
        values = [float(row[search.facts["objective"]]) for row in csv.DictReader(file)]
    return metrics | {"path": str(path), "score": search.better(values)}


def _show(run, objective):
    print(
        f"seed {run['seed']}   {objective} {run['score']:.4f}   test accuracy "
        f"{run['test_accuracy']:.2%}   {progress.duration(run['train_seconds'])}",
        flush=True,
    )


def _result(search: records.Search, runs: list[dict]) -> dict:
    """Return what is known of the best configuration, and of the run that is kept."""
    best, scores = search.best, [run["score"] for run in runs]
    chosen = runs[scores.index(search.better(scores))]
    gap = best.score - statistics.mean(scores)
    return {
        "trial": best.number,
        "values": best.values,
        "score": best.score,
        "spread": best.spread,
        "seeds": [run["seed"] for run in runs],
        "final_scores": scores,
        "gap": gap if search.facts["direction"] == "max" else -gap,
        "test_accuracies": [run["test_accuracy"] for run in runs],
        "seed": chosen["seed"],
        "path": chosen["path"],
        "model": str(Path(chosen["path"]) / "model.keras"),
        "saved_model": chosen["saved_model"],
    }


def _summary(search, result, page) -> str:
    objective, default = search.facts["objective"], search.trials[0]
    tests, scores = result["test_accuracies"], result["final_scores"]
    seeds = ", ".join(map(str, result["seeds"]))
    tried = sum(trial.score is not None for trial in search.trials)
    return (
        f"\nsearch score    {progress.outcome(search.best)}   {objective} of trial "
        f"{result['trial']}, the best of {tried}\n"
        f"defaults        {progress.outcome(default)}   trial 1\n"
        f"trained anew    {_spread(scores, '.4f')}   {objective}, seeds {seeds}\n"
        f"gap             {result['gap']:+.4f}   {_meaning(result['gap'], tried)}\n"
        f"test accuracy   {_spread(tests, '.2%')}   each training tested once\n\n"
        f"Report       {page}\n"
        f"Record       {search.directory}\n"
        f"Model        {result['model']}\n"
        f"SavedModel   {result['saved_model']}\n"
        f"Views        tensorboard --logdir {search.directory / 'tensorboard'}\n"
        f"Run again    {result['command']}"
    )


def _meaning(gap, tried):
    if gap > 0:
        return f"so much is the best of {tried} flattered by having been chosen"
    return "trained anew it is no worse than in the search"


def _spread(values, form) -> str:
    text = format(statistics.mean(values), form)
    if len(values) > 1:
        text += f" ± {format(statistics.stdev(values), form)}"
    return text
