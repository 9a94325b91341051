"""Fine-tuning: from pretrained weights, and from random ones, on few images."""

import numpy as np
import pytest

import zoo
from tests.recipes import image_models
from zoo import ZooError
from zoo.recipes import fine_tuning

LEAST = {"fine-tuned": 0.84, "from-scratch": 0.82}


def test_a_short_run(only_the_sample, few_points, tmp_path, monkeypatch, capsys):
    image_models.check_a_short_run(
        fine_tuning, "fine-tuned", "fashion_mnist", tmp_path, monkeypatch, capsys
    )


@pytest.mark.parametrize("model", fine_tuning.PRESETS)
def test_a_thousand_labelled_images(model, only_the_sample):
    splits = fine_tuning.load(fine_tuning.PRESETS[model])
    assert len(splits.train.y) == len(splits.validation.y) == 1000


def test_where_the_weights_begin():
    learned = zoo.load(fine_tuning.PRETRAINED)
    tuned, scratch = map(fine_tuning.build, fine_tuning.PRESETS.values())
    for layer in learned.layers[:-1]:  # its statistics, too
        if layer.name != "conv_0":
            weights = tuned.get_layer(layer.name).get_weights()
            for mine, its in zip(weights, layer.get_weights(), strict=True):
                np.testing.assert_array_equal(mine, its)
    kernel = learned.get_layer("conv_2").kernel
    assert np.abs(scratch.get_layer("conv_2").kernel - kernel).max() > 0.01
    shapes = [[tuple(w.shape) for w in model.weights] for model in (tuned, scratch)]
    assert shapes[0] == shapes[1]
    # The classifier is new: it knows nothing of photographs.
    top = learned.get_layer("predictions").kernel
    assert np.abs(tuned.get_layer("predictions").kernel - top).max() > 0.01


def test_the_first_layer_sees_grey_as_the_pretrained_one_saw_it_in_three_colours():
    images = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype("float32")
    tuned = fine_tuning.build(fine_tuning.PRESETS["fine-tuned"]).get_layer("conv_0")
    learned = zoo.load(fine_tuning.PRETRAINED).get_layer("conv_0")
    expected = learned(images.repeat(3, axis=-1))
    np.testing.assert_allclose(tuned(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", fine_tuning.PRESETS)
def test_the_default_of_its_space_is_the_preset(model):
    image_models.check_its_space(fine_tuning, model)


@pytest.mark.parametrize("words", ["--widths 8 8", "--activation silu", "--dropout 1"])
def test_what_the_pretrained_network_decides_is_no_option(words, tmp_path):
    with pytest.raises(ZooError, match=words.split()[0]):
        image_models.run(fine_tuning, *words.split(), folder=tmp_path)


def test_claims_and_cards():
    image_models.check_claims(fine_tuning, LEAST)
    tuned, scratch = image_models.CLAIM.findall(fine_tuning.__doc__)
    assert float(tuned[2]) > float(scratch[2])


@pytest.mark.full
@pytest.mark.parametrize("model", fine_tuning.PRESETS)
def test_at_full_size_the_claim_holds(model, tmp_path):
    metrics = image_models.check_at_full_size(fine_tuning, model, tmp_path)
    assert metrics["data"]["train"] == 1000 and metrics["data"]["test"] == 10_000
