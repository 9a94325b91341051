"""The harness of recipes that take the steps of `fashion_mnist` on other data."""

import dataclasses
import json
import re

import numpy as np
from keras_tuner import HyperParameters

from tests.conftest import ROOT
from zoo import data

CLAIM = re.compile(
    r"^ +(\S+) +([\d,]+) +([\d.]+) ± ([\d.]+) % +([\d.]+) s$", re.MULTILINE
)


def run(recipe, *words, folder):
    """Run a recipe in this process; return its metrics."""
    places = ["--runs-dir", f"{folder}/runs", "--saved-models-dir", f"{folder}/s"]
    return recipe.main([*map(str, words), *places])


def check_a_short_run(recipe, model, asks, folder, monkeypatch, capsys):
    """Train on a little of the sample, made to look like the set it `asks` for."""
    load, asked = data.load, []

    def sample(name, **options):
        asked.append(name)
        splits = load("fashion_mnist", **options)
        if name == "cifar10":
            splits = dataclasses.replace(
                splits,
                **{
                    part: _in_colour(getattr(splits, part))
                    for part in ("train", "validation", "test")
                },
            )
        return dataclasses.replace(splits, name=name)

    monkeypatch.setattr(data, "load", sample)
    words = ["--model", model, "--limit", 300, "--epochs", 1]
    metrics = run(recipe, *words, folder=folder)
    assert asked == [asks] and metrics["recipe"] == recipe.NAME
    (path,) = (folder / "runs" / recipe.NAME).iterdir()
    config = json.loads((path / "config.json").read_text())
    preset = recipe.PRESETS[model]
    assert config["model"] == model and config["shift"] == preset.shift
    command = f"python -m zoo.recipes.{recipe.NAME} --model {model}"
    assert metrics["command"].startswith(command)
    assert (folder / "s" / f"{recipe.NAME}_{model}" / "1").is_dir()
    assert metrics["command"] in capsys.readouterr().out
    return metrics


def _in_colour(examples):
    x = np.pad(examples.x, [(0, 0), (2, 2), (2, 2), (0, 0)]).repeat(3, axis=-1)
    return data.Examples(x, examples.y)


def check_its_space(recipe, model):
    """Compare the default of a recipe's space with the preset."""
    preset = recipe.PRESETS[model]
    assert recipe.space(HyperParameters(), preset) == preset


def check_claims(recipe, least):
    """Compare the docstring with the card, and with what each model must reach."""
    cards = (ROOT / "zoo" / "recipes" / "README.md").read_text()
    _, card = re.split(rf"^## {recipe.NAME}$", cards, flags=re.MULTILINE)
    card, *_ = re.split("^## ", card, flags=re.MULTILINE)
    rows = CLAIM.findall(recipe.__doc__)
    assert [row[0] for row in rows] == list(recipe.PRESETS)
    for model, parameters, mean, spread, seconds in rows:
        built = recipe.build(recipe.PRESETS[model])
        assert f"{built.count_params():,}" == parameters
        assert float(mean) / 100 >= least[model]
        row = rf"\| `{model}` \| {parameters} \| {mean} ± {spread} % \| {seconds} s \|"
        assert re.search(row, card), row


def check_at_full_size(recipe, model, folder):
    """Train on everything, and compare with the claim."""
    (row,) = (row for row in CLAIM.findall(recipe.__doc__) if row[0] == model)
    metrics = run(recipe, "--model", model, folder=folder)
    mean, spread = (float(value) / 100 for value in row[2:4])
    assert abs(metrics["test_accuracy"] - mean) <= max(0.002, 4 * spread)
    return metrics
