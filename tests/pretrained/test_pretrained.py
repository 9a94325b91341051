"""Runs become pretrained models, which load, predict and are verified."""

import hashlib
import json
import shlex
import shutil
import statistics

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import zoo
from tests.conftest import ROOT, no_source, run_python
from tests.test_cli import call
from zoo import ZooError, data, pretrained, recipes
from zoo.accuracy import accuracy, moved
from zoo.export.classifier import Classifier
from zoo.pretrained import cards, measuring, predict
from zoo.recipes import fashion_mnist
from zoo.training import options

SHIPPED = pretrained.list_models()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the directories of five runs, alike but for seed and accuracies."""
    folder = tmp_path_factory.mktemp("runs")
    with no_source(folder / "data"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.report.evaluation._MOST_POINTS", 40)
        words = ["--model", "tiny", "--limit", "300", "--epochs", "1", "--flip"]
        places = ["--runs-dir", str(folder), "--saved-models-dir", str(folder / "s")]
        fashion_mnist.main([*words, *places])
    (first,) = (folder / "fashion_mnist").iterdir()
    paths = [first]
    for seed in range(1, 5):
        path = first.with_name(f"another-seed{seed}")
        shutil.copytree(first, path)
        change(path / "config.json", seed=seed)
        # The best on validation is not the best on test.
        validation, test = 0.5 if seed == 2 else 0.4, seed / 10
        change(
            path / "metrics.json",
            seed=seed,
            validation_accuracy=validation,
            test_accuracy=test,
        )
        paths.append(path)
    change(first / "metrics.json", validation_accuracy=0.4, test_accuracy=0.0)
    return paths


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="module")
def shipped(runs, tmp_path_factory):
    """Return the folder that those runs were shipped to."""
    folder = tmp_path_factory.mktemp("shipped")
    with no_source(folder / "data"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "ROUNDS", 1)
        with pytest.raises(SystemExit) as ended:
            zoo_ship(reversed(runs), folder)
    assert ended.value.code == 0
    return folder


def zoo_ship(runs, folder):
    from zoo import cli

    cli.main(["ship", *map(str, runs), "--output-dir", str(folder)])


@pytest.fixture
def folder(shipped, tmp_path, monkeypatch):
    """Have the shipped model in place of the package's; return its folder."""
    path = shutil.copytree(shipped, tmp_path / "pretrained")
    monkeypatch.setattr(pretrained, "FOLDER", path)
    return path


