"""The main job: from the command to the record and the SavedModel."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import ROOT, run_python
from tests.recipes.image_models import CLAIM
from zoo import ZooError, data
from zoo.recipes import fashion_mnist
from zoo.training import options

# What each model must reach on the whole set; the claims are means over seeds.
LEAST = {"cnn": 0.92, "mlp": 0.895, "my-dense": 0.895, "tiny": 0.90}
LEAST |= {"mlp-bn": 0.90, "resnet10k": 0.915, "resnet100k": 0.93}
QUICK = "cnn", "mlp"  # the others are trained with `pytest -m full`


def run(*words, tmp_path):
    """Run the recipe in this process; return its metrics."""
    places = [
        "--runs-dir",
        f"{tmp_path}/runs",
        "--saved-models-dir",
        f"{tmp_path}/saved",
    ]
    return fashion_mnist.main([*map(str, words), *places])


@pytest.mark.parametrize("model", ["cnn", "my-dense", "mlp-bn", "resnet10k"])
def test_a_short_run_leaves_everything(
    model, only_the_sample, few_points, tmp_path, capsys
):
    metrics = run("--model", model, "--limit", 300, "--epochs", 1, tmp_path=tmp_path)
    shown = capsys.readouterr()

    (path,) = (tmp_path / "runs" / "fashion_mnist").iterdir()
    recorded = json.loads((path / "metrics.json").read_text())
    assert set(recorded) >= set(
        "recipe model seed parameters epochs train_seconds images_per_second "
        "validation_accuracy test_accuracy test_loss data command saved_model".split()
    )
    assert recorded == json.loads(json.dumps(metrics, default=str))
    assert set(recorded["data"]) == set(
        "name source train validation test digest".split()
    )
    assert recorded["data"]["train"] == 270 and recorded["data"]["test"] == 1000
    assert recorded["data"]["source"].startswith("SAMPLE")
    assert recorded["model"] == model and recorded["epochs"] == 1
    config = json.loads((path / "config.json").read_text())
    assert config["limit"] == 300 and config["epochs"] == 1
    for name in ("environment.json", "history.csv", "model.keras", "tensorboard"):
        assert (path / name).exists()

    version = tmp_path / "saved" / f"fashion_mnist_{model}" / "1"
    assert recorded["saved_model"] == str(version)
    x = data.load("fashion_mnist").test.x[:20]
    reloaded = tf.saved_model.load(version)
    answers = reloaded.signatures["serving_default"](images=tf.constant(x))
    served = answers["probabilities"]
    loaded = keras.models.load_model(path / "model.keras")
    np.testing.assert_allclose(served, loaded.predict(x, verbose=0), atol=1e-5)
    assert loaded.count_params() == recorded["parameters"]

    for part in ("SAMPLE", "val_accuracy: ", "test accuracy", str(path), str(version)):
        assert part in shown.out
    assert metrics["command"] in shown.out
    assert "WARNING" in shown.err  # the sample is announced


def test_versions_grow_and_the_options_reach_the_training(
    only_the_sample, few_points, tmp_path, capsys
):
    words = ["--model", "tiny", "--limit", 300, "--epochs", 1, "--widths", 4, 6]
    run(*words, tmp_path=tmp_path)
    more = ["--flip", "--shift", 2, "--erase", 5, "--dropout", 0.1, "--summary"]
    metrics = run(*words, *more, tmp_path=tmp_path)
    assert Path(metrics["saved_model"]).name == "2"
    # 9·4 + 4·4; 9·4·6 + 4·6; 7·7·6·10 + 10
    assert metrics["parameters"] == 36 + 16 + 216 + 24 + 2950
    shown = capsys.readouterr().out
    assert "conv_2 (Conv2D)" in shown and "dropout (Dropout)" in shown
    for option in ("--flip", "--shift 2", "--erase 5", "--widths 4 6"):
        assert option in metrics["command"]


def test_augmentation_changes_the_training_images(only_the_sample):
    recipe = fashion_mnist.NAME, fashion_mnist.PRESETS
    seen = set()
    for option in ("", "--flip", "--shift 2", "--erase 9"):
        words = f"--model tiny --limit 300 {option}".split()
        config = options.parse_recipe(*recipe, words, fashion_mnist.__doc__)
        batches = fashion_mnist.training_data(config, fashion_mnist.load(config))
        x, y = next(batches.as_numpy_iterator())
        seen.add(x.tobytes())
    assert len(seen) == 4


def test_the_same_seed_gives_the_same_numbers(whole_fashion_mnist, tmp_path):
    """In fresh processes, to the last digit; another seed gives others."""
    words = ["-m", "zoo.recipes.fashion_mnist", "--limit", "1000", "--epochs", "2"]
    words += ["--data-dir", str(whole_fashion_mnist), "--seed"]
    results = []
    for number in "ab":
        folder = tmp_path / number
        folder.mkdir()
        done = run_python(*words, "1", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # quiet by default
        (path,) = folder.glob("runs/fashion_mnist/*/metrics.json")
        metrics = json.loads(path.read_text())
        results.append((metrics["test_accuracy"], metrics["test_loss"]))
        assert metrics["data"]["train"] == 900 and metrics["data"]["test"] == 10_000
    assert results[0] == results[1]
    other = run(*words[2:], 2, tmp_path=tmp_path / "c")
    assert (other["test_accuracy"], other["test_loss"]) not in results


def test_ctrl_c_keeps_what_is_there(whole_fashion_mnist, tmp_path):
    words = [
        "--model",
        "mlp",
        "--epochs",
        "500",
        "--data-dir",
        str(whole_fashion_mnist),
    ]
    code = (  # a job in the background is born ignoring Ctrl-C
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from zoo import console; from zoo.recipes import fashion_mnist\n"
        "console.command_line(fashion_mnist.main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    shown = ""
    for line in process.stdout:
        shown += line
        if "Epoch 3/500" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "Interrupted after" in errors
    (path,) = (tmp_path / "runs" / "fashion_mnist").iterdir()
    metrics = json.loads((path / "metrics.json").read_text())
    assert metrics["status"] == "interrupted" and metrics["epochs"] >= 2
    assert metrics["validation_accuracy"] > 0.7
    assert len((path / "history.csv").read_text().splitlines()) == metrics["epochs"] + 1
    model = keras.models.load_model(path / "model.keras")
    splits = data.load("fashion_mnist", data_dir=whole_fashion_mnist)
    _, accuracy = model.evaluate(*splits.validation, batch_size=500, verbose=0)
    assert accuracy == pytest.approx(metrics["validation_accuracy"], abs=1e-6)
    assert list((tmp_path / "saved_models" / "fashion_mnist_mlp").iterdir()) == []


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("--saved-models-dir", "file/x", "cannot write in .*--saved-models-dir"),
        ("--shift", "28", "shift must be .*below 28"),
        ("--erase", "28", "erase must be .*below 28"),
    ],
)
def test_what_cannot_work_is_found_before_there_is_a_run(
    option, value, message, only_the_sample, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match=message):
        fashion_mnist.main([option, value])
    assert not (tmp_path / "runs").exists()  # for --resume latest to find


def test_a_learning_rate_that_is_too_high_is_reported(
    only_the_sample, few_points, tmp_path
):
    words = ["--model", "mlp", "--limit", 300, "--learning-rate", 1e30]
    with pytest.raises(ZooError, match="lower --learning-rate"):
        run(*words, tmp_path=tmp_path)


def test_a_failing_export_loses_nothing(
    only_the_sample, few_points, tmp_path, monkeypatch
):
    def broken(*args, **kwargs):
        raise ZooError("the exported model's answers differ")

    monkeypatch.setattr(fashion_mnist.export, "saved_model", broken)
    with pytest.raises(ZooError, match="answers differ"):
        run("--model", "tiny", "--limit", 300, "--epochs", 1, tmp_path=tmp_path)
    (path,) = tmp_path.glob("runs/fashion_mnist/*/metrics.json")
    recorded = json.loads(path.read_text())
    assert recorded["status"] == "trained" and recorded["saved_model"] is None
    assert 0 < recorded["test_accuracy"] < 1


def test_importing_does_nothing_and_defines_no_keras_class():
    code = (
        "import sys; from zoo.recipes import fashion_mnist as recipe\n"
        "assert 'keras' not in sys.modules\n"
        "print([n for n, v in vars(recipe).items() if isinstance(v, type)\n"
        "       and v.__module__ == recipe.__name__])"
    )
    assert run_python("-c", code).stdout == "['Config']\n"


def claims():
    """Return the docstring's table: model -> (parameters, accuracy, spread)."""
    rows = CLAIM.findall(fashion_mnist.__doc__)
    return {
        model: (
            int(parameters.replace(",", "")),
            float(mean) / 100,
            float(spread) / 100,
        )
        for model, parameters, mean, spread, _ in rows
    }


