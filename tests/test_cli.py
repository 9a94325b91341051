"""The command `zoo`, as it is typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from tests.conftest import run_python
from tests.data import shapes
from zoo import cli, console, recipes
from zoo.training import options

MAIN = "from zoo.cli import main; main()"


def call(capsys, *argv):
    """Run `zoo` in this process; return its exit code, output and errors."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(argv))
    shown = capsys.readouterr()
    return stop.value.code, shown.out, shown.err


@pytest.mark.parametrize("words", [["list"], ["--help"]])
def test_a_reader_that_has_seen_enough_is_no_error(words):
    ends, starts = os.pipe()
    os.close(ends)
    command = [sys.executable, "-c", MAIN, *words]
    with os.fdopen(starts, "wb") as nobody_reads:
        done = subprocess.run(command, stdout=nobody_reads, stderr=subprocess.PIPE)
    assert done.returncode == console.PIPE_CLOSED and done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-c", MAIN, "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1


def test_help_names_every_command(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for name in (*cli.OF_A_RECIPE, *cli.COMMANDS):
        assert f"zoo {name}" in out
    assert call(capsys)[1] == out
    code, out, _ = call(capsys, "data")
    assert code == 0 and "zoo data fetch" in out and "zoo train" not in out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command, capsys):
    code, out, _ = call(capsys, *command.split(), "--help")
    assert code == 0 and f"zoo {command}" in out


def test_version(capsys):
    assert call(capsys, "--version") == (0, f"zoo {zoo.__version__}\n", "")


def test_list_shows_every_recipe_and_its_models(capsys):
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert recipes.models() == ["cifar10", "fashion_mnist", "fine_tuning", "mnist"]
    assert "zoo list --course" in out
    for model in ("cnn", "mlp", "my-dense", "tiny", "resnet10k"):
        assert re.search(rf"^\s+{model}\s.*%", out, re.MULTILINE)


@pytest.mark.parametrize(
    "argv, parts",
    [
        (["trian"], ["command must be one of", "Did you mean 'train'?"]),
        (["data", "fech"], ["Did you mean 'data fetch'?"]),
        (["train", "fashion_mnits"], ["recipe must be one", "'fashion_mnist'"]),
        (["train", "fashion_mnist", "--model", "tinny"], ["Did you mean 'tiny'?"]),
        (["train", "fashion_mnist", "--epoch", "2"], ["Did you mean --epochs?"]),
        (["train", "fashion_mnist", "--epochs", "0"], ["epochs=0"]),
        (["train", "fashion_mnist", "--learning-rate", "-1"], ["above 0"]),
        (["train", "fashion_mnist", "--seed", "-1"], ["seed must be an integer"]),
        (["train", "fashion_mnist", "--widths", "0"], ["widths", "positive integer"]),
        (["lr-fnd"], ["Did you mean 'lr-find'?"]),
        (["lr-find", "fashion"], ["recipe must be one", "'fashion_mnist'"]),
        (["lr-find", "fashion_mnist", "--epoch", "2"], ["Did you mean --epochs?"]),
        (["lr-find", "fashion_mnist", "--batch-size", "0"], ["batch_size=0"]),
        (["lr-find", "fashion_mnist", "--runs-dir", "/dev/null/x"], ["--runs-dir"]),
        (["data", "check", "fashion_mnst"], ["Did you mean 'fashion_mnist'?"]),
        (["data", "show"], ["NAME"]),
        (["data", "fetch", "mnist", "--mirror", "/no/where"], ["/no/where is not a"]),
        (["report"], ["needs a run directory: zoo report RUN"]),
        (["report", "/no/where"], ["/no/where is not a run directory"]),
        (["list", "--all"], ["--all", "zoo list --help"]),
        (["list", "--models", "--course"], ["--course or --models, not both"]),
        (["verify", "nope", "--all"], ["names or --all, not both"]),
        (["train", "batch_size", "--images", "1000"], ["a multiple of 256"]),
        (["train", "features", "--points", "20000"], ["points must be below 10001"]),
    ],
)
def test_mistakes_are_one_line_and_name_the_nearest(argv, parts, capsys):
    code, out, err = call(capsys, *argv)
    assert code == 2
    error = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and err.splitlines()[-1] == error[0]
    for part in parts:
        assert part in error[0]


def test_train_is_the_recipe_s_own_command(capsys):
    by_zoo = call(capsys, "train", "fashion_mnist", "--model", "tiny", "--help")
    done = run_python("-m", "zoo.recipes.fashion_mnist", "--model", "tiny", "--help")
    options = re.compile(r"--[a-z][a-z-]*")
    assert set(options.findall(by_zoo[1])) == set(options.findall(done.stdout))
    assert "default: 16 24 16" in by_zoo[1] and "default: 16 24 16" in done.stdout
    assert call(capsys, "train")[1].count("fashion_mnist") >= 1


