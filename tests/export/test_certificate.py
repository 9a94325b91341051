import base64
import json

import keras
import numpy as np
import pytest
from keras import layers

import zoo
from zoo import export
from zoo.export import certificate, replay
from zoo.export.classifier import Classifier

NAMES = ("coat", "dress", "bag")
FACTS = {
    "command": "python -m things",
    "data": {"name": "things", "digest": "d1", "source": "/home/somebody"},
    "accuracy": {"test": 0.9, "images": 30},
}


def examples():
    """Return three kinds of images that `model` tells apart, and their classes."""
    labels = np.arange(30) % 3
    images = np.random.default_rng(0).integers(0, 60, (30, 8, 8, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, label * 2 : label * 2 + 2] = 255
    return images, labels


def build(scale=1 / 255, bias=0.0):
    kernel = np.zeros((8, 8, 3), np.float32)
    for label in range(3):
        kernel[:, label * 2 : label * 2 + 2, label] = 0.1
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype="uint8"),
            layers.Rescaling(scale),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.layers[-1].set_weights(
        [kernel.reshape(64, 3), np.array([0, bias, 0], np.float32)]
    )
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "things"
    return export.saved_model(build(), folder, NAMES, *examples(), facts=FACTS)


def test_it_tells_what_was_exported(exported):
    content = replay.read(exported)
    assert content["data"] == {"name": "things", "digest": "d1"}
    for fact in ("command", "accuracy"):
        assert content[fact] == FACTS[fact]
    assert content["name"] == "things" and content["class_names"] == list(NAMES)
    assert content["model"]["parameters"] == 64 * 3 + 3
    digest = replay.weights_digest(build().get_weights())
    assert content["model"]["weights"] == digest
    assert content["versions"]["zoo"] == zoo.__version__
    named = {"zoo", "python", "keras", "tensorflow", "numpy"}
    assert set(content["versions"]) == named
    assert content["image_shape"] == [8, 8, 1]
    asked = {request["signature"] for request in content["requests"]}
    assert asked == {"serving_default", "serve_bytes", "features", "decode"}
    images = replay.decode(content["requests"][0]["inputs"])["images"]
    all_images, labels = examples()
    for image, label in zip(images, content["labels"], strict=True):
        (index,) = np.flatnonzero((all_images == image).all((1, 2, 3)))
        assert labels[index] == label


def test_its_answers_are_the_trained_models(exported):
    (request,) = (
        r for r in replay.read(exported)["requests"] if r["signature"] == "serve_bytes"
    )
    answers = replay.decode(request["outputs"])
    expected = build()(replay.decode(_images(exported))["images"])
    np.testing.assert_allclose(answers["probabilities"], expected)
    assert set(answers["class_names"]) == {name.encode() for name in NAMES}


def _images(exported):
    return replay.read(exported)["requests"][0]["inputs"]


def test_arrays_come_back_as_they_were():
    strings = np.array([b"", b"\x00\xff"], object)
    arrays = [
        np.float32([[0.1, -1e-30]]),
        np.int64([2**60]),
        np.zeros((0, 3), np.uint8),
    ]
    for values in (strings, *arrays):
        again = replay.array(json.loads(json.dumps(replay.encode(values))))
        assert again.dtype == values.dtype and again.shape == values.shape
        np.testing.assert_array_equal(again, values)


def test_golden_images_show_every_class_and_are_not_between_two():
    rows = [[0.9, 0.1, 0]] * 40 + [[0.6, 0.4, 0], [0, 0, 1], [0.5, 0.5, 0]]
    chosen = certificate.golden(np.array(rows))
    assert len(chosen) == len(set(chosen)) == certificate.LEAST_REQUESTS == 32
    assert list(chosen[:3]) == [0, 41, 1]  # each class in turn
    assert chosen[16] == 40  # then those that it is least sure of
    assert 42 not in chosen
    assert len(certificate.golden(np.full((5, 3), 1 / 3))) == 5  # an untrained model


def test_an_untouched_export_is_as_certified(exported):
    assert replay.main(str(exported)) == []


