import contextlib
import json
import shutil
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import ZooError
from zoo.export import (
    certificate,
    comparison,
    file_certificate,
    formats,
    replay,
    runtimes,
    versions,
)
from zoo.export.classifier import Classifier

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (64, 8, 8, 1), np.uint8)


def sharp(model):
    """Return the model, with answers far apart as those of a trained one."""
    for layer in model.layers[-1:]:
        layer.kernel.assign(layer.kernel * 20)
    return model


def cnn():
    keras.utils.set_random_seed(1)
    return sharp(zoo.small_cnn((8, 8, 1), (4,), classes=3))


def maxout():
    """Return a model of the zoo's own layers that returns logits."""
    keras.utils.set_random_seed(2)
    layer = keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            keras.layers.Flatten(),
            zoo.Maxout(8, 2),
            zoo.MyDenseLayer(3, activation=None),
        ]
    )
    return sharp(layer)


def certified(model):
    classifier = Classifier(model, IMAGES, ["a", "b", "c"])
    return classifier, certificate.certify(classifier, IMAGES)


@pytest.fixture(scope="module")
def model():
    return cnn()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Return the folders of a LiteRT and an ONNX version of the model."""
    folder = tmp_path_factory.mktemp("exported")
    classifier, proof = certified(model)
    return (
        formats.litert(classifier, folder / "litert" / "m", proof, IMAGES),
        formats.onnx(classifier, folder / "onnx" / "m", proof),
    )


@pytest.fixture
def litert(exported, tmp_path):
    """Return a copy to tamper with."""
    return versions.copy(exported[0], tmp_path)


def run_tflite(path, images):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    return interpreter.get_signature_runner()(images=images)["probabilities"]


def run_onnx(path, images):
    import onnxruntime

    (answer,) = onnxruntime.InferenceSession(path).run(None, {"images": images})
    return answer


@pytest.mark.parametrize("batch", [1, 5])
def test_the_float_files_take_raw_images_and_answer_as_the_model(
    batch, model, exported
):
    litert, onnx = exported
    expected = np.asarray(model(IMAGES[:batch]))
    for answers in (
        run_tflite(litert / "model.tflite", IMAGES[:batch]),
        run_onnx(onnx / "model.onnx", IMAGES[:batch]),
    ):
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_the_int8_file_computes_in_integers_between_the_same_ends(model, exported):
    from ai_edge_litert.interpreter import Interpreter

    path = exported[0] / "model_int8.tflite"
    answers = run_tflite(path, IMAGES)
    np.testing.assert_array_equal(answers * 256, np.round(answers * 256))
    assert np.mean(answers.argmax(1) == np.asarray(model(IMAGES)).argmax(1)) > 0.9
    interpreter = Interpreter(str(path))
    (images,), (output,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    assert (images["dtype"], output["dtype"]) == (np.uint8, np.float32)
    types = {detail["index"]: detail["dtype"] for detail in _tensors(interpreter)}
    inside = {
        operation["op_name"]: types[operation["inputs"][0]]
        for operation in interpreter._get_ops_details()
    }
    for name in ("CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX"):
        assert inside[name] is np.int8


def _tensors(interpreter):
    interpreter.allocate_tensors()
    return interpreter.get_tensor_details()


def test_what_is_written(exported):
    litert, onnx = exported
    assert litert.name == onnx.name == "1"
    assert sorted(path.name for path in litert.parent.iterdir()) == ["1"]
    assert {path.name for path in litert.iterdir()} == {
        "certificate.json",
        "model.tflite",
        "model_int8.tflite",
    }
    assert {path.name for path in onnx.iterdir()} == {"certificate.json", "model.onnx"}
    assert file_certificate.check(litert) == file_certificate.check(onnx) == []
    proof = json.loads((litert / "certificate.json").read_text())
    assert proof["class_names"] == ["a", "b", "c"]
    assert proof["tolerance"] == 1e-5
    assert 0.75 <= proof["int8"]["agreement"] <= 1
    assert 1 / 256 <= proof["int8"]["tolerance"] < 0.2


def test_the_batch_of_an_onnx_model_has_a_name(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported[1] / "model.onnx")
    (images,), (answers,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape) == ("images", ["batch", 8, 8, 1])
    assert (answers.name, answers.shape) == ("probabilities", ["batch", 3])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("build", [cnn, maxout])
def test_sixteen_bits_become_the_same_weights_in_float32(policy, build, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        trained = build()
        classifier, proof = certified(trained)
        litert = formats.litert(classifier, tmp_path / "litert", proof, IMAGES)
        onnx = formats.onnx(classifier, tmp_path / "onnx", proof)
    finally:
        keras.config.set_dtype_policy("float32")
    plain = build()
    plain.set_weights(trained.get_weights())
    expected = Classifier(plain, IMAGES).probabilities(IMAGES)
    answers = run_tflite(litert / "model.tflite", IMAGES)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    answers = run_onnx(onnx / "model.onnx", IMAGES)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert trained.layers[-2].compute_dtype == policy.removeprefix("mixed_")
    told = json.loads((litert / "certificate.json").read_text())["float32"]
    (request,) = (r for r in proof["requests"] if r["signature"] == "serving_default")
    images = replay.decode(request["inputs"])["images"]
    trained, plain = (
        np.asarray(Classifier(one, IMAGES).probabilities(images))
        for one in (trained, plain)
    )
    assert told["difference"] == pytest.approx(np.abs(trained - plain).max(), abs=1e-5)
    assert told["agreement"] == np.mean(trained.argmax(1) == plain.argmax(1))


def flip_a_byte(version):
    path = version / "model.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_a_file(version):
    (version / "model.tflite").unlink()


def remove_all_files(version):
    for path in version.glob("*.tflite"):
        path.unlink()


def forget_the_certificate(version):
    (version / "certificate.json").unlink()


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (flip_a_byte, "model.tflite is not the one that was exported"),
        (remove_a_file, "model.tflite is missing"),
        (remove_all_files, "holds no model that can be checked"),
        (forget_the_certificate, "has no certificate"),
    ],
)
def test_another_file_is_told_and_not_run(tamper, sentence, litert):
    tamper(litert)
    (wrong,) = file_certificate.check(litert)
    assert sentence in wrong


@pytest.mark.parametrize(
    ("name", "kind"), [("model.tflite", 0), ("model_int8.tflite", 0), ("model.onnx", 1)]
)
def test_other_answers_are_told_although_the_digest_fits(
    name, kind, exported, tmp_path
):
    """Two classes are swapped, and the certificate's digests are made to fit."""
    swapped = cnn()
    for variable in swapped.layers[-1].weights:
        variable.assign(variable.numpy()[..., [1, 0, 2]])
    classifier, proof = certified(swapped)
    version = versions.copy(exported[kind], tmp_path / "tampered")
    if kind == 0:
        other = formats.litert(classifier, tmp_path / "other", proof, IMAGES)
    else:
        other = formats.onnx(classifier, tmp_path / "other", proof)
    shutil.copy(other / name, version)
    path = version / "certificate.json"
    content = json.loads(path.read_text())
    content["files"] = file_certificate._digests(version)
    path.write_text(json.dumps(content))
    wrong = file_certificate.check(version)
    assert wrong[0].startswith(f"{name}: probabilities of serving_default differs")
    assert all(sentence.startswith(name) for sentence in wrong)


