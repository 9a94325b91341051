"""The Ray script, with two local workers."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "deploy" / "ray" / "fashion_mnist.py"


def test_two_workers_train_under_ray(tmp_path):
    pytest.importorskip("ray")
    words = "--workers 2 -- --model mlp --limit 2000 --epochs 2 --seed 3".split()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        env=os.environ | {"RAY_OVERRIDE_RESOURCES": '{"CPU": 2}'},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs" / "fashion_mnist").iterdir()  # of both workers
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["status"] == "complete" and metrics["epochs"] == 2
    begin = done.stdout.index("\n{\n") + 1  # after what the workers printed
    reported, _ = json.JSONDecoder().raw_decode(done.stdout, begin)
    assert reported["test_accuracy"] == metrics["test_accuracy"] > 0.3
    assert reported["seed"] == 3
    assert "multi-worker" in done.stdout + done.stderr
