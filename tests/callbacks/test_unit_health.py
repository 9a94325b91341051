import keras
import numpy as np
import pytest
from keras import layers

from zoo.callbacks import GradientMonitor, unit_health
from zoo.callbacks.gradient_monitor import named_layers


def shares(model, probe):
    return unit_health.measure(model, named_layers(model), probe)


def one_layer(activation, biases, name="hidden"):
    """Return units whose input is x + bias, and a head, so that they are inside."""
    units = len(biases)
    hidden = layers.Dense(units, activation, name=name)
    model = keras.Sequential([keras.Input((1,)), hidden, layers.Dense(1, name="head")])
    hidden.set_weights([np.ones((1, units)), np.array(biases)])
    return model


PROBE = np.linspace(-1, 1, 21)[:, None]


@pytest.mark.parametrize(
    "activation, kind, biases, share",
    [
        ("relu", "dead", [-2, -0.5, 0, 1], 1 / 4),  # below zero throughout
        ("relu", "dead", [-1.001, -1.002, 5, -0.9], 2 / 4),
        ("relu6", "dead", [-2, 8, 3, 3], 2 / 4),  # flat above 6 too
        ("elu", "dead", [-7, -3, 0, 0], 1 / 4),  # e^-6 < 0.01 < e^-4
        ("gelu", "dead", [-9, 0, 0, 0], 1 / 4),
        ("silu", "dead", [-9, -1, 0, 0], 1 / 4),
        # 1 - tanh(z)^2 < 0.1 where |z| > 1.82
        ("tanh", "saturated", [0, 2.9, -2.9, 2.0], 2 / 4),
        # s(1 - s) < 0.025 where |z| > 3.66
        ("sigmoid", "saturated", [0, 4.7, -4.7, 4.0], 2 / 4),
        ("softsign", "saturated", [0, 4, 1, 1], 1 / 4),  # 1 / (1 + |z|)^2 < 0.1
        ("hard_sigmoid", "saturated", [0, 5, -5, 1], 2 / 4),
    ],
)
def test_slopes_by_hand(activation, kind, biases, share):
    measured = shares(one_layer(activation, biases), PROBE)
    other = {"dead": "saturated", "saturated": "dead"}[kind]
    assert measured == {kind: {"hidden": pytest.approx(share)}, other: {}}


def test_saturated_is_what_is_so_for_nine_tenths_of_the_probe():
    def share(far):
        z = np.r_[np.zeros(100 - far), np.full(far, 9.0)][:, None]
        return shares(one_layer("tanh", [0.0]), z)["saturated"]["hidden"]

    assert (share(89), share(90)) == (0, 1)


def test_a_channel_is_dead_only_if_it_is_so_at_every_place():
    conv = layers.Conv2D(2, 1, activation="relu", name="conv")
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), conv, layers.Flatten(), layers.Dense(1)]
    )
    conv.set_weights([np.ones((1, 1, 1, 2)), np.array([-0.5, -2])])
    image = np.array([[0, 0], [0, 1.0]]).reshape(1, 2, 2, 1)
    assert shares(model, image)["dead"] == {"conv": 0.5}


@pytest.mark.parametrize(
    "layer",
    [layers.Activation("relu"), layers.ReLU(), layers.ELU(), layers.Activation("tanh")],
    ids=lambda layer: layer.name,
)
def test_layers_that_are_an_activation(layer):
    model = keras.Sequential([keras.Input((2,)), layer, layers.Dense(1)])
    measured = shares(model, np.array([[-9.0, 0.1], [-8.0, 0.2]]))
    kind = "saturated" if "tanh" in str(layer.get_config()) else "dead"
    assert measured[kind] == {layer.name: 0.5}


def test_finds_layers_in_nested_models_and_both_uses_of_a_shared_one():
    shared = layers.Dense(1, "relu", name="shared")
    inner = keras.Sequential([keras.Input((1,)), shared, layers.Dense(1)], name="inner")
    inputs = keras.Input((1,))
    x = inner(layers.Rescaling(-1.0)(inner(inputs)))
    model = keras.Model(inputs, layers.Dense(1)(x))
    shared.set_weights([np.ones((1, 1)), np.zeros(1)])
    inner.layers[-1].set_weights([np.ones((1, 1)), np.ones(1)])
    # It is alive the first time it is used, dead the second.
    assert shares(model, np.ones((3, 1)))["dead"] == {"inner/shared": 0.0}


def test_what_the_model_answers_is_left_out_and_so_are_recurrent_layers():
    model = keras.Sequential(
        [
            keras.Input((3, 1)),
            layers.LSTM(2),
            layers.Dense(2, "tanh", name="inside"),
            layers.Dense(1, "sigmoid", name="answer"),
        ]
    )
    assert set(shares(model, np.ones((4, 3, 1)))["saturated"]) == {"inside"}


def test_an_answer_that_is_only_reshaped_is_left_out_too():
    model = one_layer("tanh", [9.0, 9.0])
    model.pop()
    model.add(layers.Dense(4, "sigmoid", name="answer"))
    model.add(layers.Reshape((2, 2)))
    assert set(shares(model, PROBE)["saturated"]) == {"hidden"}


def test_frozen_layers_are_left_out():
    model = one_layer("relu", [-9.0, -9.0])
    model.get_layer("hidden").trainable = False
    assert shares(model, PROBE) == {"dead": {}, "saturated": {}}


def test_leaves_the_model_as_it_was():
    model = one_layer("relu", [0.0, 1.0])
    model.add(layers.ReLU(name="relu"))
    model.add(layers.Dense(1))
    hidden, relu = model.get_layer("hidden"), model.get_layer("relu")
    shares(model, PROBE)
    assert hidden.activation is keras.activations.relu
    assert "call" not in vars(relu)
    with pytest.raises(ValueError, match="incompatible"):
        shares(model, np.ones((2, 7)))
    assert hidden.activation is keras.activations.relu
    assert "call" not in vars(relu)


@pytest.mark.parametrize(
    "kernel, alike",
    [
        (np.zeros((3, 4)), True),
        (np.full((3, 4), 0.7), True),
        (np.tile([[1.0], [2.0]], 4), True),
        (np.eye(3), False),
        (np.ones((3, 1)), False),  # one unit has none to be like
        (np.zeros((3, 3, 2, 8)), True),
    ],
)
def test_alike(kernel, alike):
    assert unit_health.alike(kernel) == alike


def test_mixed_precision_is_measured_too():
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dense(2, "relu", dtype=policy, name="hidden"),
            layers.Dense(1, dtype="float32"),
        ]
    )
    model.get_layer("hidden").set_weights([np.ones((1, 2)), np.array([-2.0, 0])])
    assert shares(model, PROBE)["dead"] == {"hidden": 0.5}


def test_the_monitor_takes_them_each_epoch():
    model = one_layer("relu", [-2.0, 0, 0, 0])
    model.compile("sgd", "mse")
    monitor = GradientMonitor(PROBE)
    history = model.fit(PROBE, PROBE, epochs=2, verbose=0, callbacks=[monitor]).history
    assert [record["dead"] for record in monitor.epochs] == [{"hidden": 0.25}] * 2
    assert history["dead_units"] == [0.25, 0.25]