def test_lr_find_suggests_the_command_to_train_with(capsys, only_the_sample, tmp_path):
    words = ["--model", "mlp", "--limit", "300", "--runs-dir", str(tmp_path / "runs")]
    code, out, _ = call(capsys, "lr-find", "fashion_mnist", *words)
    assert code == 0 and "Sweep: mlp, 200 steps, learning rate 1e-06 to 10" in out
    rate = float(re.search(r"^learning rate +(\S+)$", out, re.MULTILINE)[1])
    assert 0.0005 < rate < 0.01  # the preset's 0.002, roughly
    command = re.search(r"^Train +python -m \S+ (.*)$", out, re.MULTILINE)[1]
    recipe = recipes.module("fashion_mnist")
    config = options.parse_recipe(
        recipe.NAME, recipe.PRESETS, command.split(), recipe.__doc__
    )
    assert (config.model, config.limit) == ("mlp", 300)
    assert config.learning_rate == rate != recipe.PRESETS["mlp"].learning_rate
    picture = tmp_path / "runs" / "fashion_mnist" / "lr-find-mlp.png"
    assert str(picture) in out and picture.read_bytes().startswith(b"\x89PNG")


def test_lr_find_has_the_recipe_s_help(capsys):
    usage = call(capsys, "lr-find")
    assert usage == call(capsys, "lr-find", "--help")
    assert usage[0] == 0 and "usage: zoo lr-find RECIPE" in usage[1]
    words = ["fashion_mnist", "--model", "tiny", "--help"]
    assert call(capsys, "lr-find", *words) == call(capsys, "train", *words)


def test_data_commands(capsys, tmp_path):
    shapes.write_official_file(tmp_path / "mirror" / shapes.NAME)
    here = ["--data-dir", str(tmp_path / "data")]
    mirror = ["--mirror", str(tmp_path / "mirror")]

    code, out, _ = call(capsys, "data", "list", *here)
    assert code == 0 and out.count("zoo data fetch") == 3
    code, _, err = call(capsys, "data", "check", shapes.NAME, *here)
    assert code == 2 and f"zoo data fetch {shapes.NAME}" in err
    code, out, err = call(capsys, "data", "fetch", shapes.NAME, *here, *mirror)
    assert code == 0 and str(tmp_path / "data" / shapes.NAME) in out
    assert "Preparing zoo_shapes from the mirror" in err
    code, out, _ = call(capsys, "data", "check", shapes.NAME, *here)
    assert code == 0 and shapes.ARRAYS_DIGEST in out and "30 training, 12 test" in out
    picture = tmp_path / "shapes.png"
    words = ["data", "show", shapes.NAME, *here, "--output", str(picture)]
    code, out, _ = call(capsys, *words)
    assert code == 0 and str(picture) in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_fetching_is_quiet(tmp_path):
    """In a fresh process TensorFlow starts while data are prepared."""
    shapes.write_official_file(tmp_path / "mirror" / shapes.NAME)
    words = ["data", "fetch", shapes.NAME, "--data-dir", str(tmp_path / "data")]
    words += ["--mirror", str(tmp_path / "mirror")]
    code = f"from tests.data import shapes; from zoo import cli; cli.main({words!r})"
    done = run_python("-c", code)
    assert done.returncode == 0
    assert done.stderr == (
        f"Preparing zoo_shapes from the mirror {tmp_path}/mirror/zoo_shapes ...\n"
    )


def test_data_check_of_the_whole_set(capsys, whole_fashion_mnist):
    words = ["data", "check", "fashion_mnist", "--data-dir", str(whole_fashion_mnist)]
    code, out, _ = call(capsys, *words)
    assert code == 0 and re.search(r"whole +yes", out)
    code, out, _ = call(capsys, "data", "list", "--data-dir", str(whole_fashion_mnist))
    assert str(whole_fashion_mnist / "fashion_mnist") in out


def test_doctor(capsys, tmp_path, monkeypatch):
    code, out, _ = call(capsys, "doctor", "--data-dir", str(tmp_path))
    assert code == 0
    for part in ("tensorflow", "keras-tuner", "CPU", "zoo data fetch cifar10"):
        assert part in out

    from zoo import doctor

    real = doctor.metadata.version

    def version(name):
        if name == "keras-tuner":
            raise doctor.metadata.PackageNotFoundError
        return "0.1" if name == "keras" else real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    code, out, _ = call(capsys, "doctor")
    assert code == 1
    assert re.search(
        r"keras-tuner +MISSING; to add it: pip install 'keras-tuner>=", out
    )
    assert re.search(r"keras +0.1 is too old; to renew it: pip install 'keras>=", out)
