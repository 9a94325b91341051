"""What the benchmarks share: data, and fair turns."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from types import ModuleType

from zoo import data
from zoo.data import official


def whole_fashion_mnist() -> data.Splits:
    """Return all of Fashion-MNIST; end the benchmark where it cannot be had."""
    splits = data.load("fashion_mnist")
    if splits.digest != official.PINNED["fashion_mnist"]:
        raise SystemExit("the sample is too small to measure anything with")
    return splits


def metrics_of(
    recipe: ModuleType, words: list[str], runs_dir: str | None = None
) -> dict:
    """Return the metrics of a recipe's run, which leaves nothing behind.

    Or its record alone, in `runs_dir`.
    """
    with tempfile.TemporaryDirectory() as folder:
        places = ["--runs-dir", runs_dir or folder, "--saved-models-dir", folder]
        with contextlib.redirect_stdout(io.StringIO()):
            return recipe.main([*words, *places])


def in_turns(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list]:
    """Return the seconds of each job, all run in turns after a warm-up round.

    Turns spread the machine's moods over all jobs alike.
    """
    seconds = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if number:  # the first round traces and warms up
                seconds[name].append(time.perf_counter() - began)
    return seconds


def table(title: str, seconds: dict[str, list], reference: str) -> None:
    """Print each job's median, its ratio to the reference's, and its slowest round."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\n{title:44} {'median':>9} {'ratio':>7} {'slowest':>9}")
    for name, value in medians.items():
        ratio, slowest = value / medians[reference], max(seconds[name])
        print(f"  {name:42} {value:7.2f} s {ratio:7.2f} {slowest:7.2f} s", flush=True)
