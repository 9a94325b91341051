"""One harness for every builder, and what is particular to each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import ZooError

BUILDERS = {
    "mlp": lambda **kwargs: zoo.mlp((8, 8, 1), (12, 7), **kwargs),
    "mlp of MyDenseLayer": lambda **kwargs: zoo.mlp(
        (8, 8, 1), (12, 7), layer=zoo.MyDenseLayer, **kwargs
    ),
    "mlp with batch normalization": lambda **kwargs: zoo.mlp(
        (8, 8, 1), (12, 7), batch_normalization=True, **kwargs
    ),
    "small_cnn": lambda **kwargs: zoo.small_cnn((8, 8, 1), (4, 7), **kwargs),
    "small_resnet": lambda **kwargs: zoo.small_resnet((8, 8, 1), (4, 5, 7), **kwargs),
}


@pytest.fixture(params=BUILDERS)
def build(request):
    return BUILDERS[request.param]


def test_takes_raw_images_and_returns_probabilities(build, images):
    model = build(classes=3, name="it")
    assert type(model) is type(keras.Model(model.input, model.output))  # a plain one
    assert model.name == "it"
    assert model.inputs[0].dtype == "uint8" and model.inputs[0].shape == (None, 8, 8, 1)
    answers = model(images[0]).numpy()
    assert answers.shape == (12, 3)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)


def test_standardises_inside(build):
    model = build(mean=100.0, std=20.0)
    inside = keras.Model(model.input, model.get_layer("standardise").output)
    x = np.array([60, 100, 140], np.uint8).repeat(64).reshape(3, 8, 8, 1)
    found = inside(x).numpy()[:, 0, 0, 0]
    np.testing.assert_allclose(found, [-2, 0, 2], atol=1e-5)


def test_trains_saves_and_exports(build, images, tmp_path):
    keras.utils.set_random_seed(0)
    model = build(classes=3, dropout=0.1)
    model.compile("adam", "sparse_categorical_crossentropy")
    loss = model.fit(*images, epochs=20, verbose=0).history["loss"]
    assert loss[-1] < loss[0]
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    kinds = [[type(layer) for layer in each.layers] for each in (loaded, model)]
    assert kinds[0] == kinds[1]
    served = tf.saved_model.load(tmp_path / "exported")
    for batch in (1, 5):
        expected = model(images[0][:batch])
        np.testing.assert_allclose(loaded(images[0][:batch]), expected, rtol=1e-6)
        np.testing.assert_allclose(
            served.serve(images[0][:batch]), expected, rtol=1e-4, atol=1e-6
        )


def test_include_top(build):
    assert build(include_top=False).layers[-1].name != "predictions"
    logits = build(classifier_activation=None)
    assert logits.layers[-1].activation is keras.activations.linear


def test_mixed_precision_answers_in_float32(build, images):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    assert model(images[0]).dtype == "float32"
    assert model.layers[-2].compute_dtype == "float16"


def test_dropout_is_there_when_asked_for(build):
    def count(model):
        return sum(isinstance(x, keras.layers.Dropout) for x in model.layers)

    assert count(build()) == 0
    assert count(build(dropout=0.5)) >= 1


def test_counts_by_hand():
    # 784·256 + 256, 256·128 + 128, 128·10 + 10
    assert zoo.mlp().count_params() == 200_960 + 32_896 + 1_290
    assert zoo.mlp(hidden_units=()).count_params() == 7_850
    assert zoo.mlp(hidden_units=(64, 32)).count_params() == 52_650
    # 9·1·8, 4·8; 9·8·16, 4·16; 7·7·16·10 + 10
    assert zoo.small_cnn(filters=(8, 16)).count_params() == 72 + 32 + 1152 + 64 + 7850
    # 9·1·4, 4·4; 9·4·8, 4·8, and a block: 9·8·8, 4·8; 8·10 + 10
    assert zoo.small_resnet(filters=(4, 8)).count_params() == 52 + 320 + 608 + 90


def test_small_images_go_as_far_as_they_can():
    assert zoo.small_cnn((7, 9, 1), include_top=False).output_shape == (None, 1, 1, 96)


def test_the_shape_s_order_does_not_depend_on_keras_s_settings(build, images):
    keras.config.set_image_data_format("channels_first")
    try:
        assert build(classes=3)(images[0]).shape == (12, 3)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_mlp_normalizes_before_the_activation():
    model = zoo.mlp((2, 2, 1), (3,), dropout=0.1, classes=2, batch_normalization=True)
    names = [layer.name for layer in model.layers[3:]]
    expected = ["hidden_1", "norm_1", "activation_1", "dropout_1", "predictions"]
    assert names == expected
    assert model.get_layer("hidden_1").activation is keras.activations.linear
    assert model.count_params() == (4 * 3 + 3) + 4 * 3 + (3 * 2 + 2)


def test_mlp_is_built_from_the_layer_it_is_given():
    model = zoo.mlp(layer=zoo.MyDenseLayer)
    assert sum(isinstance(x, zoo.MyDenseLayer) for x in model.layers) == 3
    assert not any(isinstance(x, keras.layers.Dense) for x in model.layers)


@pytest.mark.parametrize(
    "pooling, shape", [(None, (None, 7, 7, 6)), ("avg", (None, 6)), ("max", (None, 6))]
)
def test_pooling(pooling, shape):
    model = zoo.small_cnn(filters=(4, 6), include_top=False, pooling=pooling)
    assert model.output_shape == shape
    model = zoo.small_resnet(filters=(4, 5, 6), include_top=False, pooling=pooling)
    assert model.output_shape == shape


def test_a_residual_block_adds_to_what_goes_in(images):
    model = zoo.small_resnet((8, 8, 1), (4, 5))
    before, inner, after = (
        model.get_layer(name).output
        for name in ("activation_1", "activation_1_1", "add_1_1")
    )
    values = keras.Model(model.input, [before, inner, after])(images[0])
    np.testing.assert_allclose(values[2], values[0] + values[1])
    assert np.abs(values[1]).max() > 0


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: zoo.mlp(hidden_units=(8, 0)),
            "Received: hidden_units=(8, 0)",
        ),
        (lambda: zoo.mlp(hidden_units=8), "hidden_units must be a list of positive"),
        (lambda: zoo.mlp(activation="rellu"), "activation must be a Keras activation"),
        (lambda: zoo.mlp(dropout=1.0), "dropout must be at least 0 and below 1"),
        (lambda: zoo.mlp(input_shape=(28, 28)), "(height, width, channels)"),
        (lambda: zoo.mlp(classes=0), "classes must be a positive integer"),
        (lambda: zoo.mlp(std=0), "std must be above 0"),
        (lambda: zoo.small_cnn(filters=(8, -1)), "filters must be a list of positive"),
        (lambda: zoo.mlp(input_shape=28), "input_shape must be a list of positive"),
        (lambda: zoo.mlp(mean="x"), "mean must be a finite number"),
        (lambda: zoo.small_cnn((1, 9, 1)), "images of 1x9 are too small for the 2x2"),
        (lambda: zoo.small_cnn(pooling="average"), "Did you mean 'avg'?"),
        (lambda: zoo.small_resnet(pooling=None), "pooling must be one of avg, max"),
        (lambda: zoo.small_resnet(filters=()), "must hold those of the first"),
        (lambda: zoo.small_resnet((4, 4, 1)), "4x4 can be halved by 2 stages at most"),
        (lambda: zoo.small_resnet(blocks=-1), "blocks must be an integer, at least 0"),
        (
            lambda: zoo.small_cnn(classifier_activation="sofmax"),
            "classifier_activation must be a Keras activation",
        ),
    ],
)
def test_bad_arguments_are_one_line_errors(build, message):
    with pytest.raises(ZooError) as caught:
        build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
