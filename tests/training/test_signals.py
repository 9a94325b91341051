"""SIGTERM ends a process in order, wherever it comes."""

import signal

import pytest

from tests.conftest import run_python

ENDING = """
import signal, time, weakref
from zoo.training.signals import sigterm_raises

class Thing:
    pass

def terminate(reference=None):
    signal.raise_signal(signal.SIGTERM)

with sigterm_raises():
    try:
        {where}
        time.sleep(20)
        print("it went on")
    finally:
        time.sleep(0.7)
        print("closed", flush=True)
"""


@pytest.mark.parametrize(
    "where",
    [
        "terminate()",
        "thing = Thing(); reference = weakref.ref(thing, terminate); del thing",
    ],
    ids=["anywhere", "where Python drops exceptions"],
)
def test_sigterm_closes_what_is_open(where):
    done = run_python("-c", ENDING.format(where=where))
    assert (done.returncode, done.stdout) == (143, "closed\n"), done.stderr
    dropped = "reference" in where
    assert ("Exception ignored" in done.stderr) == dropped


def test_afterwards_signals_mean_what_they_did():
    numbers = signal.SIGTERM, signal.SIGALRM
    before = [signal.getsignal(number) for number in numbers]
    from zoo.training.signals import sigterm_raises

    with sigterm_raises():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in numbers] == before
