import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

import zoo
from tests.conftest import run_python
from zoo import ZooError, export
from zoo.export import replay

NAMES = ("coat", "dress", "bag")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return zoo.small_cnn((8, 8, 1), (4,), classes=3)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Return a version that the tests only read."""
    rng = np.random.default_rng(0)
    examples = rng.integers(0, 256, (12, 8, 8, 1), np.uint8)
    folder = tmp_path_factory.mktemp("saved_models") / "things"
    return export.saved_model(model, folder, NAMES, examples, np.arange(12) % 3)


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(exported)
    signatures = dict(loaded.signatures)
    signatures["keep"] = loaded
    return signatures


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def answers_to(signatures, *image_bytes):
    return signatures["serve_bytes"](image_bytes=tf.constant(list(image_bytes)))


def decoded(signatures, *image_bytes):
    tensor = tf.constant(list(image_bytes))
    return signatures["decode"](image_bytes=tensor)["images"].numpy()


# --- versions ------------------------------------------------------------------------


def test_versions_grow(model, images, tmp_path):
    folder = tmp_path / "things"
    first = export.saved_model(model, folder, examples=images[0])
    assert first == folder / "1"
    (folder / "7").mkdir()
    (folder / "notes").mkdir()
    second = export.saved_model(model, folder, examples=images[0])
    assert second == folder / "8"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "7", "8", "notes"]
    assert export.copy(second, tmp_path / "other") == tmp_path / "other" / "1"
    assert replay.file_digests(second) == replay.file_digests(tmp_path / "other/1")


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_an_export_that_answers_otherwise_is_never_seen(
    wrong, images, tmp_path, monkeypatch
):
    """The model changes between being asked and being exported."""
    model, real = zoo.small_cnn((8, 8, 1), (4,), classes=3), tf.saved_model.save

    def change_and_save(*args):
        model.layers[-1].bias.assign([0, wrong, 0])
        real(*args)

    monkeypatch.setattr(tf.saved_model, "save", change_and_save)
    with pytest.raises(ZooError, match="does not answer as the trained one"):
        export.saved_model(model, tmp_path, examples=images[0])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(model, images, tmp_path, monkeypatch):
    def interrupted(module, path, signatures):
        with open(f"{path}/saved_model.pb", "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.saved_model(model, tmp_path, examples=images[0])
    assert list(tmp_path.iterdir()) == []


# --- signatures ----------------------------------------------------------------------


def test_answers_as_the_model_does_whatever_the_batch(model, signatures, images):
    for batch in (images[0][:1], images[0]):
        answers = signatures["serving_default"](images=tf.constant(batch))
        assert set(answers) == {"probabilities", "class_ids", "class_names"}
        expected = model(batch).numpy()
        np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
        assert answers["class_ids"].dtype == tf.int64
        np.testing.assert_array_equal(answers["class_ids"], expected.argmax(1))
        names = [NAMES[index].encode() for index in expected.argmax(1)]
        assert list(answers["class_names"].numpy()) == names


def test_inputs_and_outputs_have_names_types_and_a_free_batch(signatures):
    seen = {
        name: (signature.structured_input_signature[1], signature.structured_outputs)
        for name, signature in signatures.items()
        if name != "keep"
    }
    images = tf.TensorSpec((None, 8, 8, 1), tf.uint8, "images")
    image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")
    assert {name: inputs for name, (inputs, _) in seen.items()} == {
        "serving_default": {"images": images},
        "serve_bytes": {"image_bytes": image_bytes},
        "features": {"images": images},
        "decode": {"image_bytes": image_bytes},
    }
    outputs = {
        name: {k: v.shape[0] for k, v in o.items()} for name, (_, o) in seen.items()
    }
    assert all(first is None for o in outputs.values() for first in o.values())


def test_features_are_what_the_classifier_sees(model, signatures, images):
    features = signatures["features"](images=tf.constant(images[0]))["features"]
    assert features.shape == (12, 4 * 4 * 4)
    kernel, bias = model.layers[-1].get_weights()
    expected = tf.nn.softmax(features.numpy() @ kernel + bias)
    np.testing.assert_allclose(expected, model(images[0]), atol=1e-5)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_images_of_the_right_size_are_what_was_encoded(
    kind, model, signatures, images
):
    sent = [encoded(image[..., 0], kind) for image in images[0]]
    np.testing.assert_array_equal(decoded(signatures, *sent), images[0])
    answers = answers_to(signatures, *sent)
    np.testing.assert_allclose(answers["probabilities"], model(images[0]), atol=1e-6)


def test_images_of_any_kind_and_size_become_one_size(signatures):
    grey = np.full((20, 33), 100, np.uint8)
    colour = np.stack([grey] * 3, axis=-1)
    palette = Image.fromarray(colour).quantize()
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    frames = [Image.fromarray(np.full((9, 9), level, np.uint8)) for level in (100, 200)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    deep = encoded(np.full((5, 5), 100 * 257, np.uint16), "PNG")
    sent = [
        encoded(grey, "PNG"),
        encoded(colour, "JPEG", quality=100),
        encoded(colour, "GIF"),
        encoded(colour, "BMP"),
        buffer.getvalue(),
        animated.getvalue(),  # the first frame
        deep,
        encoded(grey[:1, :1], "PNG"),
    ]
    images = decoded(signatures, *sent)
    assert images.shape == (len(sent), 8, 8, 1) and images.dtype == np.uint8
    assert np.abs(images.astype(int) - 100).max() <= 1
    assert answers_to(signatures, *sent)["probabilities"].shape == (len(sent), 3)


def test_colour_becomes_luma_and_transparency_black(signatures):
    def flat(*channels):
        pixels = np.broadcast_to(np.array(channels, np.uint8), (8, 8, len(channels)))
        return encoded(np.ascontiguousarray(pixels), "PNG")

    sent = [
        flat(255, 0, 0), flat(0, 255, 0), flat(0, 0, 255),
        flat(200, 200, 200, 128), flat(200, 200, 200, 0), flat(200, 128),
    ]  # fmt: skip
    levels = decoded(signatures, *sent)[:, 0, 0, 0]
    # ITU-R BT.601: 0.299, 0.587 and 0.114 of 255; 200 * 128 / 255.
    assert list(levels) == [76, 150, 29, 100, 0, 100]


def test_a_smaller_image_is_averaged_from_a_larger_one(signatures):
    checks = np.kron(np.indices((16, 16)).sum(0) % 2, np.ones((4, 4))) * 255
    (image,) = decoded(signatures, encoded(checks.astype(np.uint8), "PNG"))
    # Without antialiasing it would be black and white.
    assert np.abs(image[1:-1, 1:-1].astype(int) - 127.5).max() < 20


def test_softmax_is_added_to_logits_alone(images, tmp_path):
    body = zoo.small_cnn((8, 8, 1), (4,), classes=3, classifier_activation=None)
    path = export.saved_model(body, tmp_path / "logits", examples=images[0])
    served = tf.saved_model.load(path).signatures["serving_default"]
    got = served(images=tf.constant(images[0]))["probabilities"]
    np.testing.assert_allclose(got, tf.nn.softmax(body(images[0])), atol=1e-6)


class Subclassed(keras.Model):
    """As in the TensorFlow quickstart for experts: layers in `call`, logits out."""

    def __init__(self):
        super().__init__()
        self.flatten, self.dense = layers.Flatten(), layers.Dense(3)

    def call(self, x):
        return self.dense(self.flatten(x))


def test_any_keras_classifier_can_be_exported(images, tmp_path):
    grey = images[0][..., 0]
    flat = [layers.Rescaling(1 / 255), layers.Flatten()]
    models = {
        "subclassed": (Subclassed(), images[0], 3),
        "no_channels": (
            keras.Sequential([keras.Input((8, 8)), *flat, layers.Dense(4)]), grey, 4,
        ),
        "one_logit": (
            keras.Sequential(
                [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)]
            ),
            images[0], 2,
        ),
        "nested": (
            keras.Sequential(
                [keras.Input((8, 8, 1)), zoo.small_cnn((8, 8, 1), (4,), classes=3)]
            ),
            images[0], 3,
        ),
    }  # fmt: skip
    for name, (model, examples, classes) in models.items():
        path = export.saved_model(model, tmp_path / name, examples=examples)
        signatures = tf.saved_model.load(path).signatures
        answers = signatures["serving_default"](images=tf.constant(examples))
        assert answers["probabilities"].shape == (12, classes)
        np.testing.assert_allclose(
            np.sum(answers["probabilities"], axis=1), 1, atol=1e-5
        )
        assert ("features" in signatures) == (name != "subclassed")
        sent = tf.constant([encoded(image, "PNG") for image in grey])
        read = signatures["serve_bytes"](image_bytes=sent)["probabilities"]
        np.testing.assert_allclose(read, answers["probabilities"], atol=1e-6)


def test_preprocessing_outside_of_the_model_is_exported_with_it(tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3)]
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 8, 8, 3), np.uint8)
    path = export.saved_model(
        model, tmp_path, examples=images, preprocess=lambda x: x / 127.5 - 1
    )
    served = tf.saved_model.load(path).signatures["serving_default"]
    expected = tf.nn.softmax(model(images / np.float32(127.5) - 1))
    got = served(images=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_mixed_precision_model_exports_the_same(images, tmp_path):
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = zoo.small_cnn((8, 8, 1), (4,), classes=3)
    finally:
        keras.config.set_dtype_policy(policy)
    path = export.saved_model(model, tmp_path, examples=images[0])
    served = tf.saved_model.load(path).signatures["serving_default"]
    got = served(images=tf.constant(images[0]))["probabilities"]
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, model(images[0]), atol=1e-2)


@pytest.mark.parametrize(
    ("outputs", "names", "message"),
    [
        (layers.Dense(3), ("a", "b"), r"hold 3 strings.*\('a', 'b'\)"),
        (layers.Dense(3), (0, 1, 2), "class_names must hold 3 strings"),
        (layers.Dense(3, activation="sigmoid"), None, "several classes for an image"),
        (layers.Dense(1, activation="tanh"), None, "has one output, and whether"),
        (layers.Reshape((8, 8)), None, "a row of class probabilities or logits"),
    ],
)
def test_what_is_no_classifier_is_refused(outputs, names, message, images, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), outputs])
    with pytest.raises(ZooError, match=message):
        export.saved_model(model, tmp_path, names, images[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (keras.ops.softmax, keras.ops.softmax),
        (lambda x: keras.ops.softmax(x) * 0.9 + 0.1 / 3, None),  # label smoothing
        (lambda x: keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), 1, True), None),
        (lambda x: layers.Reshape((3,))(x * 2), lambda x: keras.ops.softmax(x * 2)),
    ],
)
def test_operations_may_end_a_model(end, expected, images, tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = layers.Dense(3)(layers.Flatten()(layers.Rescaling(1 / 255)(inputs)))
    body, model = keras.Model(inputs, x), keras.Model(inputs, end(x))
    path = export.saved_model(model, tmp_path, examples=images[0])
    served = tf.saved_model.load(path).signatures["serving_default"]
    got = served(images=tf.constant(images[0]))["probabilities"]
    wanted = (expected or end)(body(images[0]))
    np.testing.assert_allclose(got, wanted, atol=1e-6)


class Drawing(layers.Layer):
    """Has a state that is no weight."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + 1e-9 * keras.random.uniform((3,), seed=self.seed_generator)


