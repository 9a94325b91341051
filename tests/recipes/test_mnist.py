"""MNIST: the steps of the main recipe, on other data and with presets of its own."""

import pytest

from tests.recipes import image_models
from zoo import ZooError
from zoo.recipes import fashion_mnist, mnist

LEAST = {"mlp": 0.985, "resnet10k": 0.993}


def test_a_short_run(only_the_sample, few_points, tmp_path, monkeypatch, capsys):
    image_models.check_a_short_run(mnist, "mlp", "mnist", tmp_path, monkeypatch, capsys)


def test_its_pixels_are_mnist_s():
    """The mean of all pixels is that of the ink, which is rare."""
    standardise = mnist.build(mnist.PRESETS["mlp"]).get_layer("standardise")
    assert standardise.scale == pytest.approx(1 / 78.57)
    assert standardise.offset == pytest.approx(-33.32 / 78.57)
    assert mnist.build(mnist.PRESETS["resnet10k"]).count_params() < 10_000


@pytest.mark.parametrize("model", mnist.PRESETS)
def test_the_default_of_its_space_is_the_preset(model):
    image_models.check_its_space(mnist, model)


def test_a_model_of_another_recipe_is_refused(tmp_path):
    with pytest.raises(ZooError, match="--model"):
        image_models.run(mnist, "--model", "cnn", folder=tmp_path)
    assert "cnn" in fashion_mnist.PRESETS


def test_claims_and_cards():
    image_models.check_claims(mnist, LEAST)


@pytest.mark.full
@pytest.mark.parametrize("model", mnist.PRESETS)
def test_at_full_size_the_claim_holds(model, tmp_path):
    metrics = image_models.check_at_full_size(mnist, model, tmp_path)
    assert metrics["data"]["train"] == 54_000
