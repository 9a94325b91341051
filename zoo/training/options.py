"""A dataclass -> the command line of a recipe, with `tyro`."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import os
import re
import shlex
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from zoo.errors import ZooError, integer, positive_integer
from zoo.training import checkpoint, resuming

T = TypeVar("T")
StrategyName = Literal["auto", "one-device", "mirrored", "multi-worker"]

LAUNCHED = "ZOO_LAUNCHED_WORKERS"  # their number, in what `zoo launch` starts


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that every recipe has besides its own."""

    seed: int = 0
    """Decides everything random: the same seed gives the same result."""
    limit: int | None = None
    """Train on so many images only, validation included. Test stays whole."""
    summary: bool = False
    """Print the layers of the model."""
    data_dir: Path | None = None
    """Where TensorFlow Datasets keeps data; None is ~/tensorflow_datasets."""
    mirror: Path | None = None
    """A folder that holds fashion_mnist/train-images-idx3-ubyte.gz and so on."""
    stream: bool = False
    """Read the training images from disk all along, for sets larger than memory."""
    runs_dir: Path = Path("runs")
    """Where the record of the run goes."""
    saved_models_dir: Path = Path("saved_models")
    """Where the SavedModel goes."""
    checkpoint_every: str = "30s"
    """How often to write a checkpoint, at most: 30s, or 500 for so many steps; at the
    end of an execution, of up to 32 steps."""
    resume: str | None = None
    """Go on with an unfinished run: RUN (its directory), latest, or auto, which begins
    a new one if none of the same options is there."""
    strategy: StrategyName = "auto"
    """What to train on: auto takes all workers that TF_CONFIG or Slurm names, else all
    GPUs, else one device. Batch size and learning rate are the whole training's."""
    virtual_devices: int | None = None
    """Split the processor into so many devices, to try a strategy."""
    scale_learning_rate: bool = False
    """Multiply the learning rate by the number of replicas (Goyal et al. 2017), for a
    batch size that was multiplied too."""

    def __post_init__(self):
        integer("seed", self.seed, least=0, below=2**32)  # as NumPy has it
        if self.virtual_devices is not None:
            positive_integer("virtual_devices", self.virtual_devices)
        checkpoint.interval("--checkpoint-every", self.checkpoint_every)


def parse(arguments: type[T], argv: list[str], program: str, **tyro_options) -> T:
    """Return the arguments of a program, from the dataclass that describes them.

    Args:
        arguments: a dataclass; its field docstrings are the help texts.
        argv: the words after the program's name.
        program: its name, for messages.
        **tyro_options: passed on to `tyro.cli`.

    Raises:
        ZooError: an unknown option or an impossible value, in one line that names the
            nearest valid one.
    """
    import tyro

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(arguments, args=argv, prog=program, **tyro_options)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
    raise ZooError(_one_line(errors.getvalue()) + _hint(arguments, argv, program))


def parse_recipe(
    recipe: str, presets: dict[str, T], argv: list[str] | None, doc: str
) -> T:
    """Return the options that a recipe was called with.

    `--model NAME` chooses the preset that the other options' defaults come from, so
    that `--model mlp --help` shows the defaults of the MLP. With `--resume RUN` it is
    the run's own options; `latest` becomes the directory of that run.

    Args:
        recipe: its name, e.g. `"fashion_mnist"`.
        presets: model name -> its options, instances of one frozen dataclass; the
            first is the default.
        argv: the arguments; `None` takes the process's own.
        doc: what `--help` prints first.

    Raises:
        ZooError: as in `parse`; or there is no such run, or an option is not the run's.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    own_first(type(next(iter(presets.values()))), RunOptions)
    default = presets.get(value_of("--model", argv), next(iter(presets.values())))
    before, asked = None, value_of("--resume", argv)
    if asked not in (None, resuming.AUTO):
        runs_dir = value_of("--runs-dir", argv) or default.runs_dir
        path = resuming.find(asked, recipe, runs_dir)
        before = resuming.options_of(path, type(default))
    name = program(recipe)
    config = parse(
        type(default), argv, name, default=before or default, description=doc
    )
    if before is None:
        return config
    resuming.refuse_another(config, before)
    return dataclasses.replace(config, resume=str(path))


def own_first(kind: type, common: type) -> None:
    """Put a dataclass's own options before those of its base `common`, for `--help`."""
    fields = kind.__dataclass_fields__
    inherited = {field.name for field in dataclasses.fields(common)}
    own = {name: field for name, field in fields.items() if name not in inherited}
    kind.__dataclass_fields__ = own | fields


def program(recipe: str) -> str:
    """Return the words that start a recipe on the command line, as it was started."""
    if workers := os.environ.get(LAUNCHED):
        return f"zoo launch --workers {workers} -- {recipe}"
    return f"python -m zoo.recipes.{recipe}"


def command(recipe: str, presets: dict[str, T], config: T) -> str:
    """Return the shortest command that runs a recipe with these options again."""
    return f"{program(recipe)} {shlex.join(words(presets, config))}"


def words(presets: dict[str, T], config: T) -> list[str]:
    """Return the fewest arguments that give a recipe these options."""
    return ["--model", config.model, *changed(config, presets[config.model])]


def changed(config: T, default: T) -> list[str]:
    """Return the arguments that turn the options `default` into `config`."""
    result = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "resume" or value == getattr(default, field.name):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            result.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            result += [f"--{flag}", *map(str, values)]
    return result


def value_of(option: str, argv: list[str]) -> str | None:
    """Return the last value that an option is given; `None` if it is not."""
    value = None  # the last one counts, as for tyro
    for word, after in itertools.pairwise([*argv, None]):
        name, equals, given = word.partition("=")
        if name.replace("_", "-") == option:  # tyro takes either
            value = given if equals else after
    return value


def _one_line(box: str) -> str:
    # tyro draws its errors in a box: title, message, rule, advice. Take the message.
    message = []
    for line in box.splitlines()[1:]:
        text = line.strip("│ ")
        if set(text) <= set("─-╰╯"):
            if message:
                break
        else:
            message.append(text)
    text = " ".join(" ".join(message).split()).rstrip(".") + "."
    return re.sub(r"^Error parsing \w+: ", "", text)  # the name of a class of ours


def _choices(kind) -> tuple:
    """Return the values of a `Literal`, or of a tuple of them."""
    values = typing.get_args(kind)
    return typing.get_args(values[0]) if values[-1:] == (...,) else values


def _hint(arguments: type, argv: list[str], program: str) -> str:
    fields = {resuming.flag(f.name): f for f in dataclasses.fields(arguments)}
    for word in argv:
        flag, _, _ = word.replace("_", "-").partition("=")
        if flag in fields:
            choices = map(str, _choices(fields[flag].type))
            close = difflib.get_close_matches(
                value_of(flag, argv) or "", choices, 1, 0.4
            )
            if close and close[0] != value_of(flag, argv):
                return f" Did you mean {close[0]!r}?"
        elif flag.startswith("--"):
            close = difflib.get_close_matches(flag, fields, 1)
            if close:
                return f" Did you mean {close[0]}?"
    return f" See {program} --help."
