"""`zoo launch` with small scripts in place of recipes."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.conftest import ROOT
from tests.test_cli import call
from zoo.training import launch

LAUNCHER = """
import json, sys
from zoo.training import launch, workers
words, number, restarts, grace = json.loads(sys.argv[1])
workers.GRACE, workers.SETTLE = grace, 0.5
sys.exit(launch.run(words, number, restarts))
"""


class Launched(subprocess.Popen):
    """`zoo launch` of a script; `me` is the worker's number in it."""

    def __init__(self, script, *words, workers=2, restarts=0, grace=20, **options):
        script = (
            "import json, os, signal, sys, time\n"
            "config = json.loads(os.environ['TF_CONFIG'])\n"
            "me = config['task']['index']\n"
        ) + textwrap.dedent(script)
        command = [sys.executable, "-c", script, *words]
        super().__init__(
            [
                *(sys.executable, "-c", LAUNCHER),
                json.dumps([command, workers, restarts, grace]),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            **options,
        )

    def end(self):
        """Return the exit code, the lines of the workers, and the launcher's own."""
        with self:
            out, err = self.communicate(timeout=60)
        return self.returncode, out.decode().splitlines(), err.decode().splitlines()

    def wait_for_lines(self, count):
        return [self.stdout.readline().decode().rstrip("\n") for _ in range(count)]


def gone(pids):
    """Wait until none of these processes runs."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        states = [
            subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True).stdout
            for pid in pids
        ]
        if all(not state or state.startswith(b"Z") for state in states):
            return True
        time.sleep(0.1)
    return False


def test_workers_form_a_cluster_and_share_the_cores():
    code, out, err = Launched("print(os.environ['TF_CONFIG'])", workers=3).end()
    assert (code, err) == (0, [])
    configs = {int(line[1]): json.loads(line[4:]) for line in out}
    assert sorted(configs) == [0, 1, 2]
    addresses = configs[0]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    for index, config in configs.items():
        assert config == {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }


@pytest.mark.parametrize("cores, share", [(1, "1"), (2, "1"), (5, "2"), (8, "4")])
def test_threads(cores, share, monkeypatch):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch, "num_cores", lambda: cores)
    first, second = launch._environments(2)
    assert first["OMP_NUM_THREADS"] == second["TF_NUM_INTRAOP_THREADS"] == share
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    first, second = launch._environments(2)
    assert first["OMP_NUM_THREADS"] == second["OMP_NUM_THREADS"] == "7"


def test_output_and_errors_in_order_line_by_line():
    script = """
    print("one")
    print("two", file=sys.stderr)
    print("żółw 加油")
    sys.stdout.write("10 %\\r50 %\\r100 %\\n\\n")
    sys.stdout.write("whole\\r\\n")
    sys.stdout.buffer.write(b"\\xff\\n")
    print("no end", end="")
    """
    with Launched(script, workers=1, env=os.environ | {"LC_ALL": "POSIX"}) as launched:
        out, err = launched.communicate(timeout=60)
    assert launched.returncode == 0 and err == b""
    assert out == (
        b"[0] one\n[0] two\n" + "[0] żółw 加油\n".encode() + b"[0] 100 %\n[0] \n"
        b"[0] whole\n[0] \xff\n[0] no end\n"
    )


def test_no_line_is_lost_or_torn():
    script = "for i in range(20_000): print(me, i, 'x' * (i % 100))"
    code, out, _ = Launched(script).end()
    assert code == 0 and len(out) == 40_000
    for me in (0, 1):
        lines = [line for line in out if line.startswith(f"[{me}] ")]
        assert lines == [f"[{me}] {me} {i} {'x' * (i % 100)}" for i in range(20_000)]


def test_a_line_without_end_is_shown_in_pieces():
    code, out, _ = Launched("print('x' * 300_000)", workers=1).end()
    assert code == 0 and len(out) > 1
    assert "".join(line.removeprefix("[0] ") for line in out) == "x" * 300_000
    bar = "for i in range(9999): sys.stdout.write(f'{i} % of it all\\r')"
    assert Launched(bar, workers=1).end()[1] == ["[0] 9998 % of it all"]


def test_lines_are_shown_at_once():
    with Launched("print('here'); time.sleep(60)") as launched:
        assert sorted(launched.wait_for_lines(2)) == ["[0] here", "[1] here"]
        launched.terminate()


def test_what_a_worker_leaves_behind_keeps_nobody_waiting():
    script = """
    import subprocess
    child = subprocess.Popen(["sleep", "600"])
    print(child.pid)
    """
    code, out, _ = Launched(script, workers=1).end()
    assert code == 0 and gone([out[0].removeprefix("[0] ")])


@pytest.mark.parametrize(
    "end, code, how",
    [
        ("sys.exit(7)", 7, "ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "was killed by SIGKILL"),
        ("1 / 0", 1, "ended with exit code 1"),
    ],
)
def test_all_end_when_one_fails(end, code, how):
    script = f"""
    signal.signal(signal.SIGTERM, lambda *_: (print("told to end"), sys.exit(3)))
    print(os.getpid())
    if me == 1:
        {end}
    time.sleep(600)
    """
    got, out, err = Launched(script).end()
    assert got == code
    assert err == [f"Worker 1 {how}; all workers end."]
    assert "[0] told to end" in out
    assert gone(re.findall(r"\] (\d+)$", "\n".join(out), re.MULTILINE))


def test_a_worker_that_does_not_end_is_killed():
    script = """
    signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
    if me == 1:
        time.sleep(1)
        sys.exit(7)
    print(os.getpid())
    while True:
        time.sleep(1)
    """
    code, out, _ = Launched(script, grace=2).end()
    assert code == 7 and "[0] no" in out
    assert gone([out[0].removeprefix("[0] ")])


def test_the_cause_is_told_not_what_it_led_to():
    script = """
    if me == 0:
        sys.exit(75)  # it lost worker 1
    time.sleep(0.2)
    sys.exit(7)
    """
    code, _, err = Launched(script).end()
    assert code == 7 and err == ["Worker 1 ended with exit code 7; all workers end."]


def test_others_may_say_why_they_end_too():
    script = "time.sleep(0.2 * me); print('error: all alike'); sys.exit(2)"
    code, out, err = Launched(script).end()
    assert code == 2 and out == ["[0] error: all alike", "[1] error: all alike"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once_and_waited_for(number):
    script = f"""
    def saving(*_):
        print("saving")
        time.sleep(1)
        print("saved")
        sys.exit({128 + number})
    signal.signal({int(number)}, saving)
    print("here")
    while True:
        time.sleep(1)
    """
    with Launched(script, restarts=3) as launched:
        launched.wait_for_lines(2)
        launched.send_signal(number)
        code, out, err = launched.end()
    assert code == 128 + number and err == []
    assert sorted(out) == ["[0] saved", "[0] saving", "[1] saved", "[1] saving"]


def test_the_terminals_ctrl_c_reaches_the_workers_once():
    script = """
    signal.signal(signal.SIGINT, lambda *_: print("once"))
    print("here")
    for _ in range(3):
        time.sleep(0.5)
    """
    with Launched(script, workers=1, start_new_session=True) as launched:
        launched.wait_for_lines(1)
        os.killpg(launched.pid, signal.SIGINT)  # as a terminal does
        assert launched.end() == (0, ["[0] once"], [])


def test_a_second_signal_kills():
    script = """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(os.getpid())
    time.sleep(600)
    """
    with Launched(script) as launched:
        pids = [line[4:] for line in launched.wait_for_lines(2)]
        launched.send_signal(signal.SIGINT)
        time.sleep(0.5)
        launched.send_signal(signal.SIGINT)
        code, _, err = launched.end()
    assert code == 130 and err == ["Killing the workers."] and gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the children")
def test_workers_do_not_outlive_a_launcher_that_is_killed():
    with Launched("print(os.getpid()); time.sleep(600)") as launched:
        pids = [line[4:] for line in launched.wait_for_lines(2)]
        launched.kill()
    assert gone(pids)


def test_workers_end_when_nobody_reads_their_output():
    script = "print(os.getpid())\nwhile True: print('more'); time.sleep(0.1)"
    with Launched(script) as launched:
        pids = [line[4:] for line in launched.wait_for_lines(2)]
        launched.stdout.close()
        assert launched.wait(60) == 143
        assert launched.stderr.read() == b""
    assert gone([pid for pid in pids if pid.isdigit()])


COUNTING = """
    print(json.dumps([*sys.argv[1:], config["cluster"]["worker"][0]]))
    if "{until}" not in sys.argv:
        time.sleep(600 * (1 - me))
        {end}
"""


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(75)", "sys.exit(1)"]
)
def test_a_lost_group_is_started_again_from_its_checkpoint(end):
    script = COUNTING.format(until="auto", end=end)
    code, out, err = Launched(
        script, "--resume", "x", "--seed", "1", "--resume=y", restarts=5
    ).end()
    assert code == 0
    assert err[1:] == ["Starting all workers again, from the last checkpoint (1 of 5)."]
    starts = [json.loads(line[4:]) for line in out if line.startswith("[0]")]
    (*first, port), (*second, other_port) = starts
    assert first == ["--resume", "x", "--seed", "1", "--resume=y"]
    assert second == ["--seed", "1", "--resume", "auto"]
    assert port != other_port


def test_it_is_not_started_again_for_ever():
    script = COUNTING.format(until="never", end="sys.exit(9)")
    code, out, err = Launched(script, restarts=2).end()
    assert code == 9 and len([line for line in out if line.startswith("[0]")]) == 3
    assert [line[-9:] for line in err if "again" in line] == ["(1 of 2).", "(2 of 2)."]


@pytest.mark.parametrize("code", [2, 130, 143])
def test_what_another_start_would_not_mend_is_not_started_again(code):
    got, out, _ = Launched(f"print(1); sys.exit({code})", restarts=2).end()
    assert got == code and len(out) == 2


@pytest.mark.parametrize(
    "words, parts",
    [
        ("", ["--workers N", "zoo launch --workers 2"]),
        ("--workers 2", ["zoo launch --workers 2 fashion_mnist"]),
        ("fashion_mnist --workers 2", ["zoo launch --workers 2 fashion_mnist"]),
        ("--workers 0 fashion_mnist", ["workers=0"]),
        ("--workers=-1 fashion_mnist", ["workers=-1"]),
        ("--workers two fashion_mnist", ["'two'"]),
        ("--workers 2 --max-restarts -1 fashion_mnist", ["max_restarts=-1"]),
        ("--workers 2 --max-restart 1 fashion_mnist", ["--max-restarts"]),
        ("--workers 2 fashion_mnits", ["Did you mean 'fashion_mnist'?"]),
        ("--workers 2 fashion_mnist --epoch 2", ["Did you mean --epochs?"]),
        ("--workers 2 -- fashion_mnist --epochs 0", ["epochs=0"]),
    ],
)
def test_bad_words_start_nothing(words, parts, capsys, monkeypatch):
    monkeypatch.setattr(launch, "run", None)
    code, out, err = call(capsys, "launch", *words.split())
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    "words",
    [
        "--workers 3 --max-restarts 1 fashion_mnist --seed 4 --epochs 1",
        "--workers=3 --max-restarts=1 -- fashion_mnist --seed 4 --epochs 1",
        "--max-restarts 1 --workers 3 -- fashion-mnist --seed 4 --epochs 1",
    ],
)
def test_the_words_after_the_recipe_are_its_own(words, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(launch, "run", lambda *args: asked.append(args) or 5)
    code, _, _ = call(capsys, "launch", *words.split())
    recipe = [sys.executable, "-m", "zoo.recipes.fashion_mnist"]
    assert asked == [([*recipe, "--seed", "4", "--epochs", "1"], 3, 1)] and code == 5


def test_help_teaches(capsys):
    code, out, _ = call(capsys, "launch", "--help")
    assert code == 0 and "zoo launch --workers 2" in out and "--max-restarts" in out
    assert "zoo launch" in call(capsys, "--help")[1]
    code, out, _ = call(capsys, *"launch --workers 2 fashion_mnist --help".split())
    assert code == 0 and "--learning-rate" in out
