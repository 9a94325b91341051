"""The options that every recipe of the course has."""

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from zoo.errors import integer, positive_integer
from zoo.training import options

T = TypeVar("T", bound="CourseOptions")


@dataclass(frozen=True, kw_only=True)
class CourseOptions:
    """The options that every recipe of the course has besides its own."""

    quick: bool = False
    """A smaller setting, below 20 s, that still shows the effect."""
    seed: int = 0
    """Decides everything random: the same seed gives the same result."""
    runs_dir: Path = Path("runs")
    """Where the record goes: numbers, picture, sentence."""

    def __post_init__(self):
        integer("seed", self.seed, least=0, below=2**31)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            whole = field.type in (int, int | None) and field.name != "seed"
            if whole and value is not None:
                positive_integer(field.name, value)


@dataclass(frozen=True, kw_only=True)
class DataOptions(CourseOptions):
    """The options of a recipe of the course that loads a data set."""

    data_dir: Path | None = None
    """Where TensorFlow Datasets keeps data; None is ~/tensorflow_datasets."""
    mirror: Path | None = None
    """A folder that holds mnist/train-images-idx3-ubyte.gz and so on."""


def parse(recipe: str, config: type[T], quick: T, argv: list[str] | None, doc: str):
    """Return the options that a recipe of the course was called with.

    `--quick` chooses the setting that the other options' defaults come from.

    Raises:
        ZooError: an unknown option or an impossible value.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    for common in (CourseOptions, DataOptions):
        if issubclass(config, common):
            options.own_first(config, common)
    default = quick if "--quick" in argv else config()
    program = options.program(recipe)
    return options.parse(config, argv, program, default=default, description=doc)


def command(recipe: str, config: T, quick: T) -> str:
    """Return the shortest command that runs a recipe with these options again."""
    default = quick if config.quick else type(config)()
    flags = ["--quick"] * config.quick + options.changed(config, default)
    return f"{options.program(recipe)} {shlex.join(flags)}".strip()
