from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from zoo import ZooError
from zoo.errors import positive_integer
from zoo.training import options


@dataclass(frozen=True)
class Config:
    """Options."""

    model: Literal["cnn", "mlp"]
    """Which."""
    epochs: int
    """How often."""
    widths: tuple[int, ...] = (1, 2)
    """How wide."""
    flip: bool = False
    """Mirror."""
    data_dir: Path | None = None
    """Where."""

    def __post_init__(self):
        positive_integer("epochs", self.epochs)


PRESETS = {"cnn": Config("cnn", 3), "mlp": Config("mlp", 9, flip=True)}


def parse(*argv):
    return options.parse_recipe("thing", PRESETS, list(argv), "A thing.")


@pytest.mark.parametrize(
    "argv, expected",
    [
        ([], PRESETS["cnn"]),
        (["--model", "mlp"], PRESETS["mlp"]),
        (["--model=mlp", "--epochs", "1"], replace(PRESETS["mlp"], epochs=1)),
        (["--model", "cnn", "--model", "mlp"], PRESETS["mlp"]),
        (["--epochs=1", "--model", "mlp", "--no-flip"], Config("mlp", 1)),
        (["--widths", "4", "5", "6"], replace(PRESETS["cnn"], widths=(4, 5, 6))),
        (["--data-dir", "x/y"], replace(PRESETS["cnn"], data_dir=Path("x/y"))),
        (["--data_dir", "x"], replace(PRESETS["cnn"], data_dir=Path("x"))),
    ],
)
def test_the_model_chooses_the_defaults(argv, expected):
    assert parse(*argv) == expected


@pytest.mark.parametrize("config", [*PRESETS.values(), Config("mlp", 1, (7,))])
def test_the_command_parses_to_the_same_options(config):
    command = options.command("thing", PRESETS, replace(config, data_dir=Path("a b")))
    prefix = "python -m zoo.recipes.thing "
    assert command.startswith(prefix)
    import shlex

    words = shlex.split(command.removeprefix(prefix))
    assert parse(*words) == replace(config, data_dir=Path("a b"))


def test_the_command_names_only_what_differs():
    command = options.command("thing", PRESETS, PRESETS["mlp"])
    assert command == "python -m zoo.recipes.thing --model mlp"


@pytest.mark.parametrize(
    "argv, parts",
    [
        (["--epoch", "3"], ["--epoch", "Did you mean --epochs?"]),
        (["--model", "cn"], ["invalid choice 'cn'", "Did you mean 'cnn'?"]),
        (
            ["--model", "zzz"],
            ["'cnn', 'mlp'", "See python -m zoo.recipes.thing --help"],
        ),
        (["--epochs", "many"], ["--epochs", "many"]),
        (["--epochs"], ["Missing value for argument", "--epochs"]),
        (["--epochs", "0"], ["epochs must be a positive integer", "epochs=0"]),
        (["extra"], ["extra"]),
        (["--model"], ["--model"]),
    ],
)
def test_errors_are_one_line_and_name_the_nearest(argv, parts):
    with pytest.raises(ZooError) as caught:
        parse(*argv)
    message = str(caught.value)
    assert "\n" not in message and "│" not in message and "╭" not in message
    for part in parts:
        assert part in message


def test_help_shows_the_chosen_model_s_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--model", "mlp", "--help")
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "A thing." in shown and "default: 9" in shown and "How often." in shown


def test_help_shows_a_recipe_s_own_options_first(capsys):
    with pytest.raises(SystemExit):
        from zoo.recipes import fashion_mnist

        fashion_mnist.main(["--help"])
    said = capsys.readouterr().out
    assert 0 < said.index("--model") < said.index("--erase") < said.index("--seed")
    assert said.index("--seed") < said.index("--scale-learning-rate")


def test_a_launched_recipe_is_launched_again(monkeypatch):
    monkeypatch.setenv(options.LAUNCHED, "3")
    command = options.command("thing", PRESETS, PRESETS["mlp"])
    assert command == "zoo launch --workers 3 -- thing --model mlp"