def _swapped():
    return export_of(build(), ("dress", "coat", "bag"))


def _another_weight():
    return export_of(build(bias=0.01), NAMES)


def _another_preprocessing():
    return export_of(build(scale=1 / 250), NAMES)


def export_of(model, names):
    return lambda folder: export.saved_model(model, folder, names, *examples())


@pytest.mark.parametrize(
    ("tampered", "signature", "output"),
    [
        (_swapped, "serving_default", "class_names"),
        (_another_weight, "serving_default", "probabilities"),
        (_another_preprocessing, "features", "features"),
    ],
)
def test_tampering_shows_in_files_and_in_answers(
    tampered, signature, output, exported, tmp_path
):
    """Another model lies under the certificate of the first."""
    version = tampered()(tmp_path / "things")
    proof = exported / replay.CERTIFICATE
    (version / replay.CERTIFICATE).write_bytes(proof.read_bytes())
    wrong = replay.main(str(version))
    assert any("is not the one that was exported" in sentence for sentence in wrong)
    assert not any("differ" in sentence for sentence in wrong)  # it was not even run
    ask = replay.saved_model_ask(version)
    by_answers = replay.replay(replay.read(exported), ask)
    assert any(f"{output} of {signature} differs" in text for text in by_answers)
    content = replay.read(exported) | {"files": replay.file_digests(version)}
    certificate.write(version / replay.CERTIFICATE, content)
    wrong = replay.main(str(version))
    assert any(f"{output} of {signature} differs" in text for text in wrong)
    weights = any("the weights are not those" in sentence for sentence in wrong)
    assert weights == (tampered is _another_weight)


def changed(content, **values):
    first, *others = content["requests"]
    return json.dumps({**content, "requests": [first | values, *others]})


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "",
        lambda content: "[]",
        lambda content: json.dumps({**content, "requests": [{"signature": "x"}]}),
        lambda content: json.dumps({**content, "tolerance": None}),
        lambda content: json.dumps({**content, "tolerance": float("inf")}),
        lambda content: json.dumps({**content, "files": ["variables"]}),
        lambda content: changed(content, signature=None),
        lambda content: changed(content, inputs={}),
        lambda content: changed(content, outputs={}),
        lambda content: json.dumps({**content, "certificate": 2}),
        lambda content: json.dumps({**content, "requests": []}),
        lambda content: json.dumps({**content, "files": {}}),
        lambda content: json.dumps({**content, "accuracy": 0.9}),
        lambda content: json.dumps(content)[:5000],
        lambda content: json.dumps(content).replace('"uint8"', '"object"'),
    ],
)
def test_a_damaged_certificate_is_no_proof(damage, exported, tmp_path):
    (tmp_path / "assets.extra").mkdir()
    path = tmp_path / replay.CERTIFICATE
    path.write_text(damage(json.loads((exported / replay.CERTIFICATE).read_text())))
    (sentence,) = replay.main(str(tmp_path))
    assert "is damaged" in sentence and "\n" not in sentence


def test_a_missing_certificate_is_said(tmp_path):
    (sentence,) = replay.main(str(tmp_path))
    assert sentence.endswith("(assets.extra/certificate.json is missing)")


ROWS = {"x": replay.encode(np.zeros((2, 3), np.uint8))}


def request(**outputs):
    outputs = {name: replay.encode(value) for name, value in outputs.items()}
    return {
        "tolerance": 1e-5,
        "requests": [{"signature": "s", "inputs": ROWS, "outputs": outputs}],
    }


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({}, "p of s is missing"),
        ({"p": np.float32([0.5])}, "p of s has shape (1,), not (2,)"),
        ({"p": np.array([b"a", b"b"], object)}, "p of s is object, not float32"),
        (
            {"p": np.float32([0.5, 0.7])},
            "differs from the trained model's by up to 0.2",
        ),
        ({"p": np.float32([0.5, np.nan])}, "differs from the trained model's by up to"),
    ],
)
def test_each_kind_of_difference_is_named(answers, sentence):
    (wrong,) = replay.replay(request(p=np.float32([0.5, 0.5])), lambda *_: answers)
    assert sentence in wrong


