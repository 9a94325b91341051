"""The Slurm script and the cluster it makes, on a real Slurm of one node."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy import slurm
from zoo.tuning.records import Search

SCRIPT = ROOT / "deploy" / "slurm" / "fashion_mnist.sbatch"
SEARCH = ROOT / "deploy" / "slurm" / "tune.sbatch"


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Return what runs a command of Slurm's and returns its output."""
    if why := slurm.missing():
        pytest.skip(why)
    with slurm.started(tmp_path_factory.mktemp("slurm")) as environment:
        # As a user's shell has it, with Python's environment active.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        for name in [n for n in environment if n.startswith("TF_")]:
            del environment[name]

        def call(*words, cwd=ROOT):
            done = subprocess.run(
                words,
                env=environment | {"PATH": path},
                cwd=cwd,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        yield call


TASK = """
from zoo.training.cluster import from_environment, meet

cluster = from_environment()
if cluster:
    meet(cluster, {"--seed": "0"})
print(cluster)
"""


def test_tasks_of_a_step_meet(call, tmp_path):
    out = call("srun", "--ntasks=2", "--label", "python", "-c", TASK)
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    host, ports = slurm.host(), re.findall(r":(\d+)'", lines["0"])
    assert int(ports[1]) == int(ports[0]) + 1
    workers = f"('{host}:{ports[0]}', '{host}:{ports[1]}')"
    assert lines == {
        str(task): f"Cluster(workers={workers}, index={task})" for task in (0, 1)
    }


def test_a_batch_script_alone_is_one_process(call, tmp_path):
    code = (
        f"python - <<'END'\n{TASK}\nEND\nsrun --ntasks=1 python - <<'END'\n{TASK}\nEND"
    )
    call("sbatch", "--wait", "--ntasks=2", "--output=out", "--wrap", code, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "None\nNone\n"


def test_the_script_trains_and_goes_on_after_a_preemption(call, tmp_path):
    words = "--model mlp --limit 2000 --epochs 40 --seed 3 --checkpoint-every 20"
    job = call(
        "sbatch", "--parsable", str(SCRIPT), *words.split(), cwd=tmp_path
    ).strip()
    out = tmp_path / f"fashion_mnist-{job}.out"
    wait_for(lambda: "Epoch 3/" in read(out), out)
    call("scancel", "--signal=TERM", job)  # what a preemption sends
    wait_for(lambda: "Exit code 143: back into the queue." in read(out), out)
    shown = wait_for(lambda: ended(call("scontrol", "show", "job", job)), out)
    assert "JobState=COMPLETED" in shown and "Restarts=1" in shown, read(out)
    (run,) = (tmp_path / "runs" / "fashion_mnist").iterdir()  # the same, twice
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["status"] == "complete" and metrics["epochs"] == 40
    assert metrics["replicas"] == 2
    assert (tmp_path / metrics["saved_model"] / "saved_model.pb").exists()


def test_a_search_goes_on_after_a_preemption(call, tmp_path):
    words = "--model mlp --limit 600 --epochs 1 --trials 3 --tuner random"
    words = f"{words} --final-seeds 1 --directory search".split()
    submit = ("sbatch", "--parsable", "--ntasks=2", str(SEARCH))
    job = call(*submit, *words, cwd=tmp_path).strip()
    out = tmp_path / f"tune-{job}.out"
    wait_for(lambda: "trial 1/3" in read(out), out)
    call("scancel", "--signal=TERM", job)
    wait_for(lambda: "Exit code 143: back into the queue." in read(out), out)
    shown = wait_for(lambda: ended(call("scontrol", "show", "job", job)), out)
    assert "JobState=COMPLETED" in shown and "Restarts=1" in shown, read(out)
    assert "going on after" in read(out)
    found = Search(tmp_path / "search")
    assert [trial.status for trial in found.trials] == ["completed"] * 3
    assert found.result


# Stands for Python: the first worker is given up twice, then the chief fails.
FAILING = """\
#!/bin/bash
echo started >>"started-$KERASTUNER_TUNER_ID"
if [ "$KERASTUNER_TUNER_ID" = chief ]; then
  until [ -e working ]; do sleep 0.1; done
  exit 2
fi
[ "$(wc -l <"started-$KERASTUNER_TUNER_ID")" -gt 2 ] || exit 75
touch working
exec sleep 600
"""


def test_a_chief_that_fails_ends_the_search(call, tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(FAILING)
    python.chmod(0o755)
    path = f"ALL,PATH={python.parent}:{os.environ['PATH']}"
    submit = ("sbatch", "--parsable", "--ntasks=2", f"--export={path}", str(SEARCH))
    job = call(*submit, cwd=tmp_path).strip()
    out = tmp_path / f"tune-{job}.out"
    shown = wait_for(lambda: ended(call("scontrol", "show", "job", job)), out)
    assert "JobState=FAILED" in shown and "ExitCode=2:0" in shown, read(out)
    assert "Restarts=0" in shown
    assert len(read(tmp_path / "started-tuner1").splitlines()) == 3
    assert read(out).count("Worker tuner1 ended with exit code 75.") == 2


def read(path):
    return path.read_text(errors="replace") if path.exists() else ""


def ended(shown):
    return re.search(r"JobState=(COMPLETED|FAILED|CANCELLED)", shown) and shown


def wait_for(condition, out):
    until = time.monotonic() + 240
    while not (found := condition()):
        assert time.monotonic() < until, read(out)
        time.sleep(0.2)
    return found
