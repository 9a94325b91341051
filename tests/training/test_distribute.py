"""The same training on one device, on several, and on several workers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import ROOT, run_python
from tests.training import two_devices
from tests.training.test_cluster import tf_config
from tests.training.test_meeting import free_ports
from zoo import ZooError, replicas
from zoo.training import distribute

SIZE, EPOCHS = 331, 2
LAYOUTS = {
    # name: (strategy, virtual devices, workers, replicas)
    "alone": ("one-device", 0, 1, 1),
    "two devices": ("mirrored", 2, 1, 2),
    "two workers": ("multi-worker", 0, 2, 2),
    "two workers of two devices": ("auto", 2, 2, 4),
}
several = pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
every_case = pytest.mark.parametrize("case", ["arrays", "tf_data", "own_step"])


def of_ports(ports, index):
    return json.dumps(
        tf_config({"worker": [f"localhost:{port}" for port in ports]}, index=index)
    )


def workers(count, *words):
    """Start workers with these arguments of Python; return what each printed."""
    ports = free_ports(count) if count > 1 else []
    processes = []
    for index in range(count):
        env = {**os.environ, "TF_CONFIG": of_ports(ports, index) if ports else ""}
        processes.append(
            subprocess.Popen(
                [sys.executable, *words],
                env=env,
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    printed = [process.communicate(timeout=280)[0] for process in processes]
    return [
        (process.returncode, text)
        for process, text in zip(processes, printed, strict=True)
    ]


class Trained:
    """Trains each layout once, when it is asked for."""

    def __init__(self, folder):
        self.folder, self._results = folder, {}

    def __call__(self, layout) -> list[dict]:
        """Return each worker's results."""
        if layout not in self._results:
            name, virtual, count, _ = LAYOUTS[layout]
            folder = self.folder / layout
            folder.mkdir()
            script = ["-m", "tests.training.replicas", name, str(virtual), str(folder)]
            for code, text in workers(count, *script):
                assert code == 0, text
            files = sorted(folder.glob("*.json"))
            assert len(files) == count
            self._results[layout] = [json.loads(file.read_text()) for file in files]
        return self._results[layout]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("trained"))


@several
@every_case
def test_losses_and_metrics_are_those_of_one_device(trained, layout, case):
    ((alone,), found) = trained("alone"), trained(layout)
    assert {worker["replicas"] for worker in found} == {LAYOUTS[layout][3]}
    for worker in found:
        history = worker[case]["history"]
        assert history.keys() == alone[case]["history"].keys()
        assert len(history["loss"]) == EPOCHS
        for name in history:
            if name == "confidence":  # of the last step, the mean over replicas
                continue
            expected = alone[case]["history"][name]
            np.testing.assert_allclose(history[name], expected, rtol=1e-4, err_msg=name)
        assert history["seen"] == history["val_seen"] == [SIZE] * EPOCHS


@several
def test_what_a_step_returns_besides_metrics_is_averaged(trained, layout):
    for worker in trained(layout):
        for value in worker["own_step"]["history"]["confidence"]:
            assert 0.2 < value <= 1


@several
@every_case
def test_weights_are_the_same_on_all_replicas(trained, layout, case):
    found = [digest for worker in trained(layout) for digest in worker[case]["weights"]]
    assert len(found) == LAYOUTS[layout][3]
    assert len(set(found)) == 1


@several
@every_case
def test_evaluation_and_prediction_count_every_example_once(trained, layout, case):
    ((alone,), found) = trained("alone"), trained(layout)
    for worker in found:
        assert worker[case]["evaluated"]["seen"] == SIZE
        for name, value in alone[case]["evaluated"].items():
            assert worker[case]["evaluated"][name] == pytest.approx(value, rel=1e-4)
        predicted = np.array(worker[case]["predicted"])
        np.testing.assert_allclose(predicted, alone[case]["predicted"], atol=1e-4)