def test_what_is_shipped(runs, shipped):
    known = json.loads((shipped / "fashion_mnist_tiny.json").read_text())
    assert known["training"]["seed"] == 2  # best on validation, though not on test
    assert known["training"]["seeds"] == [0, 1, 2, 3, 4]  # whatever was named first
    assert known["training"]["test_accuracies"] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert known["training"]["command"] == (
        "python -m zoo.recipes.fashion_mnist --model tiny --epochs 1 --flip --seed 2 "
        "--limit 300"
    )
    content = (shipped / "fashion_mnist_tiny.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() == known["sha256"]
    assert known["bytes"] == len(content)
    content = (shipped / "fashion_mnist_tiny.tflite").read_bytes()
    assert hashlib.sha256(content).hexdigest() == known["litert"]["sha256"]
    assert len(content) < known["bytes"]  # 16 bits a weight
    card = (shipped / "fashion_mnist_tiny.md").read_text()
    for part in (
        "accuracy of the recipe, mean ± sd over 5 seeds | 20.00 ± 15.81 %",
        f"accuracy of these weights | {100 * known['measured']['accuracy']:.2f} %",
        "| Ankle boot | ",
        "moved by 4 pixels, mean of four directions",
        "license: apache-2.0",
        known["data"]["digest"],
    ):
        assert part in card, part


def test_flops_are_two_for_a_multiplication_with_addition():
    model = zoo.small_cnn((8, 8, 1), (4,), classes=3)
    counted = measuring.size(model)["flops"]
    products = 2 * 8 * 8 * 9 * 4 + 2 * 4 * 4 * 4 * 3
    assert products <= counted < 1.5 * products  # and normalization, activation


def test_load(runs, folder):
    trained = keras.models.load_model(runs[2] / "model.keras")
    x = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    model = pretrained.load("fashion_mnist_tiny")
    assert type(model) is type(trained) and model.name == "fashion_mnist_tiny"
    np.testing.assert_allclose(model(x), trained(x), rtol=1e-6)

    features = pretrained.load("fashion_mnist_tiny", include_top=False)
    kernel, bias = model.get_layer("predictions").get_weights()
    probabilities = keras.ops.softmax(features(x) @ kernel + bias)
    np.testing.assert_allclose(model(x), probabilities, rtol=1e-4, atol=1e-6)

    other = pretrained.load("fashion_mnist_tiny", classes=3)
    assert other.output_shape == (None, 3)
    np.testing.assert_allclose(other(x).numpy().sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(
        other.get_layer("conv_1").kernel, model.get_layer("conv_1").kernel
    )


def test_fine_tuning_changes_all_layers(folder, images):
    model = pretrained.load("fashion_mnist_tiny", classes=3)
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_layer("conv_1").kernel.numpy()
    x = np.zeros((12, 28, 28, 1), np.uint8)
    x[:, :8, :8] = images[0]
    model.fit(x, images[1], verbose=0)
    assert np.abs(model.get_layer("conv_1").kernel.numpy() - before).max() > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "fashion_mnist_tin"}, "Did you mean 'fashion_mnist_tiny'?"),
        ({"classes": 0}, "classes must be a positive integer"),
        ({"classes": 3, "include_top": False}, "classes is for a model with its"),
    ],
)
def test_bad_arguments(arguments, message, folder):
    with pytest.raises(ZooError) as caught:
        pretrained.load(**{"name": "fashion_mnist_tiny"} | arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_or_missing_weights_are_refused(folder):
    path = folder / "fashion_mnist_tiny.npz"
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    with pytest.raises(ZooError, match="is damaged .*: install zoo again"):
        pretrained.load("fashion_mnist_tiny")
    path.unlink()
    with pytest.raises(ZooError, match="cannot be read .*: install zoo again"):
        pretrained.load("fashion_mnist_tiny")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda paths: paths.pop(), "needs 5 finished runs or more"),
        (lambda paths: paths.append(paths[0]), "have the same seed"),
        (
            lambda paths: change(paths[1] / "config.json", learning_rate=0.5),
            "has other options or data",
        ),
        (
            lambda paths: change(paths[1] / "metrics.json", status="trained"),
            "is not complete: finish it or leave it out",
        ),
    ],
)
def test_runs_that_cannot_be_shipped(spoil, message, runs, tmp_path, capsys):
    folder = tmp_path / "fashion_mnist"  # which names the recipe
    paths = [shutil.copytree(run, folder / run.name) for run in runs]
    spoil(paths)
    output = tmp_path / "output"
    words = [*map(str, paths), "--output-dir", str(output)]
    code, _, err = call(capsys, "ship", *words)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not output.exists()


def test_a_model_with_a_layer_of_its_own_cannot_be_shipped(
    runs, only_the_sample, tmp_path, capsys
):
    folder = tmp_path / "fashion_mnist"
    paths = [shutil.copytree(run, folder / run.name) for run in runs]
    for path in paths:
        change(path / "config.json", model="my-dense", widths=[8])
    words = [*map(str, paths), "--output-dir", str(tmp_path / "output")]
    code, _, err = call(capsys, "ship", *words)
    assert code == 2 and "has a layer of its own (MyDenseLayer)" in err
    assert not list((tmp_path / "output").iterdir())


def test_verify(folder, only_the_sample, capsys):
    code, out, _ = call(capsys, "verify", "fashion_mnist_tiny")
    assert code == 0 and "1 of 1 models hold" in out and "DIFFERS" not in out
    for part in ("accuracy", "class Sandal", "moved by 2 pixels", "with noise of 25"):
        assert part in out
    assert "of the LiteRT file" in out


