"""The workers of `zoo tune --workers N`, with small scripts in their place."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.conftest import ROOT
from tests.training.test_launch import gone
from zoo.errors import WorkerLost, ZooError
from zoo.tuning import local, place

HEAD = "import os, signal, sys, time\nme = os.environ['KERASTUNER_TUNER_ID']\n"


def command(script):
    return [sys.executable, "-c", HEAD + textwrap.dedent(script)]


def log(directory, worker=0):
    return (directory / "workers" / f"{worker}.log").read_text(encoding="utf8")


def check_until(group, condition, ended=0):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        group.check(ended)
        time.sleep(0.02)


def lines(directory, worker=0):
    path = directory / "workers" / f"{worker}.log"
    return path.read_text(encoding="utf8").splitlines() if path.exists() else []


def test_the_places_of_chief_and_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    script = """
    names = ["KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "OMP_NUM_THREADS"]
    print(me, *(os.environ[name] for name in names), "加油", file=sys.stderr)
    """
    with local.workers(2, command(script), tmp_path):
        here = place.from_environment()
        assert here.chief and here.host == "127.0.0.1"
    assert place.from_environment() is None
    for worker in (0, 1):
        assert (
            log(tmp_path, worker) == f"tuner{worker} {here.host} {here.port} 7 加油\n"
        )


def test_a_lost_worker_is_started_again(tmp_path, capsys):
    script = f"""
    marker = {str(tmp_path / "marker")!r} + me
    print("here", flush=True)
    if me == "tuner1" and not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with local.workers(2, command(script), tmp_path) as group:
        check_until(group, lambda: len(lines(tmp_path, 1)) == 2)
    assert log(tmp_path, 0) == "here\n" and log(tmp_path, 1) == "here\nhere\n"
    said = "Worker tuner1 was killed by SIGKILL; it is started again.\n"
    assert capsys.readouterr().err == said


def test_a_worker_that_is_always_lost(tmp_path, capsys):
    with pytest.raises(WorkerLost, match="No worker is left") as raised:
        with local.workers(1, command("print(me); sys.exit(1)"), tmp_path) as group:
            check_until(group, lambda: False)
    assert log(tmp_path) == "tuner0\n" * 4
    assert str(tmp_path / "workers" / "0.log") in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().err == (
        "Worker tuner0 ended with exit code 1; it is started again.\n" * 3
    )


def test_the_others_go_on_without_one_that_is_always_lost(tmp_path, capsys):
    script = "sys.exit(1) if me == 'tuner0' else time.sleep(600)"
    with pytest.raises(InterruptedError):
        with local.workers(2, command(script), tmp_path) as group:
            check_until(group, lambda: 0 not in group._running)
            group.check(0)  # which raises nothing
            raise InterruptedError
    assert "It is not started again." in capsys.readouterr().err


def test_starts_are_counted_from_the_last_trial_on(tmp_path):
    with pytest.raises(WorkerLost):
        with local.workers(1, command("print(me); sys.exit(1)"), tmp_path) as group:
            check_until(group, lambda: len(lines(tmp_path)) == 3)
            check_until(group, lambda: False, ended=1)
    assert 3 + 4 <= len(lines(tmp_path)) <= 4 + 4


def test_workers_that_end_before_the_search_does(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "ALONE", 0.2)
    with pytest.raises(WorkerLost, match="ended before the search did"):
        with local.workers(1, command(""), tmp_path) as group:
            check_until(group, lambda: False)


def test_bad_input_of_a_worker_is_that_of_all(tmp_path):
    script = """
    print(os.getpid(), flush=True)
    if me == "tuner0":
        print("error: no such model", file=sys.stderr)
        sys.exit(2)
    time.sleep(600)
    """
    with pytest.raises(ZooError) as raised:
        with local.workers(2, command(script), tmp_path) as group:
            check_until(group, lambda: False)
    assert str(raised.value) == "no such model" and raised.value.exit_code == 2
    assert gone(re.findall(r"^\d+$", log(tmp_path, 1), re.MULTILINE))


def test_workers_end_in_order_when_the_chief_is_interrupted(tmp_path):
    script = """
    signal.signal(signal.SIGTERM, lambda *_: (print("checkpoint"), sys.exit(143)))
    print("here", flush=True)
    time.sleep(600)
    """
    with pytest.raises(KeyboardInterrupt):
        with local.workers(2, command(script), tmp_path) as group:
            check_until(group, lambda: lines(tmp_path, 0) and lines(tmp_path, 1))
            raise KeyboardInterrupt
    assert log(tmp_path, 0) == log(tmp_path, 1) == "here\ncheckpoint\n"
    assert place.from_environment() is None


@pytest.mark.parametrize("how", [None, KeyboardInterrupt])
def test_a_worker_that_does_not_end_is_killed(tmp_path, monkeypatch, how):
    monkeypatch.setattr(local, "GRACE", 0.5)
    script = """
    import subprocess
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(os.getpid(), child.pid, flush=True)
    time.sleep(600)
    """
    try:
        with local.workers(1, command(script), tmp_path) as group:
            check_until(group, lambda: lines(tmp_path))
            if how:
                raise how
    except KeyboardInterrupt:
        assert how
    assert gone(log(tmp_path).split())


CHIEF = """
import sys, time
from pathlib import Path
from zoo.tuning import local
with local.workers(2, [sys.executable, "-c", sys.argv[1]], Path(sys.argv[2])):
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they notice it later")
def test_workers_end_in_order_when_the_chief_is_killed(tmp_path):
    script = """
    signal.signal(signal.SIGTERM, lambda *_: (print("checkpoint"), sys.exit(143)))
    print(os.getpid(), flush=True)
    time.sleep(600)
    """
    words = [sys.executable, "-c", CHIEF, command(script)[2], str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT) as chief:
        try:
            until = time.monotonic() + 30
            while not (lines(tmp_path, 0) and lines(tmp_path, 1)):
                assert time.monotonic() < until
                time.sleep(0.02)
        finally:
            chief.send_signal(signal.SIGKILL)
    for worker in (0, 1):
        pid, *_ = lines(tmp_path, worker)
        assert gone([pid]) and lines(tmp_path, worker) == [pid, "checkpoint"]


@pytest.mark.parametrize("number", [0, -1, True])
def test_impossible_numbers(number, tmp_path):
    with pytest.raises(ZooError, match="workers must be a positive integer"):
        with local.workers(number, ["false"], tmp_path):
            pass


def test_a_process_that_is_a_worker_starts_none(tmp_path, monkeypatch):
    for name, value in ((place.ID, "a"), (place.HOST, "b"), (place.PORT, "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ZooError, match="leave out --workers"):
        with local.workers(2, ["false"], tmp_path):
            pass
    assert os.environ[place.ID] == "a" and not list(tmp_path.iterdir())