@several
@every_case
def test_the_gradient_monitor_sees_the_whole_batch(trained, layout, case):
    ((alone,), found) = trained("alone"), trained(layout)
    for worker in found:
        assert worker[case]["iterations"] == alone[case]["iterations"]
        for one, other in zip(
            worker[case]["gradients"], alone[case]["gradients"], strict=True
        ):
            for name in ("gradient_norm", "gradient_norm_max", "update_ratio"):
                assert one[name] == pytest.approx(other[name], rel=1e-3), name


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_what_is_saved_is_a_plain_model(trained, backend):
    trained("two devices")
    path = trained.folder / "two devices" / "model.keras"
    code = (
        "import sys, keras\n"
        f"model = keras.models.load_model({str(path)!r}, compile=False)\n"
        "assert 'zoo' not in sys.modules\n"
        "print(type(model).__module__, model.layers[2].synchronized)"
    )
    done = run_python("-W", "ignore", "-c", code, env={"KERAS_BACKEND": backend})
    assert done.stdout.strip().startswith("keras."), done.stderr
    assert done.stdout.split()[-1] == "False"


@pytest.fixture(scope="module")
def side_by_side():
    done = run_python("-W", "ignore", "-m", "tests.training.two_devices")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", [case.__name__ for case in two_devices.CASES])
def test_unusual_models_learn_the_same_on_two_devices(side_by_side, case):
    one, two = side_by_side[case]
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, err_msg=name)


def test_what_cannot_be_on_several_devices_is_said(side_by_side):
    accumulation, average, *own_loss = side_by_side["remarks"]
    assert "gradient_accumulation_steps works with one replica only" in accumulation
    assert "ema_overwrite_frequency works with one replica only" in average
    assert "train_step of OwnLoss uses none of Keras's losses" in own_loss[0]


# --- one process is enough for these -------------------------------------------------


def test_one_device_changes_nothing():
    strategy = distribute.strategy("one-device")
    assert strategy.num_replicas_in_sync == 1
    model = keras.Sequential([keras.layers.Dense(1)])
    before = dict(vars(model))
    assert distribute.prepare(model) is model
    assert vars(model).keys() == before.keys()
    assert replicas.is_chief(strategy) and replicas.num_workers(strategy) == 1
    assert replicas.from_chief(strategy, b"x") == b"x"
    assert not replicas.any_worker(strategy, False)


def test_it_says_what_it_chose(capfd):
    distribute.strategy("auto", batch_size=128)
    line = "Strategy: one-device (one process, and not two GPUs), batches of 128\n"
    assert capfd.readouterr().out == line


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"name": "mirored"}, "strategy must be one of .* Did you mean 'mirrored'"),
        ({"name": "mirrored"}, "needs two GPUs, or .* --virtual-devices 2"),
        ({"name": "multi-worker"}, "needs workers in TF_CONFIG: zoo launch"),
        ({"virtual_devices": 0}, "virtual_devices must be a positive integer"),
        ({"virtual_devices": 10**6}, "at most the cores of this machine, [0-9]+"),
    ],
)
def test_bad_requests(asked, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ZooError, match=message) as caught:
        distribute.strategy(**asked)
    assert "\n" not in str(caught.value)


def test_one_device_of_several_workers_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", of_ports([1024, 1025], 0))
    with pytest.raises(ZooError, match="there are 2 workers: choose auto"):
        distribute.strategy("one-device")


def test_a_batch_smaller_than_the_replicas_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", of_ports([1024, 1025], 0))
    with pytest.raises(ZooError, match="a batch of 1 cannot be shared by 2 replicas"):
        distribute.strategy("auto", batch_size=1)


IN_TWO_DEVICES = """
import contextlib
from zoo import console, ZooError
keras = console.import_keras()
from zoo.training import distribute
strategy = distribute.strategy("auto", virtual_devices=2, batch_size=33)
assert distribute.strategy("mirrored", virtual_devices=2) is strategy
outside = keras.Sequential([keras.layers.Dense(1)])
with strategy.scope():
    try:
        distribute.prepare(outside)
    except ZooError as error:
        print(error)
import numpy as np
x, y = np.ones((7, 3)), np.ones((7, 1))
for number, scope in enumerate((contextlib.nullcontext(), strategy.scope())):
    with scope:
        model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
        assert distribute.prepare(distribute.prepare(model)) is model
        model.compile(keras.optimizers.SGD(0.1), "mse", steps_per_execution=2)
    loss = model.train_on_batch(x, y), model.test_on_batch(x, y)
    print(np.round(loss, 4).tolist(), model.predict_on_batch(x).shape)
try:
    distribute.strategy(virtual_devices=1)
except ZooError as error:
    print(error)
"""