def test_states_are_exported_with_the_weights(images, tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3), Drawing()]
    )
    path = export.saved_model(model, tmp_path, examples=images[0])
    assert replay.main(str(path)) == []


def test_several_outputs_are_refused(images, tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = layers.Flatten()(inputs)
    model = keras.Model(inputs, [layers.Dense(3)(x), layers.Dense(2)(x)])
    with pytest.raises(ZooError, match="a row of class probabilities or logits"):
        export.saved_model(model, tmp_path, examples=images[0])


def test_what_is_no_model_is_refused(images, tmp_path):
    with pytest.raises(ZooError, match="a keras.Model is exported. Received: int"):
        export.saved_model(3, tmp_path, examples=images[0])


def test_a_full_disk_is_one_line(model, images, tmp_path, monkeypatch):
    def full(*args):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(ZooError, match="cannot be written.*make room"):
        export.saved_model(model, tmp_path, examples=images[0])


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 9, 8, 1), np.uint8), np.zeros((2, 8, 8, 1)), np.zeros((0,))]
)
def test_examples_that_do_not_fit_are_refused(wrong, model, tmp_path):
    with pytest.raises(ZooError, match="the images must be uint8.*Received"):
        export.saved_model(model, tmp_path, examples=wrong)


# --- for the server ------------------------------------------------------------------


def test_warm_up_requests_are_those_that_tensorflow_serving_sends(exported, signatures):
    from tensorflow_serving.apis import prediction_log_pb2

    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    asked = set()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert log.model_spec.name == "things"
        assert {len(tf.make_ndarray(v)) for v in log.inputs.values()} == {4}
        inputs = {name: tf.make_ndarray(value) for name, value in log.inputs.items()}
        signatures[log.model_spec.signature_name](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
        asked.add(log.model_spec.signature_name)
    assert asked == {"serving_default", "serve_bytes", "features", "decode"}


def test_loads_without_zoo_and_keras(exported, tmp_path):
    code = (
        "import sys; sys.modules['zoo'] = sys.modules['keras'] = None\n"
        "import numpy as np, tensorflow as tf\n"
        f"served = tf.saved_model.load({str(exported)!r}).signatures\n"
        "images = tf.constant(np.zeros((2, 8, 8, 1), np.uint8))\n"
        "print(served['serving_default'](images=images)['probabilities'].shape)"
    )
    done = run_python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "(2, 3)\n"), done.stderr


def test_every_weight_is_stored_once(model, exported):
    size = (exported / "variables/variables.data-00000-of-00001").stat().st_size
    assert size < 4 * model.count_params() + 1000
