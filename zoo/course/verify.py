"""Measure the rows of the course again: the table, and the pictures of the document."""

import contextlib
import gc
import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo import console, recipes
from zoo.course import listing, syllabus
from zoo.errors import ZooError
from zoo.files import replacing, writable


@dataclass(frozen=True)
class Rows:
    """Which rows of the course are run, and how."""

    rows: tuple[int, ...] = ()
    """Rows of the course, by number; none are all of them."""
    quick: bool = False
    """The rows' settings below 20 s each; their numbers are not compared with the
    published ones, only with the claims."""
    data_dir: Path | None = None
    """Where TensorFlow Datasets keeps data; None is ~/tensorflow_datasets."""
    mirror: Path | None = None
    """A folder that holds mnist/train-images-idx3-ubyte.gz and so on."""

    def _run(self, runs_dir: Path) -> Iterator[dict]:
        """Run the rows, print what each claims and shows, and yield its metrics."""
        chosen = [syllabus.row(number) for number in self.rows] or syllabus.ROWS
        held, began = 0, time.perf_counter()
        for row in chosen:
            metrics = self._row(row, runs_dir)
            if metrics is not None:
                held += _print(row, metrics, compare=not self.quick)
                yield metrics
        seconds = time.perf_counter() - began
        print(f"{held} of {len(chosen)} rows hold, in {seconds:.0f} s.", flush=True)
        if held < len(chosen):
            raise ZooError(
                f"{len(chosen) - held} of {len(chosen)} rows do not hold: the table "
                "above says which, and zoo train ROW shows one."
            )

    def _row(self, row: syllabus.Row, runs_dir: Path) -> dict | None:
        recipe = recipes.module(row.recipe)
        words = ["--runs-dir", str(runs_dir), *["--quick"] * self.quick]
        for option in ("data_dir", "mirror"):
            if hasattr(recipe.QUICK, option) and getattr(self, option):
                flag = f"--{option.replace('_', '-')}"
                words += [flag, str(getattr(self, option))]
        print(f"{row.number:2} {row.recipe}", flush=True)
        try:
            # TensorFlow warns of the many graphs that many rows make.
            quiet = console.errors_only("tensorflow")
            with contextlib.redirect_stdout(io.StringIO()), quiet:
                return recipe.main(words)
        except Exception as error:  # the other rows have a right to run
            print(f"     FAILED: {console.one_line(error)}\n", flush=True)
            return None
        finally:
            console.import_keras().backend.clear_session()
            gc.collect()


def _print(row: syllabus.Row, metrics: dict, compare: bool) -> bool:
    """Print a row's part of the table; return whether it holds."""
    all_hold = metrics["holds"] is not None
    width = max(len(claim["what"]) for claim in metrics["claims"])
    for claim in metrics["claims"]:
        timed = "seconds" in claim["number"]
        told, verdict = claim["bound"], ""
        if metrics["holds"] is None:
            verdict = "not the claim's data"
        elif not claim["holds"]:
            verdict = "DOES NOT HOLD"
        elif compare and not timed and not claim["agrees"]:
            verdict = f"DIFFERS from the published {claim['measured']}"
        elif told != "-":
            verdict = "holds"
        all_hold &= verdict in ("", "holds")
        print(
            f"     {claim['what']:{width}}  {told:>12}  {claim['text']:>14}  {verdict}"
        )
    print(f"     {metrics['seconds']:.1f} s\n", flush=True)
    return all_hold


@dataclass(frozen=True)
class CourseFigures(Rows):
    """Make the pictures of docs/course.md: run the rows, keep their figures."""

    output: Path = Path("docs/course")
    """The folder to write ROW-RECIPE.png to."""

    def __call__(self):
        """Run the rows and write their pictures."""
        output = writable(self.output, "--output")
        with tempfile.TemporaryDirectory() as folder:
            for metrics in self._run(Path(folder)):
                name = f"{metrics['row']:02}-{metrics['recipe']}.png"
                with replacing(output / name) as beside:
                    shutil.copyfile(metrics["figure"], beside)


@dataclass(frozen=True)
class CourseCards:
    """Print the rows' cards, as zoo/recipes/README.md has them."""

    def __call__(self):
        """Print them."""
        print(listing.cards())