@pytest.mark.parametrize(
    "key, value, what",
    [
        ("accuracy", 0.99, "accuracy"),
        ("calibration_error", 0.99, "calibration error"),
        ("accuracy_of_class", [0.99] * 10, "class Bag"),
        ("accuracy_flipped_too", 0.99, "with the mirror image"),
        ("litert", None, "of the LiteRT file"),
        ("accuracy_shifted", {"1": 0.99, "2": 0.99, "4": 0.99}, "moved by 1 pixels"),
        ("accuracy_with_noise", dict.fromkeys(("10", "25", "50"), 0.99), "noise of 50"),
    ],
)
def test_verify_finds_a_card_that_is_wrong(
    key, value, what, folder, only_the_sample, capsys
):
    path = folder / "fashion_mnist_tiny.json"
    known = json.loads(path.read_text())
    if key == "litert":
        known["litert"]["accuracy"] = 0.99
    else:
        known["measured"][key] = value
    path.write_text(json.dumps(known))
    code, out, err = call(capsys, "verify", "--all")
    assert code == 2 and "0 of 1 models hold" in out
    (line,) = (line for line in out.splitlines() if f"{what} " in line)
    assert "card  99.00%" in line and "DIFFERS" in line
    assert "the card's numbers do not hold: fashion_mnist_tiny." in err


def test_verify_needs_the_data_of_the_card(folder, only_the_sample, capsys):
    path = folder / "fashion_mnist_tiny.json"
    known = json.loads(path.read_text())
    known["data"]["digest"] = "0" * 64
    path.write_text(json.dumps(known))
    code, _, err = call(capsys, "verify", "fashion_mnist_tiny")
    assert code == 2 and "not here as the model was measured" in err
    assert "error: not measured: fashion_mnist_tiny." in err
    assert "do not hold" not in err


@pytest.mark.parametrize("told, holds", [([0.0, 0.4], True), ([0.9, 0.902], False)])
def test_verify_by_training_again(
    told, holds, folder, only_the_sample, few_points, capsys
):
    path = folder / "fashion_mnist_tiny.json"
    known = json.loads(path.read_text())
    known["training"]["test_accuracies"] = told
    path.write_text(json.dumps(known))
    words = ["verify", "fashion_mnist_tiny", "--retrain", "--seeds", "1"]
    code, out, _ = call(capsys, *words)
    assert code == (0 if holds else 2) and "seed 5: " in out  # those of the card: 0-4
    assert ("DOES NOT HOLD" in out) != holds


@pytest.mark.parametrize(
    "words", [[], ["--all", "--course"], ["fashion_mnist_tiny", "--course"]]
)
def test_verify_asks_what(words, capsys):
    code, _, err = call(capsys, "verify", *words)
    assert code == 2 and "needs to know what: zoo verify NAME, --all" in err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--all", "--quick"], "--rows and --quick are for zoo verify --course"),
        (["--all", "--rows", "3"], "--rows and --quick are for zoo verify --course"),
        (["--course", "--retrain"], "--retrain is for pretrained models"),
        (["no_such_model"], "model must be one of"),
        (["--all", "--retrain", "--seeds", "0"], "--seeds must be a positive integer"),
    ],
)
def test_what_verify_refuses(words, message, folder, capsys):
    code, out, err = call(capsys, "verify", *words)
    assert code == 2 and message in err and err.count("\n") == 1 and not out


def picture(path, mode="L", size=(28, 28)):
    rng = np.random.default_rng(0)
    if mode == "I;16":
        Image.fromarray(rng.integers(0, 2**16, size[::-1], np.uint16)).save(path)
        return path
    shape = (*size[::-1], len(mode)) if len(mode) > 1 else size[::-1]
    Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode).save(path)
    return path


def test_predict(folder, tmp_path, capsys):
    path = picture(tmp_path / "noise.png")
    pixels = np.asarray(Image.open(path))[None, ..., None]
    expected = pretrained.load("fashion_mnist_tiny")(pixels).numpy()[0]
    names = pretrained.class_names("fashion_mnist_tiny")
    words = ["predict", str(path), "--model", "fashion_mnist_tiny", "--top", "2"]
    code, out, _ = call(capsys, *words)
    assert code == 0
    first, *lines = out.splitlines()
    assert first == str(path) and len(lines) == 2
    for line, index in zip(lines, (-expected).argsort(), strict=False):
        percent, name = line.split(maxsplit=1)
        assert name == names[index]
        assert abs(float(percent[:-1]) / 100 - expected[index]) < 0.005


def test_predict_does_without_tensorflow(tmp_path):
    """Importing it takes seconds."""
    picture(tmp_path / "noise.png")
    code = (
        "import sys; from zoo import cli\n"
        "try: cli.main(['predict', 'noise.png'])\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert not {'tensorflow', 'keras', 'jax'} & set(sys.modules)\n"
    )
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "%" in done.stdout


