"""The search space of the recipe: what it holds, and what it may not."""

import dataclasses
import shlex
from pathlib import Path

import pytest
from keras_tuner import HyperParameters

from zoo.recipes import fashion_mnist
from zoo.recipes.fashion_mnist import PRESETS, build, num_parameters, space
from zoo.training import options

MODELS = [model for model in PRESETS if not model.startswith("resnet")]
RESNETS = [model for model in PRESETS if model.startswith("resnet")]
OWN = {"width", "depth", "regularization"}  # no option of the command line


def draws(model, number=40):
    """Return the whole space's hyper-parameters and random configurations of it."""
    hp = HyperParameters()
    space(hp, PRESETS[model])
    configs = []
    for seed in range(number):
        drawn = HyperParameters()
        for parameter in hp.space:
            if all(c.is_active(drawn.values) for c in parameter.conditions):
                drawn.values[parameter.name] = parameter.random_sample(seed)
        configs.append(space(drawn, PRESETS[model]))
    return hp, configs


def ranges(model):
    """Return the hyper-parameters `width` and `depth`."""
    named = {parameter.name: parameter for parameter in draws(model, 0)[0].space}
    return named["width"], named["depth"]


def corners(model):
    """Return the configurations of the extreme widths and depths."""
    width, depth = ranges(model)
    for units in (width.min_value, width.max_value):
        for layers in range(depth.min_value, depth.max_value + 1):
            drawn = HyperParameters()
            drawn.values = {"width": units, "depth": layers}
            yield space(drawn, PRESETS[model])


@pytest.mark.parametrize("model", PRESETS)
def test_the_default_is_the_preset(model):
    assert space(HyperParameters(), PRESETS[model]) == PRESETS[model]


def test_the_default_model_is_the_recipe_s():
    assert space(HyperParameters()) == PRESETS["cnn"]


@pytest.mark.parametrize("model", MODELS)
def test_it_holds_what_a_search_needs(model):
    hp, configs = draws(model)
    names = {parameter.name for parameter in hp.space}
    fields = {field.name for field in dataclasses.fields(fashion_mnist.Config)}
    assert names - OWN <= fields
    assert names >= OWN | {"learning_rate", "activation", "batch_size", "epochs"}
    assert ("shift" in names) == (model in ("cnn", "tiny"))  # the MLP sees no picture
    for name in names - OWN | {"widths"}:
        assert len({getattr(config, name) for config in configs}) > 1, name
    logarithmic = {p.name for p in hp.space if getattr(p, "sampling", "") == "log"}
    assert logarithmic == {"width", "learning_rate", "weight_decay"}


@pytest.mark.parametrize("model", RESNETS)
def test_all_but_the_widths_of_a_resnet_is_searched(model):
    hp, configs = draws(model)
    names = {parameter.name for parameter in hp.space}
    assert names & OWN == {"regularization"}
    assert names >= {"learning_rate", "activation", "batch_size", "epochs", "erase"}
    assert {config.widths for config in configs} == {PRESETS[model].widths}


@pytest.mark.parametrize(
    "regularization, used",
    [
        ("none", set()),
        ("weight_decay", {"weight_decay"}),
        ("dropout", {"dropout"}),
        ("both", {"weight_decay", "dropout"}),
    ],
)
def test_only_the_regularization_that_was_chosen_is_used(regularization, used):
    hp = HyperParameters()
    hp.values = {"regularization": regularization}
    config = space(hp)
    strengths = {name: getattr(config, name) for name in ("weight_decay", "dropout")}
    assert {name for name, strength in strengths.items() if strength} == used
    assert {"weight_decay", "dropout"} & set(hp.values) == used


@pytest.mark.parametrize("model", ["cnn", "tiny"])
def test_no_configuration_has_more_parameters_than_the_preset(model):
    width, depth = ranges(model)
    preset = PRESETS[model].widths
    most = num_parameters(preset)
    for first in range(width.min_value, width.max_value + 1):
        for layers in range(depth.min_value, depth.max_value + 1):
            drawn = HyperParameters()
            drawn.values = {"width": first, "depth": layers}
            widths = space(drawn, PRESETS[model]).widths
            assert widths[0] == first and len(widths) == layers
            assert 0.9 * most < num_parameters(widths) <= most


@pytest.mark.parametrize("model", ["cnn", "tiny"])
def test_parameters_are_counted_as_keras_does(model):
    for config in [PRESETS[model], *corners(model)]:
        assert build(config).count_params() == num_parameters(config.widths)


@pytest.mark.parametrize("model", MODELS)
def test_every_configuration_builds(model):
    for config in [*corners(model), *draws(model, 4)[1]]:
        built = build(config)
        separate = ("cnn", "tiny", "mlp-bn")
        hidden = "activation_1" if model in separate else "hidden_1"
        activation = built.get_layer(hidden).activation
        assert activation.__name__ == config.activation


def test_each_hidden_layer_of_the_mlp_is_half_as_wide():
    hp = HyperParameters()
    hp.values = {"width": 100, "depth": 3}
    assert space(hp, PRESETS["mlp"]).widths == (100, 50, 25)


@pytest.mark.parametrize("model", MODELS)
def test_the_command_of_a_configuration_gives_it_again(model):
    kept = dataclasses.replace(PRESETS[model], seed=3, limit=500, mirror=Path("m"))
    for config in draws(model, 20)[1]:
        config = dataclasses.replace(
            config, seed=kept.seed, limit=500, mirror=Path("m")
        )
        command = options.command("fashion_mnist", PRESETS, config)
        words = shlex.split(command)[3:]  # after python -m MODULE
        assert options.parse_recipe("fashion_mnist", PRESETS, words, "") == config


def test_what_is_not_searched_stays():
    config = dataclasses.replace(PRESETS["tiny"], seed=7, limit=500)
    assert space(HyperParameters(), config) == config