def test_the_scope_and_the_order_of_calls():
    done = run_python("-c", IN_TWO_DEVICES)
    assert done.returncode == 0, done.stderr
    said, again, outside, alone, shared, late = done.stdout.splitlines()
    assert alone == shared == "[4.0, 0.16] (7, 1)"  # by hand: (3 - 1)^2, (1.4 - 1)^2
    assert "was not made in the scope of this strategy" in outside
    assert "before TensorFlow computes anything" in late
    shares = "2 replicas, 16 or 17 of each batch of 33"
    assert said == f"Strategy: mirrored (2 virtual devices), {shares}"
    assert again == "Strategy: mirrored (as you chose)"


# --- a recipe ------------------------------------------------------------------------

RECIPE = "fashion_mnist --model mlp --limit 600 --epochs 2 --batch-size 50".split()


def launched(folder: Path, *words, options=()):
    command = ["-m", "zoo", "launch", "--workers", "2", *options, "--"]
    return run_python(*command, *RECIPE, *words, cwd=folder)


def losses(folder):
    (history,) = (folder / "runs").glob("fashion_mnist/*/history.csv")
    return np.genfromtxt(history, delimiter=",", names=True)


@pytest.fixture(scope="module")
def recipe_runs(tmp_path_factory):
    """Return the folders of a run on one device, on two, and of two workers."""
    folders = {}
    alone = ["-m", "zoo.recipes.fashion_mnist", *RECIPE[1:]]
    for name in ("alone", "mirrored", "workers"):
        folders[name] = folder = tmp_path_factory.mktemp(name)
        if name == "workers":
            done = launched(folder)
        else:
            virtual = ["--virtual-devices", "2"] * (name == "mirrored")
            done = run_python(*alone, *virtual, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        folders[f"{name} said"] = done.stdout + done.stderr
    return folders


@pytest.mark.parametrize("name", ["mirrored", "workers"])
def test_a_recipe_learns_the_same(recipe_runs, name):
    alone, found = losses(recipe_runs["alone"]), losses(recipe_runs[name])
    for key in ("loss", "val_loss"):
        np.testing.assert_allclose(found[key], alone[key], rtol=1e-4)


def test_the_chief_alone_writes_and_speaks(recipe_runs):
    folder, said = recipe_runs["workers"], recipe_runs["workers said"]
    assert len(list(folder.glob("runs/fashion_mnist/*"))) == 1
    assert len(list(folder.glob("saved_models/fashion_mnist_mlp/*"))) == 1
    spoke = re.findall(r"^\[1\] (.*)$", said, re.M)
    assert spoke == ["Loading TensorFlow ..."], said
    assert "2 replicas, 25 of each batch of 50" in said


def test_workers_with_other_options_are_refused_on_each(tmp_path):
    """`zoo launch` gives all the same: these are started by hand."""
    ports = free_ports(2)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "zoo", "train", *RECIPE, "--seed", str(index)],
            env={**os.environ, "TF_CONFIG": of_ports(ports, index)},
            cwd=tmp_path,
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for index in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2
        assert re.search("^error: .*--seed 1.* 0", said, re.M), said
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_killed_worker_starts_all_again_to_the_same_bits(tmp_path):
    words = ["--epochs", "6", "--batch-size", "10", "--checkpoint-every", "27"]
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    done = launched(undisturbed, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    launch = ["-m", "zoo", "launch", "--workers", "2", "--max-restarts", "1"]
    with subprocess.Popen(
        [sys.executable, *launch, *RECIPE, *words],
        cwd=disturbed,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as launcher:
        try:
            while not list(disturbed.glob("runs/*/*/checkpoints/checkpoint-*")):
                assert launcher.poll() is None
                time.sleep(0.02)
            children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
            _, worker = children.read_text().split()
            os.kill(int(worker), signal.SIGKILL)
            said, _ = launcher.communicate(timeout=200)
        finally:
            launcher.kill()
    assert launcher.returncode == 0, said
    assert "Worker 1 was killed by SIGKILL" in said
    assert "Going on with the training" in said
    (a,), (b,) = (f.glob("runs/*/*/history.csv") for f in (undisturbed, disturbed))
    assert a.read_text() == b.read_text()
    (a,), (b,) = (f.glob("runs/*/*/metrics.json") for f in (undisturbed, disturbed))
    a, b = json.loads(a.read_text()), json.loads(b.read_text())
    assert (a["resumed"], b["resumed"]) == (0, 1)
    assert (a["test_loss"], a["test_accuracy"]) == (b["test_loss"], b["test_accuracy"])