def test_a_damaged_litert_file_is_refused(folder, images):
    path = folder / "fashion_mnist_tiny.tflite"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ZooError, match="is damaged .*: install zoo again"):
        pretrained.probabilities("fashion_mnist_tiny", np.zeros((1, 28, 28, 1), "u1"))


def test_predict_draws_what_the_model_sees(folder, tmp_path, capsys):
    path = tmp_path / "half.png"
    pixels = np.zeros((28, 28), np.uint8)
    pixels[14:] = 255
    Image.fromarray(pixels).save(path)
    words = ["predict", str(path), "--model", "fashion_mnist_tiny", "--show"]
    _, out, _ = call(capsys, *words)
    drawn = out.splitlines()[1:29]
    assert drawn == ["  " + 56 * " "] * 14 + ["  " + 56 * "@"] * 14


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_an_image_of_another_kind_is_made_fit(mode, tmp_path):
    path = picture(tmp_path / "image.png", mode, (40, 30))
    for channels in (1, 3):
        seen = predict.read(path, (28, 28, channels))
        assert seen.shape == (28, 28, channels) and seen.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(28, 28), (60, 45)])
def test_an_image_is_prepared_as_an_exported_model_does_it(mode, size, tmp_path):
    path = picture(tmp_path / "image.png", mode, size)
    model = zoo.load("fashion_mnist_cnn")
    classifier = Classifier(model, np.zeros((2, 28, 28, 1), np.uint8))
    (expected,) = classifier.decode(tf.constant([path.read_bytes()])).numpy()
    seen = predict.read(path, (28, 28, 1))
    assert np.abs(seen.astype(int) - expected).max() <= 1