def test_a_file_that_cannot_be_run_is_told(exported, tmp_path):
    version = versions.copy(exported[1], tmp_path)
    (version / "model.onnx").write_bytes(b"no model")
    path = version / "certificate.json"
    content = json.loads(path.read_text())
    content["files"] = file_certificate._digests(version)
    path.write_text(json.dumps(content))
    (wrong,) = file_certificate.check(version)
    assert wrong.startswith("model.onnx: it cannot be asked")


def write_litert(classifier, folder, proof):
    formats.litert(classifier, folder, proof, IMAGES)


@pytest.mark.parametrize("write", [write_litert, formats.onnx])
def test_a_file_that_answers_otherwise_is_never_seen(write, tmp_path):
    """The model changes between being certified and being converted."""
    changed = cnn()
    classifier, proof = certified(changed)
    changed.layers[-1].bias.assign([0.0, 0.1, 0.0])
    with pytest.raises(ZooError, match="does not answer as the trained one"):
        write(classifier, tmp_path, proof)
    assert list(tmp_path.iterdir()) == []


@keras.saving.register_keras_serializable(package="test_formats")
class Inverse(keras.layers.Layer):
    """What neither LiteRT nor ONNX has: the inverse of a matrix."""

    def call(self, inputs):
        return tf.linalg.inv(inputs + 300 * tf.eye(8))


@pytest.mark.parametrize("write", [write_litert, formats.onnx])
def test_a_model_that_a_format_cannot_express_is_one_line(write, tmp_path, capfd):
    images = keras.Input((8, 8), dtype="uint8")
    x = Inverse()(keras.layers.Rescaling(1.0)(images))
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x))
    classifier = Classifier(keras.Model(images, x, name="inverse"), IMAGES[..., 0])
    proof = certificate.certify(classifier, IMAGES[..., 0])
    if write is write_litert:
        write = lambda *words: formats.litert(*words, IMAGES[..., 0])  # noqa: E731
    with pytest.raises(ZooError, match="inverse cannot be converted to") as error:
        write(classifier, tmp_path, proof)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_unlike_representative_images_are_told(model, tmp_path):
    """All layers' ranges come out far too small."""
    classifier, proof = certified(model)
    with pytest.raises(ZooError, match="must be like those it was trained on"):
        formats.litert(classifier, tmp_path, proof, np.full_like(IMAGES[:2], 127))
    assert list(tmp_path.iterdir()) == []


