"""One experiment of the course, from its command line to its record."""

import dataclasses
import statistics
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from zoo import console, data
from zoo.course import claims, options, syllabus
from zoo.files import writable, write_json

T = TypeVar("T")
WIDTH = 88


class Experiment:
    """What a recipe's `measure` is given.

    Attributes:
        config: the options.
        seeds: `config.seeds` seeds, from `config.seed` on; one if there is no such
            option.
        data: the `Splits` that were loaded last, or `None`.
    """

    def __init__(self, config: options.CourseOptions):
        self.config, self.data = config, None
        self.seeds = range(config.seed, config.seed + getattr(config, "seeds", 1))

    def load(self, name: str, **kwargs) -> data.Splits:
        """Load a data set, or the sample that ships with zoo if it cannot be had.

        Args:
            name: e.g. `"mnist"`.
            **kwargs: `limit`, `validation` and `seed` of `zoo.data.load`.
        """
        self.data = data.load(
            name,
            data_dir=self.config.data_dir,
            mirror=self.config.mirror,
            or_sample=True,
            **kwargs,
        )
        print(self.data, flush=True)
        return self.data

    def bar(self, items: Iterable[T], what: str, unit: str = "run") -> Iterator[T]:
        """Yield the items under a progress bar.

        Args:
            items: what is gone through.
            what: is done with them, e.g. `"Training"`.
            unit: what an item is, e.g. `"network"`.
        """
        items = items if hasattr(items, "__len__") else list(items)
        with console.progress_bar(what, unit, len(items)) as bar:
            for item in items:
                yield item
                bar.update()

    def epochs(self, total: int, what: str = "Training"):
        """Return a Keras callback that shows a progress bar of `total` epochs."""
        import keras

        bar = console.progress_bar(what, "epoch", total)
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: bar.update(),
            on_train_end=lambda logs: bar.close(),
        )


def run(recipe: ModuleType, argv: list[str] | None = None) -> dict:
    """Run a recipe of the course: measure, conclude, paint, record.

    Files in `RUNS/RECIPE/TIME-seedK/`:
        config.json, environment.json: the options; versions and machine.
        figure.svg, figure.png: the picture.
        metrics.json: what is returned.
        report.html: all of that to look at; `zoo report` makes it again.

    Args:
        recipe: its module.
        argv: the arguments; `None` takes the process's own.

    Returns:
        A dict: `recipe`, `row`, `quick`, `seed`, `numbers` (name -> `mean`, and over
        several seeds `sd` and `values`), `claims` (a dict each: what it says, the
        value, whether it `holds`), `holds` (all of them; `None` if the data are not
        those of the claim), `conclusion`, `data`, `seconds`, `figure`, `command`,
        `status`.

    Raises:
        ZooError: an option is wrong, or the record cannot be written.
    """
    from zoo.course import report
    from zoo.training import environment
    from zoo.training.run import new_directory

    name = recipe.NAME
    config = options.parse(name, recipe.Config, recipe.QUICK, argv, recipe.__doc__)
    parent = writable(config.runs_dir / name, "--runs-dir")
    row = syllabus.RECIPES[name]
    title = recipe.__doc__.splitlines()[0]
    print(f"Row {row.number} of the course: {title}", flush=True)
    if "keras" not in sys.modules:
        console.say("Loading TensorFlow ...")
    keras = console.import_keras()
    keras.utils.set_random_seed(config.seed)
    path = new_directory(parent, config.seed)
    write_json(path / "environment.json", {"recipe": name} | environment.describe())
    write_json(path / "config.json", dataclasses.asdict(config))
    metrics = {
        "recipe": name,
        "row": row.number,
        "quick": config.quick,
        "seed": config.seed,
        "command": options.command(name, config, recipe.QUICK),
    }
    experiment = Experiment(config)
    began = time.perf_counter()
    try:
        numbers, drawn = recipe.measure(experiment)
        metrics["seconds"] = numbers["seconds"] = round(time.perf_counter() - began, 1)
        metrics["data"] = experiment.data and experiment.data.record()
        metrics |= _result(recipe, numbers, experiment.data)
        metrics["figure"] = str(_picture(recipe, path, drawn))
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        metrics["status"] = "interrupted" if stopped else "failed"
        write_json(path / "metrics.json", metrics)
        console.say(f"\n{metrics['status'].capitalize()}: its record is {path}")
        raise
    metrics["status"] = "complete"
    write_json(path / "metrics.json", metrics)
    _show(metrics, report.write(path))
    return metrics


def _result(recipe: ModuleType, numbers: dict, splits: data.Splits | None) -> dict:
    """Return the numbers, the claims beside them, and the sentence."""
    table = claims.read(recipe.__doc__)
    numbers = {name: _number(value) for name, value in numbers.items()}
    means = {name: number["mean"] for name, number in numbers.items()}
    told = [
        claim._asdict()
        | {
            "value": means[claim.number],
            "text": claim.text(
                means[claim.number], numbers[claim.number].get("sd", 0.0)
            ),
            "holds": claim.holds(means[claim.number]),
            "agrees": claim.agrees(means[claim.number]),
        }
        for claim in table
    ]
    wrong = [claim for claim in told if not claim["holds"]]
    holds = not wrong
    if splits is not None and splits.is_sample:
        holds = None
        sentence = (
            "These numbers are not the claim's: they were measured on the sample of "
            "Fashion-MNIST that ships with zoo."
        )
    elif wrong:
        failed = "; ".join(
            f"{claim['what']}: {claim['text']}, claimed {claim['bound']}"
            for claim in wrong
        )
        sentence = f"The effect does not show here: {failed}."
    else:
        sentence = recipe.conclude(means)
    return {
        "numbers": numbers,
        "claims": told,
        "holds": holds,
        "conclusion": " ".join(sentence.split()),
    }


def _number(value) -> dict:
    """Return the mean of a value, or of one for each seed, with its spread."""
    if not hasattr(value, "__len__"):
        return {"mean": float(value)}
    values = [float(item) for item in value]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "sd": spread, "values": values}


def _picture(recipe: ModuleType, path: Path, drawn) -> Path:
    from zoo.course import figure

    return figure.save(path / "figure", lambda f: recipe.paint(f, drawn))


def _show(metrics: dict, page: Path) -> None:
    width = max(len(claim["what"]) for claim in metrics["claims"])
    print()
    for claim in metrics["claims"]:
        verdict = ""
        if claim["bound"] != "-":
            verdict = f"   claimed {claim['bound']}"
            if metrics["holds"] is not None:
                verdict += ": holds" if claim["holds"] else ": DOES NOT HOLD"
        print(f"{claim['what']:{width}}   {claim['text']}{verdict}")
    print(f"\n{textwrap.fill(metrics['conclusion'], WIDTH)}\n")
    print(f"Figure       {metrics['figure']} (and .svg)")
    print(f"Report       {page}   ({metrics['seconds']:.0f} s)")
    print(f"Run again    {metrics['command']}", flush=True)
