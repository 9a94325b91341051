"""A dataclass -> the command line of a recipe, with `tyro`."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import shlex
import sys
import typing
from typing import TypeVar

from zoo.errors import ZooError

T = TypeVar("T")


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
    that `--model mlp --help` shows the defaults of the MLP.

    Args:
        recipe: its name, e.g. `"fashion_mnist"`.
        presets: model name -> its options, instances of one frozen dataclass; the
            first is the default.
        argv: the arguments; `None` takes the process's own.
        doc: what `--help` prints first.

    Raises:
        ZooError: as in `parse`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    default = presets.get(_value_of("--model", argv), next(iter(presets.values())))
    name = program(recipe)
    return parse(type(default), argv, name, default=default, description=doc)


def program(recipe: str) -> str:
    """Return the words that start a recipe on the command line."""
    return f"python -m zoo.recipes.{recipe}"


def command(recipe: str, presets: dict[str, T], config: T) -> str:
    """Return the shortest command that runs a recipe with these options again."""
    words = ["--model", config.model]
    default = presets[config.model]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == getattr(default, field.name):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{flag}", *map(str, values)]
    return f"{program(recipe)} {shlex.join(words)}"


def _value_of(option: str, argv: list[str]) -> str | None:
    value = None  # the last one counts, as for tyro
    for word, after in itertools.pairwise([*argv, None]):
        if word == option:
            value = after
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
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
    return " ".join(" ".join(message).split()).rstrip(".") + "."


def _hint(arguments: type, argv: list[str], program: str) -> str:
    fields = {f"--{f.name.replace('_', '-')}": f for f in dataclasses.fields(arguments)}
    for word in argv:
        flag, _, _ = word.replace("_", "-").partition("=")
        if flag in fields:
            choices = map(str, typing.get_args(fields[flag].type))
            close = difflib.get_close_matches(
                _value_of(flag, argv) or "", choices, 1, 0.4
            )
            if close and close[0] != _value_of(flag, argv):
                return f" Did you mean {close[0]!r}?"
        elif flag.startswith("--"):
            close = difflib.get_close_matches(flag, fields, 1)
            if close:
                return f" Did you mean {close[0]}?"
    return f" See {program} --help."
