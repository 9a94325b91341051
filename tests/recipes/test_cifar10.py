"""CIFAR-10: the steps of the main recipe, on photographs."""

import pytest
from keras_tuner import HyperParameters

from tests.recipes import image_models
from zoo import ZooError
from zoo.recipes import cifar10

LEAST = {"resnet100k": 0.86, "linear": 0.39}


def test_a_short_run(only_the_sample, few_points, tmp_path, monkeypatch, capsys):
    image_models.check_a_short_run(
        cifar10, "linear", "cifar10", tmp_path, monkeypatch, capsys
    )


def test_its_networks():
    linear = cifar10.build(cifar10.PRESETS["linear"])
    assert linear.input_shape == (None, 32, 32, 3)
    assert linear.count_params() == 3072 * 10 + 10
    standardise = linear.get_layer("standardise")
    assert standardise.scale == pytest.approx(1 / 64.15)
    assert standardise.offset == pytest.approx(-120.71 / 64.15)
    assert cifar10.build(cifar10.PRESETS["resnet100k"]).count_params() < 100_000


@pytest.mark.parametrize("words", ["--widths 64", "--activation silu", "--dropout 0.1"])
def test_a_linear_classifier_has_no_hidden_layers(words, tmp_path):
    words = ["--model", "linear", *words.split()]
    with pytest.raises(ZooError, match="has no hidden layers: leave out --widths"):
        image_models.run(cifar10, *words, folder=tmp_path)


def test_what_is_searched_of_a_linear_classifier():
    hp = HyperParameters()
    cifar10.space(hp, cifar10.PRESETS["linear"])
    searched = {"learning_rate", "regularization", "weight_decay", "batch_size"}
    assert set(hp.values) == searched | {"epochs"}


@pytest.mark.parametrize("model", cifar10.PRESETS)
def test_the_default_of_its_space_is_the_preset(model):
    image_models.check_its_space(cifar10, model)


def test_claims_and_cards():
    image_models.check_claims(cifar10, LEAST)


@pytest.mark.full
@pytest.mark.parametrize("model", cifar10.PRESETS)
def test_at_full_size_the_claim_holds(model, tmp_path):
    metrics = image_models.check_at_full_size(cifar10, model, tmp_path)
    assert metrics["data"]["train"] == 45_000
