import json

import numpy as np
import pytest
import tensorflow as tf

import zoo
from tests.conftest import no_source
from zoo import ZooError, console, export, recipes
from zoo.export import replay
from zoo.export.check import CheckExport
from zoo.export.export import Export
from zoo.training import options


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the directory of a short run on the sample; the sample stays."""
    folder = tmp_path_factory.mktemp("run")
    with no_source(folder / "data"), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("zoo.report.evaluation._MOST_POINTS", 40)
        recipe = recipes.module("fashion_mnist")
        words = "--model tiny --epochs 1 --limit 300 --widths 4".split()
        recipe.main(words)
        (path,) = (folder / "runs" / "fashion_mnist").iterdir()
        yield path


def test_a_run_in_all_formats_side_by_side(run, tmp_path, capsys):
    formats = ("saved_model", "litert", "onnx")
    Export(run, format=formats, output_dir=tmp_path)()
    out = capsys.readouterr().out
    rows = {line[:14].strip(): line[14:].split() for line in out.splitlines()}
    metrics = json.loads((run / "metrics.json").read_text())
    accuracy = f"{metrics['test_accuracy']:.2%}"
    for name in ("trained model", "SavedModel", "LiteRT float", "ONNX"):
        assert (rows[name][1], rows[name][3]) == ("100.00%", accuracy)
        assert float(rows[name][2]) < 1e-5
    assert float(rows["LiteRT int8"][1].rstrip("%")) > 90
    assert "On all 1,000 test images:" in out
    for folder in ("saved_models", "litert_models", "onnx_models"):
        version = tmp_path / folder / "fashion_mnist_tiny" / "1"
        assert f"zoo check-export {version}\n" in out
        assert CheckExport(tmp_path / folder)() == 0


def test_what_a_run_exports_itself_is_certified(run, capsys):
    metrics = json.loads((run / "metrics.json").read_text())
    version = run.parents[2] / metrics["saved_model"]
    certificate = replay.read(version)
    assert certificate["command"] == metrics["command"]
    del metrics["data"]["source"]  # a path of this machine
    assert certificate["data"] == metrics["data"]
    accuracy = {"test": metrics["test_accuracy"], "images": 1000}
    assert certificate["accuracy"] == accuracy
    assert certificate["class_names"][9] == "Ankle boot"
    assert CheckExport(version)() == 0


def test_a_certificate_names_no_folder_of_the_machine_that_trained():
    places = "--data-dir '/a b' --mirror /m --runs-dir /r --saved-models-dir /s"
    command = "python -m zoo.recipes.fashion_mnist --model tiny"
    data = {"name": "fashion_mnist", "source": "/a b", "test": 10_000}
    facts = export.facts(
        {
            "command": f"{command} {places} --seed 1",
            "data": data,
            "test_accuracy": 0.9,
        }
    )
    assert facts["command"] == f"{command} --seed 1"


def test_a_file_with_its_data_set_is_measured(run, tmp_path, capsys):
    Export(run / "model.keras", data="fashion_mnist", output_dir=tmp_path)()
    certificate = replay.read(tmp_path / "saved_models" / "model" / "1")
    metrics = json.loads((run / "metrics.json").read_text())
    expected = metrics["test_accuracy"]
    assert certificate["accuracy"]["test"] == pytest.approx(expected, abs=1e-6)
    assert certificate["class_names"][0] == "T-shirt/top"
    assert certificate["command"] is None


def test_a_file_alone_is_asked_about_noise(tmp_path, capsys):
    model = zoo.mlp((8, 8, 1), (4,), classes=3)
    model.save(tmp_path / "small.keras")
    Export(tmp_path / "small.keras", name="mine", output_dir=tmp_path)()
    version = tmp_path / "saved_models" / "mine" / "1"
    certificate = replay.read(version)
    assert certificate["class_names"] == ["0", "1", "2"]
    assert certificate["accuracy"] is certificate["data"] is None
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    served = tf.saved_model.load(version).signatures["serving_default"]
    got = served(images=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(got, model(images), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../x"}, "--name must be letters, digits, - and _"),
        ({"name": ""}, "--name must be letters, digits, - and _"),
        ({"name": "2024"}, "begin with a letter or _"),
        ({"format": ()}, "one or several of saved_model, litert, onnx"),
        ({"data": "mnist"}, "a run knows its data set"),
    ],
)
def test_options_that_make_no_sense_are_refused(change, message, run, tmp_path):
    with pytest.raises(ZooError, match=message):
        Export(run, output_dir=tmp_path, **change)()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stem", ["2024", "my model", ".."])
def test_a_file_whose_name_is_no_models_is_refused(stem, tmp_path):
    (tmp_path / f"{stem}.keras").touch()
    with pytest.raises(ZooError, match="--name must be letters, digits, - and _"):
        Export(tmp_path / f"{stem}.keras", output_dir=tmp_path / "out")()


def test_other_data_than_the_runs_are_refused(run, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "environment.json", "metrics.json", "model.keras"):
        (copy / name).write_bytes((run / name).read_bytes())
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["data"]["digest"] = "0" * 64
    (copy / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ZooError, match="not those of the run.*name its data"):
        Export(copy, output_dir=tmp_path / "out")()
    (copy / "metrics.json").write_text(json.dumps({**metrics, "status": "interrupted"}))
    with pytest.raises(ZooError, match="is not complete: finish it first"):
        Export(copy, output_dir=tmp_path / "out")()
    assert not (tmp_path / "out").exists()


def test_litert_needs_images_to_choose_ranges_by(tmp_path):
    zoo.mlp((8, 8, 1), (4,), classes=3).save(tmp_path / "small.keras")
    with pytest.raises(ZooError, match="--format litert needs --data NAME"):
        Export(tmp_path / "small.keras", ("litert",), output_dir=tmp_path / "out")()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere does not exist: name a run directory or a .keras file"),
        (["x", "--format", "onx"], "Did you mean 'onnx'?"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        console.command_line(lambda argv: options.parse(Export, argv, "zoo")(), words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
