"""The command `zoo`: it starts in a blink and imports the rest on demand."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import zoo
from zoo import console, data, pretrained, recipes
from zoo.course import listing, syllabus, verify
from zoo.data import official
from zoo.errors import ZooError, unknown
from zoo.export.check import CheckExport
from zoo.export.export import Export
from zoo.pretrained.predict import Predict
from zoo.pretrained.shipping import Ship
from zoo.serving.serve import Serve
from zoo.training import lr_find, options
from zoo.tuning import tune
from zoo.verify import Verify

HELP = f"""\
usage: zoo COMMAND [options]

A Keras model zoo that keeps its word (version {zoo.__version__}).

  zoo list                    the recipes, and what each claims
  zoo list --models           the pretrained models, and what was measured of them
  zoo list --course           the rows of the course, and what each claims
  zoo train RECIPE [options]  run a recipe, as python -m zoo.recipes.RECIPE does
  zoo train ROW               run a row of the course: zoo train 10
  zoo predict IMAGE ... --model NAME
                              what a pretrained model sees in image files
  zoo verify NAME|--all       measure pretrained models again, and compare
  zoo verify --course         run all rows again: claim, measured, holds
  zoo course figures          make the pictures of docs/course.md
  zoo course cards            print the rows' cards
  zoo launch --workers N RECIPE [options]
                              run it as N workers on this machine
  zoo tune RECIPE [options]   search for better options of a recipe
  zoo tune report DIR         the page of a search: its trials, what mattered
  zoo lr-find RECIPE          suggest a learning rate for it and its options
  zoo data list               the data sets, and which are here
  zoo data fetch NAME         get a data set now, whole
  zoo data check NAME         where it is, whether it is whole, its digest
  zoo data show NAME          a picture of it: labelled examples of each class
  zoo ship RUN [RUN ...]      make a pretrained model of runs, with its card
  zoo export RUN|MODEL        a SavedModel, LiteRT or ONNX of a trained model
  zoo check-export DIR        whether exports still answer as the trained models did
  zoo serve DIR               serve them over REST and gRPC, with a page to try them
  zoo report RUN [RUN ...]    the report of a run, or a page that compares runs
  zoo doctor                  versions, devices, data, and what is missing
  zoo --version

zoo COMMAND --help tells more. Start with: zoo train fashion_mnist"""


def main(argv: list[str] | None = None) -> None:
    """Run the command `zoo` with these arguments, by default the process's own."""
    console.command_line(_run, sys.argv[1:] if argv is None else list(argv))


def _run(argv: list[str]):
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP)
        return None
    if argv[0] in ("-V", "--version"):
        print(f"zoo {zoo.__version__}")
        return None
    if argv[0] in OF_A_RECIPE and argv[:2] != ["tune", "report"]:
        return _of_a_recipe(*argv)
    if argv[0] == "launch":
        from zoo.training import launch

        return launch.main(argv[1:])
    if argv[0] in GROUPS and argv[1:] in ([], ["-h"], ["--help"]):
        print(f"usage: zoo {argv[0]} COMMAND [options]\n")
        of_it = f"  zoo {argv[0]} "
        print("\n".join(line for line in HELP.splitlines() if of_it in line))
        return None
    for name, command in COMMANDS.items():
        words = name.split()
        if argv[: len(words)] == words:
            return options.parse(command, argv[len(words) :], f"zoo {name}")()
    given = " ".join(argv[:2] if argv[0] in GROUPS else argv[:1])
    raise unknown("command", given, [*OF_A_RECIPE, "launch", *COMMANDS])


def _of_a_recipe(command: str, name: str = "--help", *argv: str):
    if name in ("-h", "--help"):
        print(f"usage: zoo {command} RECIPE [options]\n\n{_recipe_claims()}")
        print(f"zoo {command} RECIPE --help lists a recipe's options.")
        if command == "train":
            print(f"{_ROWS}: zoo list --course.")
        return None
    recipe = recipes.module(name)
    if command != "train":
        recipe = recipes.model(name, command)
    OF_A_RECIPE[command](recipe, list(argv))
    return None


_ROWS = (
    f"The {len(syllabus.ROWS)} rows of the course are recipes, too, by name or number"
)


def _recipe_claims() -> str:
    return "\n".join(f"{name}\n{_claim(name)}\n" for name in recipes.models())


def _claim(name: str) -> str:
    # The docstring's first line, and its table, which alone is indented.
    first, *rest = recipes.module(name).__doc__.splitlines()
    return "\n".join(
        [f"    {first}", *(line for line in rest if line.startswith("  "))]
    )


@dataclass(frozen=True)
class List:
    """List the recipes and their models, with what each claims."""

    course: bool = False
    """List the rows of the course instead: number, system, recipe, claims."""
    models: bool = False
    """List the pretrained models instead: parameters, accuracy, size."""

    def __call__(self):
        """Print the list."""
        if self.course and self.models:
            raise ZooError("zoo list takes --course or --models, not both.")
        if self.course:
            print(listing.summary())
        elif self.models:
            print(pretrained.summary())
        else:
            print(f"{_recipe_claims()}\n{_ROWS}: zoo list --course")
            print("Pretrained models, ready to load: zoo list --models")