def test_representative_images_are_raw(model, tmp_path):
    classifier, proof = certified(model)
    with pytest.raises(ZooError, match="must be uint8"):
        formats.litert(classifier, tmp_path, proof, IMAGES / 255)


@pytest.mark.parametrize("module", ["onnxruntime", "tf2onnx"])
def test_a_missing_package_is_told_with_its_cure(
    module, model, exported, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    cure = rf"{module} is not installed.*pip install -e '\.\[onnx\]'"
    with pytest.raises(ZooError, match=cure):
        formats.onnx(*certified(model)[:1], tmp_path, {})
    if module == "tf2onnx":  # which checking does without
        assert file_certificate.check(exported[1]) == []
        return
    with pytest.raises(ZooError, match=cure):
        file_certificate.check(exported[1])


@pytest.fixture
def ctrl_c():
    """Have Ctrl-C mean what it does in a terminal, whoever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def swallow():
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def swallow_and_fail():
    swallow()
    raise RuntimeError("an error of the converter")


@pytest.mark.parametrize("convert", [swallow, swallow_and_fail])
def test_ctrl_c_ends_a_converter_that_swallows_it(convert, model, ctrl_c):
    with pytest.raises(KeyboardInterrupt), formats._converting(model, "LiteRT"):
        convert()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_converters_are_quiet(tmp_path, capfd):
    classifier, proof = certified(cnn())
    capfd.readouterr()
    formats.litert(classifier, tmp_path / "litert", proof, IMAGES)
    formats.onnx(classifier, tmp_path / "onnx", proof)
    assert capfd.readouterr() == ("", "")


def test_formats_are_compared_on_all_images(model, exported):
    labels = np.arange(64) % 3
    expected = np.asarray(model(IMAGES))
    int8 = run_tflite(exported[0] / "model_int8.tflite", IMAGES)
    rows = comparison.compare(Classifier(model, IMAGES), exported, IMAGES, labels)
    assert [row.format for row in rows] == [
        "trained model",
        "LiteRT float",
        "LiteRT int8",
        "ONNX",
    ]
    accuracy = np.mean(expected.argmax(1) == labels)
    assert rows[0] == comparison.Row("trained model", None, 1.0, 0.0, accuracy)
    assert rows[2] == comparison.Row(
        "LiteRT int8",
        (exported[0] / "model_int8.tflite").stat().st_size,
        np.mean(int8.argmax(1) == expected.argmax(1)),
        pytest.approx(np.abs(int8 - expected).max(), abs=1e-6),
        np.mean(int8.argmax(1) == labels),
    )
    assert rows[1].agreement == rows[3].agreement == 1
    assert max(rows[1].difference, rows[3].difference) < 1e-5


def test_what_is_compared_of_a_format_that_answers_otherwise(tmp_path, monkeypatch):
    """Of 300 images, more than a batch, every third is given to the other class."""
    images = np.arange(300).reshape(-1, 1, 1, 1).astype(np.uint16)
    file = tmp_path / "file"
    file.write_bytes(b"12345")

    class Trained:
        def probabilities(self, images):
            return np.tile(np.float32([0.75, 0.25]), (len(images), 1))

    def ask(signature, inputs):
        other = inputs["images"].ravel() % 3 == 0
        answers = np.where(other[:, None], np.float32([0.25, 0.75]), [0.75, 0.25])
        return {"probabilities": answers}

    fake = runtimes.Runtime("fake", file, lambda path: ask)
    monkeypatch.setattr(comparison, "of_version", lambda version: [fake])
    labels = (np.arange(300) % 3 == 0).astype(int)
    trained, row = comparison.compare(Trained(), [tmp_path], images, labels)
    assert row == comparison.Row("fake", 5, 2 / 3, 0.5, 1.0)
    assert trained.accuracy == 2 / 3


def test_the_table_of_formats():
    rows = [
        comparison.Row("trained model", None, 1.0, 0.0, 0.92134),
        comparison.Row("SavedModel", 1_234_500, 0.99995, 2.4e-6, None),
    ]
    assert comparison.table(rows).splitlines() == [
        "format               kB   same class  largest diff.  test accuracy",
        "trained model         -      100.00%        0.0e+00         92.13%",
        "SavedModel        1,234      100.00%        2.4e-06              -",
    ]


def test_what_a_folder_holds_is_told_by_its_files(exported, tmp_path):
    found = [runtime.format for runtime in runtimes.of_version(exported[0])]
    assert found == ["LiteRT float", "LiteRT int8"]
    assert runtimes.of_version(tmp_path) == []
    (tmp_path / "saved_model.pb").touch()
    (found,) = runtimes.of_version(tmp_path)
    assert (found.format, found.path) == ("SavedModel", tmp_path)
