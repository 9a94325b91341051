"""The end of a search: the best configuration is trained anew, and tested."""

import contextlib
import csv
import dataclasses
import json
import statistics
from pathlib import Path
from types import ModuleType

from zoo import console, export
from zoo.errors import Diverged, ZooError
from zoo.files import write_json
from zoo.training import options, resuming
from zoo.tuning import progress, records, report, searching
from zoo.tuning.records import EPOCHS


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
    config = problem.config(search.best.values)
    first = config.seed + asked.retrains  # the search has used those before
    seeds = range(first, first + asked.final_seeds)
    with searching.interruptible():
        runs = _run_all(recipe, config, seeds, search)
    result = _result(search, runs)
    exported = Path(result["saved_model"])
    served = asked.saved_models_dir / exported.parent.name
    before = search.result or {}
    is_there = before.get("path") == result["path"]  # from the same command
    if is_there and Path(before["saved_model"]).parent == served:
        result["saved_model"] = before["saved_model"]
    else:
        result["saved_model"] = str(export.copy(exported, served))
    chosen = dataclasses.replace(config, seed=result["seed"])
    result["command"] = options.command(recipe.NAME, recipe.PRESETS, chosen)
    write_json(search.directory / records.RESULT, result)
    page = report.write(search.directory)
    print(_summary(search, result, page), flush=True)
    return result


def _run_all(recipe, config, seeds, search) -> list[dict]:
    """Return the metrics of a run with each seed; of those that did not diverge."""
    places, runs, number = _places(search.directory), [], search.best.number
    log = places["runs_dir"] / "log.txt"
    print(f"\nTraining the best, trial {number}, on other seeds; see {log}", flush=True)
    with console.progress_bar("Trainings", "training", len(seeds)) as bar:
        for seed in seeds:
            own = dataclasses.replace(config, seed=seed, **places)
            try:
                runs.append(_run(recipe, own, search, log))
                shown = _line(runs[-1], search)
            except Diverged:
                shown = f"seed {seed}   diverged: it is left out"
            bar.clear()
            print(shown, flush=True)
            bar.update()
    if not runs:
        raise ZooError(
            f"the best configuration, trial {number}, diverges on every other seed: "
            "search again beside it, with --retrains 3 --fork."
        )
    return runs


def _places(directory: Path) -> dict[str, Path]:
    folder = directory / "final"
    return {"runs_dir": folder / "runs", "saved_models_dir": folder / "saved_models"}


def _run(recipe, config, search, log) -> dict:
    """Return the metrics of a run, done now or before the command was killed."""
    path = resuming.find_complete(recipe.NAME, config.runs_dir, config)
    if path is None:
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [*options.words(recipe.PRESETS, config), "--resume", resuming.AUTO]
        with (
            log.open("a", encoding="utf8") as file,
            contextlib.redirect_stdout(file),
        ):
            recipe.main(words)
        path = resuming.find_complete(recipe.NAME, config.runs_dir, config)
    metrics = json.loads((path / "metrics.json").read_text(encoding="utf8"))
    with (path / "history.csv").open(encoding="utf8") as file:
        values = [float(row[search.facts["objective"]]) for row in csv.DictReader(file)]
    return metrics | {"path": str(path), "score": search.better(values)}


def _line(run, search) -> str:
    return (
        f"seed {run['seed']}   {search.facts['objective']} {run['score']:.4f}   "
        f"test accuracy {run['test_accuracy']:.2%}   "
        f"{progress.duration(run['train_seconds'])}"
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
    lines = [
        f"\nsearch score    {progress.outcome(search.best)}   {objective} of trial "
        f"{result['trial']}, the best of {tried}",
        f"defaults        {progress.outcome(default)}   trial 1",
        f"trained anew    {_spread(scores, '.4f')}   {objective}, seeds {seeds}, each "
        "with validation images of its own",
        f"gap             {result['gap']:+.4f}   how much worse than in the search: "
        "chosen as the best, other images, chance",
        f"test accuracy   {_spread(tests, '.2%')}   each training tested once\n",
        f"Report       {page}",
        f"Record       {search.directory}",
        f"Model        {result['model']}",
        f"SavedModel   {result['saved_model']}",
        f"Views        tensorboard --logdir {search.directory / 'tensorboard'}",
        f"Run again    {result['command']}",
    ]
    if EPOCHS in default.values:  # Hyperband trains it for a few epochs first
        del lines[1]
    return "\n".join(lines)


def _spread(values, form) -> str:
    text = format(statistics.mean(values), form)
    if len(values) > 1:
        text += f" ± {format(statistics.stdev(values), form)}"
    return text