@dataclass(frozen=True)
class Data:
    """Where a data set is kept, and where it comes from."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """fashion_mnist, mnist, cifar10, or another name of TensorFlow Datasets."""
    data_dir: Path | None = None
    """Where TensorFlow Datasets keeps data; None is ~/tensorflow_datasets."""


@dataclass(frozen=True)
class DataList:
    """List the data sets, and which of them are here."""

    data_dir: Path | None = None
    """Where TensorFlow Datasets keeps data; None is ~/tensorflow_datasets."""

    def __call__(self):
        """Print the list."""
        for name in official.names():
            path = data.folder(name, data_dir=self.data_dir)
            print(f"{name:14} {path or f'not here; get it: zoo data fetch {name}'}")
        print("Any other image-classification name of TensorFlow Datasets works too.")


@dataclass(frozen=True)
class DataFetch(Data):
    """Get a data set now, whole."""

    mirror: Path | None = None
    """A folder that holds NAME/FILE for the official files; None is $ZOO_MIRROR."""
    force: bool = False
    """Prepare it again even if it is here, e.g. because a file is damaged."""

    def __call__(self):
        """Prepare the data set and print where it is."""
        path = data.fetch(
            self.name, data_dir=self.data_dir, mirror=self.mirror, force=self.force
        )
        print(f"{self.name} is in {path}")


@dataclass(frozen=True)
class DataCheck(Data):
    """Say where a data set is, whether it is whole, and its digest."""

    def __call__(self):
        """Read the data set, compare its digest with the pinned one, print both."""
        path = data.folder(self.name, data_dir=self.data_dir)
        if path is None:
            raise ZooError(f"{self.name} is not here: zoo data fetch {self.name}")
        splits = data.load(self.name, data_dir=self.data_dir, validation=0)
        pinned = self.name in official.PINNED
        print(f"{self.name} is in {path}")
        print(f"images   {len(splits.train.y):,} training, {len(splits.test.y):,} test")
        print(f"digest   SHA-256 {splits.digest}")
        print(f"whole    {'yes' if pinned else 'readable; no digest is pinned for it'}")


@dataclass(frozen=True)
class DataShow(Data):
    """Draw labelled examples of each class into a PNG file."""

    mirror: Path | None = None
    """A folder that holds NAME/FILE for the official files; None is $ZOO_MIRROR."""
    output: Path | None = None
    """The picture to write; None is NAME.png."""

    def __call__(self):
        """Draw the picture and print where it is."""
        from zoo.data.figure import grid

        splits = data.load(self.name, data_dir=self.data_dir, mirror=self.mirror)
        output = self.output or Path(f"{self.name.replace('/', '_')}.png")
        print(f"{splits}\nPicture: {grid(splits, output)}")


@dataclass(frozen=True)
class Report:
    """Make the report of a run again, or one page that compares several runs."""

    runs: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="RUN [RUN ...]", help_behavior_hint=""),
    ]
    """Run directories, such as runs/fashion_mnist/20260131-120000-seed0."""
    output: Path | None = None
    """The file to write; None is report.html in the run, or comparison.html here."""

    def __call__(self):
        """Write the page and print where it is."""
        from zoo import report
        from zoo.course import report as experiment

        if not self.runs:
            raise ZooError("zoo report needs a run directory: zoo report RUN")
        if len(self.runs) == 1 and experiment.is_experiment(self.runs[0]):
            path = experiment.write(self.runs[0], self.output)
        elif len(self.runs) == 1:
            path = report.write(self.runs[0], self.output)
        else:
            path = report.compare(self.runs, self.output or Path("comparison.html"))
        print(f"Report: {path}")


@dataclass(frozen=True)
class TuneReport:
    """Make the page of a search: its trials, what mattered, what failed."""

    directory: Annotated[Positional[Path], arg(metavar="DIR")]
    """The directory of the search, such as tuning/fashion_mnist_mlp."""
    output: Path | None = None
    """The file to write; None is report.html in the directory."""

    def __call__(self):
        """Write the page and print where it is."""
        console.import_keras()  # quietly: Keras Tuner does it, too
        from zoo.tuning import report

        print(f"Report: {report.write(self.directory, self.output)}")


@dataclass(frozen=True)
class Doctor:
    """Print versions, devices and data, and the command for what is missing."""

    data_dir: Path | None = None
    """Where TensorFlow Datasets keeps data; None is ~/tensorflow_datasets."""

    def __call__(self):
        """Print what there is; exit with 1 if something needed is missing."""
        from zoo import doctor

        return doctor.examine(self.data_dir)


GROUPS = ("data", "course")
OF_A_RECIPE = {
    "train": lambda recipe, argv: recipe.main(argv),
    "tune": tune.run,
    "lr-find": lr_find.sweep,
}
COMMANDS = {
    "list": List,
    "verify": Verify,
    "predict": Predict,
    "ship": Ship,
    "course figures": verify.CourseFigures,
    "course cards": verify.CourseCards,
    "export": Export,
    "check-export": CheckExport,
    "serve": Serve,
    "report": Report,
    "tune report": TuneReport,
    "doctor": Doctor,
    "data list": DataList,
    "data fetch": DataFetch,
    "data check": DataCheck,
    "data show": DataShow,
}
