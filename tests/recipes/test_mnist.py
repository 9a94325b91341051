"""MNIST: the steps of the main recipe, on other data and with presets of its own."""

import dataclasses
import json
import re

import pytest
from keras_tuner import HyperParameters

from tests.conftest import ROOT
from tests.recipes.test_fashion_mnist import CLAIM
from zoo import ZooError, data
from zoo.recipes import fashion_mnist, mnist

LEAST = {"mlp": 0.985}


def run(*words, tmp_path):
    places = ["--runs-dir", f"{tmp_path}/runs", "--saved-models-dir", f"{tmp_path}/s"]
    return mnist.main([*map(str, words), *places])


@pytest.mark.parametrize("model", mnist.PRESETS)
def test_a_short_run(model, only_the_sample, few_points, tmp_path, monkeypatch, capsys):
    load, asked = data.load, []

    def sample(name, **options):
        asked.append(name)
        return dataclasses.replace(load("fashion_mnist", **options), name=name)

    monkeypatch.setattr(data, "load", sample)
    metrics = run("--model", model, "--limit", 300, "--epochs", 1, tmp_path=tmp_path)
    assert asked == ["mnist"] and metrics["recipe"] == "mnist"
    (path,) = (tmp_path / "runs" / "mnist").iterdir()
    config = json.loads((path / "config.json").read_text())
    assert config["model"] == model and config["shift"] == mnist.PRESETS[model].shift
    assert metrics["command"].startswith(f"python -m zoo.recipes.mnist --model {model}")
    assert (tmp_path / "s" / f"mnist_{model}" / "1").is_dir()
    assert metrics["command"] in capsys.readouterr().out


def test_its_pixels_are_mnist_s():
    """The mean of all pixels is that of the ink, which is rare."""
    model = mnist.build(mnist.PRESETS["mlp"])
    standardise = model.get_layer("standardise")
    assert standardise.scale == pytest.approx(1 / 78.57)
    assert standardise.offset == pytest.approx(-33.32 / 78.57)


@pytest.mark.parametrize("model", mnist.PRESETS)
def test_the_default_of_its_space_is_the_preset(model):
    preset = mnist.PRESETS[model]
    assert mnist.space(HyperParameters(), preset) == preset


def test_a_model_of_another_recipe_is_refused(tmp_path):
    with pytest.raises(ZooError, match="--model"):
        run("--model", "cnn", tmp_path=tmp_path)
    assert "cnn" in fashion_mnist.PRESETS


def test_claims_and_cards():
    card = (ROOT / "zoo" / "recipes" / "README.md").read_text()
    rows = CLAIM.findall(mnist.__doc__)
    assert {row[0] for row in rows} == set(mnist.PRESETS)
    for model, parameters, mean, spread, seconds in rows:
        built = mnist.build(mnist.PRESETS[model])
        assert f"{built.count_params():,}" == parameters
        assert float(mean) / 100 >= LEAST[model]
        row = rf"\| `{model}` \| {parameters} \| {mean} ± {spread} % \| {seconds} s \|"
        assert re.search(row, card), row


@pytest.mark.full
@pytest.mark.parametrize("model", mnist.PRESETS)
def test_at_full_size_the_claim_holds(model, tmp_path):
    (row,) = (row for row in CLAIM.findall(mnist.__doc__) if row[0] == model)
    metrics = run("--model", model, tmp_path=tmp_path)
    assert metrics["data"]["train"] == 54_000
    assert abs(metrics["test_accuracy"] - float(row[2]) / 100) <= 0.002