def test_transparent_pixels_become_black(tmp_path):
    clear = np.full((28, 28, 4), 255, np.uint8)
    clear[..., 3] = 0
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert predict.read(tmp_path / "clear.png", (28, 28, 1)).max() == 0


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "needs image files"),
        (["none.png"], "none.png cannot be read as an image: No such file"),
        (["text.png"], "text.png cannot be read as an image: it is not an image"),
        (["huge.png"], "huge.png has more than 1,000 pixels: make it smaller"),
        (["float.tiff"], "float.tiff has pixels of 32 bits: save it with 8 bits"),
        (["good.png", "--top", "0"], "--top must be a positive integer"),
        (["good.png", "--model", "fashion_mnist_tny"], "Did you mean"),
    ],
)
def test_what_cannot_be_predicted(
    words, message, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (tmp_path / "text.png").write_text("no image")
    picture(tmp_path / "huge.png", size=(50, 30))
    Image.fromarray(np.zeros((28, 28), np.float32)).save(tmp_path / "float.tiff")
    picture(tmp_path / "good.png")
    words = [str(tmp_path / w) if "." in w else w for w in words]
    if "--model" not in words:
        words += ["--model", "fashion_mnist_tiny"]
    code, out, err = call(capsys, "predict", *words)
    assert code == 2 and message in err and err.count("\n") == 1 and not out


def test_shifted_images_are_moved_and_filled_with_zeros():
    image = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    down = moved(image, 1, 0)[0, ..., 0]
    assert down.tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    left = moved(image, 0, -2)[0, ..., 0]
    assert left.tolist() == [[3, 0, 0], [6, 0, 0], [9, 0, 0]]


def test_noise_has_the_spread_that_it_says():
    grey = np.full((20, 28, 28, 1), 128, np.uint8)
    noisy = measuring.noisy(grey, 25).astype(float)
    assert abs(noisy.std() - 25) < 0.5 and abs(noisy.mean() - 128) < 0.5
    np.testing.assert_array_equal(noisy, measuring.noisy(grey, 25))


def test_list_models(folder, capsys):
    code, out, _ = call(capsys, "list", "--models")
    assert code == 0 and "fashion_mnist_tiny" in out and "20.00 ± 15.81 %" in out


# What ships in the package.


def test_the_package_ships_models_of_12_mb_at_most():
    assert "fashion_mnist_cnn" in SHIPPED
    files = [*pretrained.FOLDER.glob("*.npz"), *pretrained.FOLDER.glob("*.tflite")]
    assert sorted(path.stem for path in files) == sorted(2 * SHIPPED)
    assert sum(path.stat().st_size for path in files) <= 12_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model(name):
    known = pretrained.facts(name)
    model = zoo.load(name)
    assert model.count_params() == known["parameters"] == measured_by(model)
    assert len(known["training"]["seeds"]) >= 5
    card = (pretrained.FOLDER / f"{name}.md").read_text()
    assert card == cards.card(known)  # made by the command, not by hand
    # The command still means the training that the card tells of.
    recipe = recipes.module(known["recipe"])
    words = shlex.split(known["training"]["command"])[3:]
    asked = options.parse_recipe(recipe.NAME, recipe.PRESETS, words, recipe.__doc__)
    assert asked.epochs == known["training"]["epochs"]
    builder, arguments = json.loads(json.dumps(recipe.architecture(asked)))
    expected = known["builder"], known["arguments"]
    assert (builder, arguments | {"name": name}) == expected
    shape = (8, *known["arguments"]["input_shape"])
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_allclose(pretrained.probabilities(name, x), model(x), atol=0.01)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_readme_says_what_was_measured(name):
    known = pretrained.facts(name)
    accuracies = known["training"]["test_accuracies"]
    mean, spread = statistics.fmean(accuracies), statistics.stdev(accuracies)
    row = (
        f"| `{name}` | {known['parameters']:,} | {100 * mean:.2f} ± "
        f"{100 * spread:.2f} % | {known['bytes'] / 1000:,.0f} kB |"
    )
    assert row in (ROOT / "README.md").read_text(), row


def measured_by(model):
    return sum(int(np.prod(weight.shape)) for weight in model.weights)


@pytest.mark.parametrize("name", [n for n in SHIPPED if n.startswith("fashion_mnist")])
def test_the_card_s_accuracy_on_the_whole_test_set(name, whole_fashion_mnist):
    test = data.load("fashion_mnist", data_dir=whole_fashion_mnist).test
    told = pretrained.facts(name)["measured"]["accuracy"]
    found = accuracy(zoo.load(name), test)
    assert abs(found - told) <= 0.0005
    quick = pretrained.probabilities(name, test.x).argmax(1) == test.y
    assert abs(quick.mean() - pretrained.facts(name)["litert"]["accuracy"]) <= 0.0005


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 28, 28, 1)),
        np.zeros((1, 28, 28), np.uint8),
        np.zeros((0, 28, 28, 1), np.uint8),
    ],
)
def test_what_litert_is_asked_is_raw_images(images):
    with pytest.raises(ZooError, match=r"must be uint8 \(n, 28, 28, 1\)"):
        pretrained.probabilities("fashion_mnist_cnn", images)


def test_on_jax_the_answers_are_the_same(tmp_path):
    code = (
        "import sys, numpy as np, zoo, keras\n"
        "x = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)\n"
        "model = zoo.load('fashion_mnist_cnn')\n"
        "assert keras.backend.backend() == 'jax' and 'tensorflow' not in sys.modules\n"
        "np.save('answers.npy', np.array(model(x)))\n"
    )
    pytest.importorskip("jax")
    done = run_python("-c", code, cwd=tmp_path, env={"KERAS_BACKEND": "jax"})
    assert done.returncode == 0, done.stderr
    x = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    np.testing.assert_allclose(
        np.load(tmp_path / "answers.npy"), zoo.load("fashion_mnist_cnn")(x), atol=1e-5
    )


@pytest.mark.parametrize(
    "name", ["cifar10_resnet100k", "fashion_mnist_cnn", "fashion_mnist_resnet100k"]
)
def test_the_exported_model_of_the_checkout_is_the_pretrained_one(name, capsys):
    version = ROOT / "saved_models" / name / "1"
    assert call(capsys, "check-export", str(version))[0] == 0
    certified = json.loads((version / "assets.extra" / "certificate.json").read_text())
    known = pretrained.facts(name)
    assert certified["command"] == known["training"]["command"]
    assert certified["data"]["digest"] == known["data"]["digest"]
    shape = (4, *known["arguments"]["input_shape"])
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    expected = zoo.load(name)(x)
    found = served(images=tf.constant(x))["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