def test_the_claims_are_complete_and_their_parameters_true():
    assert set(claims()) == set(fashion_mnist.PRESETS)
    for model, (parameters, mean, _) in claims().items():
        built = fashion_mnist.build(fashion_mnist.PRESETS[model])
        assert built.count_params() == parameters
        assert mean >= LEAST[model]
    assert abs(claims()["my-dense"][1] - claims()["mlp"][1]) <= 0.003
    for model, most in (
        ("cnn", 100),
        ("tiny", 10),
        ("resnet10k", 10),
        ("resnet100k", 100),
    ):
        assert claims()[model][0] < 1000 * most


def test_the_card_says_what_the_claim_says():
    card = (ROOT / "zoo" / "recipes" / "README.md").read_text()
    readme = (ROOT / "README.md").read_text()
    for model, parameters, mean, spread, seconds in CLAIM.findall(
        fashion_mnist.__doc__
    ):
        row = rf"\| `{model}` \| {parameters} \| {mean} ± {spread} % \| {seconds} s \|"
        assert re.search(row, card), row
        assert re.search(row, readme), row


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=[pytest.mark.full] * (model not in QUICK))
        for model in fashion_mnist.PRESETS
    ],
)
def test_at_full_size_the_claim_holds(model, whole_fashion_mnist, tmp_path):
    """One training on all images; its accuracy is within four spreads of the claim."""
    words = ["--model", model, "--data-dir", whole_fashion_mnist]
    metrics = run(*words, tmp_path=tmp_path)
    _, mean, spread = claims()[model]
    assert metrics["data"]["train"] == 54_000
    assert abs(metrics["test_accuracy"] - mean) <= max(4 * spread, 0.004)