def test_rounding_is_no_difference():
    answers = {"p": np.float32([0.5, 0.500009])}
    assert replay.replay(request(p=np.float32([0.5, 0.5])), lambda *_: answers) == []


def test_large_numbers_may_differ_by_more():
    answers = {"p": np.float32([300.001, 0.002])}
    expected = request(p=np.float32([300, 0]))
    assert replay.replay(expected, lambda *_: answers) == []
    (wrong,) = replay.replay(expected, lambda *_: {"p": np.float32([300.1, 0])})
    assert "(at most 0.003)" in wrong


def test_a_pixel_may_be_rounded_in_another_way():
    expected = request(images=np.uint8([[100, 0]]))
    for pixels, sentences in (([[101, 0]], 0), ([[99, 1]], 0), ([[100, 2]], 1)):
        answers = {"images": np.uint8(pixels)}
        assert len(replay.replay(expected, lambda *_: answers)) == sentences  # noqa: B023


def test_a_large_request_is_asked_in_parts():
    """A server takes no request of any size."""
    images = np.arange(5 * 400_000, dtype=np.uint8).reshape(5, -1)
    files = np.array([bytes(700_000)] * 3, object)
    for name, values, parts in (("images", images, 3), ("files", files, 3)):
        sizes = []

        def ask(signature, inputs, name=name, sizes=sizes):
            sizes.append(len(inputs[name]))
            return {"first": np.array([len(row) for row in inputs[name]])}

        asked = {
            "signature": "s",
            "inputs": {name: replay.encode(values)},
            "outputs": {"first": replay.encode(np.array([len(row) for row in values]))},
        }
        assert replay.replay({"tolerance": 0, "requests": [asked]}, ask) == []
        assert sum(sizes) == len(values) and len(sizes) == parts


def test_few_large_images_are_asked_about():
    few = certificate._MOST_BYTES // (300 * 300 * 3)
    examples = np.random.default_rng(0).integers(0, 256, (30, 300, 300, 3), np.uint8)
    model = keras.Sequential(
        [keras.Input((300, 300, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    proof = certificate.certify(Classifier(model, examples), examples)
    asked = replay.decode(proof["requests"][0]["inputs"])["images"]
    assert len(asked) == few == 14


def test_labels_must_be_as_many_as_images():
    images, labels = examples()
    with pytest.raises(zoo.ZooError, match="as many as examples, 30. Received: 29"):
        certificate.certify(Classifier(build(), images), images, labels[1:])


def test_a_thousand_examples_are_enough_to_choose_from():
    images = np.zeros((5000, 8, 8, 1), np.uint8)
    classifier = Classifier(build(), images[:1])
    looked_at = []
    classifier.predict = lambda some: looked_at.append(len(some)) or np.eye(len(some))
    certificate.certify(classifier, images)
    assert looked_at == [certificate.MOST_LOOKED_AT] == [1000]


def test_16_bits_are_known_by_the_layers(tmp_path):
    """Of a model that was loaded the policy is the process's own."""
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        zoo.small_cnn((8, 8, 1), (4,), classes=3).save(tmp_path / "mixed.keras")
        keras.config.set_dtype_policy("float64")
        exact = build()
    finally:
        keras.config.set_dtype_policy(policy)
    mixed = keras.models.load_model(tmp_path / "mixed.keras")
    images, _ = examples()
    tolerances = [
        certificate.certify(Classifier(model, images), images)["tolerance"]
        for model in (mixed, exact, build())
    ]
    assert tolerances == [1e-2, 1e-5, 1e-5]


def test_strings_are_compared_exactly():
    names = np.array([b"coat", b"bag"], object)
    answers = {"n": np.array([b"coat", b"dress"], object)}
    (wrong,) = replay.replay(request(n=names), lambda *_: answers)
    assert "in 1 of 2; the first is b'dress', not b'bag'" in wrong


def test_an_image_is_encoded_without_loss():
    from PIL import Image

    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    png = certificate.png(image)
    assert base64.b64encode(png).startswith(b"iVBOR")  # as every PNG file begins
    import io

    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), image)
