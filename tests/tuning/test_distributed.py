"""The chief and the workers of a search, over Keras Tuner's own protocol."""

import contextlib
import math
import os
import queue
import signal
import socket
import threading
import time
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import grpc
import keras_tuner
import pytest

from zoo.errors import WorkerLost, ZooError
from zoo.training.launch import free_ports
from zoo.tuning import chief, oracles, place, records, worker

RUNNING, STOPPED, IDLE = "RUNNING", "STOPPED", "IDLE"


def oracle(directory, tuner="random", trials=3):
    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-4, 1e-1, sampling="log")
    space.Int("width", 1, 9)
    made = oracles.make(
        tuner,
        objective=keras_tuner.Objective("score", "max"),
        trials=trials,
        seed=3,
        hyperparameters=space,
        epochs=1,
    )
    made._set_project_dir(str(directory), "search")
    return made


class Chief:
    """A chief in a thread, and workers of it in this one."""

    def __init__(self, oracle, monkeypatch, host="127.0.0.1"):
        (port,) = free_ports(1)
        self.oracle, self.end, self.raised = oracle, threading.Event(), None
        self.place = place.Place("chief", host, port)
        monkeypatch.setenv(place.ID, "any")
        monkeypatch.setenv(place.HOST, self.place.host)
        monkeypatch.setenv(place.PORT, str(port))
        before = chief._Servicer.__init__

        def init(servicer, *words, **options):
            before(servicer, *words, **options)
            self.servicer = servicer

        monkeypatch.setattr(chief._Servicer, "__init__", init)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        def watch(_):
            if self.end.is_set():
                raise InterruptedError

        try:
            chief.serve(self.oracle, self.place, "this one", watch)
        except Exception as error:
            self.raised = error

    def client(self, name="tuner0", search="this one"):
        at = place.Place(name, self.place.host, self.place.port)
        return worker.Client(self.oracle, at, search)

    def is_over(self):
        """Wait for the chief to return by itself."""
        self.thread.join(20)
        return not self.thread.is_alive() and self.raised is None

    def misses(self, worker):
        """Have the chief take a worker for silent at once, instead of in 30 seconds."""
        heard = self.servicer._heard
        while worker in heard:  # a sign of life may have been under way
            heard[worker] = -math.inf
            time.sleep(0.02)

    def is_lost(self):
        """Have the chief end in the middle, and wait for it."""
        self.end.set()
        self.thread.join()


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Return what starts a chief of eager workers; it ends with the test."""
    monkeypatch.setattr(worker, "BEAT", 0.1)
    monkeypatch.setattr(worker, "PAUSE", 0.02)
    with contextlib.ExitStack() as stack:

        def start(host="127.0.0.1", **options):
            one = Chief(oracle(tmp_path, **options), monkeypatch, host)
            stack.callback(one.is_lost)
            return one

        yield start


@pytest.fixture
def exits(monkeypatch):
    """Return the queue of the codes with which this process would have ended."""
    codes = queue.SimpleQueue()
    monkeypatch.setattr(os, "_exit", codes.put)
    return codes


def kill(client):
    """Have a client be silent from now on, without a good-bye."""
    client._over.set()
    client._life.join()


def next_trial(client):
    """Return the next trial, when there is one or the search is over."""
    until = time.monotonic() + 30
    while (trial := client.create_trial(client.tuner_id)).status == IDLE:
        assert time.monotonic() < until
    return trial


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Have each client go by the name of its place; Keras Tuner's is the process's."""
    before = worker.Client.__init__

    def init(self, oracle, at, search):
        before(self, oracle, at, search)
        self.tuner_id = at.id

    monkeypatch.setattr(worker.Client, "__init__", init)


def end(client, trial, score=0.5):
    client.update_trial(trial.trial_id, {"score": score})
    trial.status = "COMPLETED"
    client.end_trial(trial)


def run(client):
    """Work until the search is over; return the trials."""
    trials = []
    while (trial := next_trial(client)).status == RUNNING:
        trials.append(trial)
        end(client, trial)
    assert trial.status == STOPPED
    return trials


def values(trials):
    return {trial.trial_id: trial.hyperparameters.values for trial in trials}


def test_two_workers_try_what_one_process_does(started, tmp_path):
    alone = oracle(tmp_path / "alone", trials=5)
    wanted = [alone.create_trial(f"tuner{number}") for number in range(5)]
    one = started(trials=5)
    with one.client("tuner0") as first, one.client("tuner1") as second:
        trials = [next_trial(first), next_trial(second)]
        end(second, trials[1])
        trials += run_both(first, trials[0], second)
    assert values(trials) == values(wanted)
    assert one.is_over()
    assert sorted(one.oracle.end_order) == ["0", "1", "2", "3", "4"]


def run_both(first, running, second):
    trials = []
    while (trial := second.create_trial("tuner1")).status == RUNNING:
        trials.append(trial)
        end(second, trial)
    assert trial.status == IDLE  # there is a trial that may be lost yet
    end(first, running)
    assert run(second) == run(first) == []
    return trials


@pytest.mark.parametrize("tuner", ["bayesian", "coarse-to-fine", "hyperband", "grid"])
def test_every_tuner_serves_two_workers(started, tuner):
    one = started(tuner=tuner, trials=8)
    with one.client("tuner0") as first, one.client("tuner1") as second:
        held, score = next_trial(first), 0.0
        while (trial := second.create_trial("tuner1")).status == RUNNING:
            end(second, trial, score=score)
            score += 0.1
        assert score > 0.1  # until it would need to know how the other's went
        end(first, held)
        run(first)
        assert run(second) == []
    assert one.is_over() and set(one.oracle.end_order) == set(one.oracle.trials)
    tried = {str(t.hyperparameters.values) for t in one.oracle.trials.values()}
    if tuner == "hyperband":  # which goes on with its best
        assert len(one.oracle.trials) == 8
    else:
        assert len(tried) == len(one.oracle.trials) >= 7  # 1 and 3 times 2 of a grid


def test_bayesian_guesses_how_those_that_run_went(tmp_path):
    one = oracle(tmp_path, "bayesian", trials=20)
    for number in range(8):
        trial = one.create_trial("tuner0")
        if number < 7:
            one.update_trial(trial.trial_id, {"score": 0.9 + 0.01 * number})
            trial.status = "COMPLETED"
            one.end_trial(trial)
    one.set_state(one.get_state())  # as after a restart: what was fitted is forgotten
    with warnings.catch_warnings():  # scikit-learn's, about so few of them
        warnings.simplefilter("ignore")
        _, scores = one._vectorize_trials()
    assert list(scores[:7]) == pytest.approx([-0.9 - 0.01 * n for n in range(7)])
    # A mean among theirs and one standard deviation, not that of no trial at all: 1.
    assert -0.96 < scores[7] < -0.8


def test_the_trial_of_a_lost_worker_is_run_again(started, capsys):
    one = started(trials=2)
    with one.client("tuner1") as second:
        with one.client("tuner0") as first:
            lost = next_trial(first)
            kill(first)
            one.misses("tuner0")
            trials = run(second)
            assert [t.trial_id for t in trials] == [lost.trial_id, "1"]
            assert values(trials)[lost.trial_id] == lost.hyperparameters.values
    assert one.is_over() and one.oracle.end_order == ["0", "1"]
    said = "Worker tuner0 was not heard of for 30 s: its trial 1 is run again."
    assert said in capsys.readouterr().err


def test_what_a_former_worker_reports_is_refused(started):
    one = started(trials=2)
    with one.client("tuner1") as second, one.client("tuner0") as first:
        lost = next_trial(first)
        kill(first)
        one.misses("tuner0")
        run(second)
        with pytest.raises(worker.GivenUp, match="its trial is no longer tuner0's"):
            end(first, lost, score=100)
        lost.status = "FAILED"
        with pytest.raises(worker.GivenUp, match="its trial is no longer tuner0's"):
            first.end_trial(lost)
    assert one.oracle.trials["0"].score == 0.5


def test_a_worker_that_was_frozen_ends_at_once(started, exits, monkeypatch, capsys):
    one = started(trials=2)
    with one.client("tuner1") as second, one.client("tuner0") as first:
        next_trial(first)
        with monkeypatch.context() as frozen:
            frozen.setattr(first.stub, "call", lambda *words, **options: None)
            one.misses("tuner0")
            while (trial := next_trial(second)).trial_id != "0":
                end(second, trial)
        # In order, SystemExit would come here, and a checkpoint in the other's way.
        assert exits.get(timeout=20) == 75
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: the chief of the search at")
    assert "its trial is no longer tuner0's" in line


def test_a_long_trial_is_left_to_its_worker(started):
    one = started(trials=2)
    with one.client() as client:
        trial = next_trial(client)
        aged = one.servicer._heard["tuner0"] = time.monotonic() - chief.SILENCE / 2
        until = time.monotonic() + 20
        while one.servicer._heard["tuner0"] == aged:  # until the next sign of life
            assert time.monotonic() < until
            time.sleep(0.02)
        end(client, trial)
        assert [t.trial_id for t in run(client)] == ["1"]
    assert one.is_over()


def test_a_trial_that_takes_two_workers_along_has_failed(started, tmp_path, capsys):
    one = started(trials=2)
    with one.client("tuner0") as client:
        trial = next_trial(client)
        kill(client)
    with one.client("tuner0") as client:  # started again, under its name
        again = next_trial(client)
        kill(client)
    assert again.trial_id == trial.trial_id
    assert again.hyperparameters.values == trial.hyperparameters.values
    with one.client("tuner0") as client:
        assert [t.trial_id for t in run(client)] == ["1"]
    assert one.is_over()
    error = (
        "it took 2 workers along, the last one tuner0, which was started again: out of "
        "memory?"
    )
    lost = one.oracle.trials["0"]
    assert (lost.status, lost.message) == ("FAILED", error)
    record = records.read(tmp_path / "search" / "trial_0")
    assert (record.status, record.error) == ("failed", error)
    assert record.values == trial.hyperparameters.values
    said = capsys.readouterr().err
    assert f"Trial 1 has failed: {error}" in said
    assert "run again" not in said  # who starts workers again says so


def test_a_worker_that_comes_again_by_itself(started, monkeypatch, capsys):
    one = started(trials=1)
    with one.client("tuner0") as client:
        one.servicer._watched = False
        next_trial(client)
        kill(client)
    with one.client("tuner0") as client:
        run(client)
    said = "Worker tuner0 was started again: its trial 1 is run again.\n"
    assert capsys.readouterr().err == said


def test_a_worker_that_says_good_bye_has_not_lost_its_trial(started):
    one = started(trials=1)
    for name in ("tuner0", "tuner0", "tuner1", "tuner2"):
        with pytest.raises(SystemExit), one.client(name) as client:
            assert next_trial(client).trial_id == "0"
            raise SystemExit(143)
    with one.client() as client:
        assert [trial.trial_id for trial in run(client)] == ["0"]
    assert one.is_over() and one.oracle.trials["0"].status == "COMPLETED"


def test_sigterm_ends_a_worker_in_order(started):
    one = started(trials=1)
    with pytest.raises(SystemExit) as raised, one.client() as client:
        next_trial(client)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(20)
    assert raised.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_two_processes_of_one_name(started):
    one = started(trials=2)
    with one.client("tuner0") as first, one.client("tuner0") as second:
        trial = next_trial(first)
        kill(first)
        assert next_trial(second).trial_id == trial.trial_id
        with pytest.raises(worker.GivenUp, match="another process has come as tuner0"):
            end(first, trial)


def test_a_worker_of_another_search_is_refused(started):
    one = started()
    with pytest.raises(ZooError, match="a port of its own") as raised:
        one.client(search="another").__enter__()
    assert raised.value.exit_code == 2 and "\n" not in str(raised.value)


def test_no_chief(monkeypatch, capsys):
    (port,) = free_ports(1)
    for name, value in ((place.HOST, "127.0.0.1"), (place.PORT, str(port))):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(place.ID, "tuner0")
    monkeypatch.setenv("ZOO_MEETING_SECONDS", "0.5")
    client = worker.Client(None, place.from_environment(), "this one")
    with pytest.raises(worker.ChiefLost, match="within 0.5 s") as raised:
        client.__enter__()
    assert raised.value.exit_code == 75 and "\n" not in str(raised.value)
    address = f"the chief of the search at 127.0.0.1:{port}"
    assert address in str(raised.value)
    assert capsys.readouterr().err == f"Waiting for {address} ...\n"


def test_a_worker_whose_chief_is_gone_ends(started, monkeypatch):
    monkeypatch.setattr(worker, "GONE", 0.5)
    one = started()
    with pytest.raises(worker.ChiefLost, match="is gone") as raised:
        with one.client() as client:
            next_trial(client)
            one.is_lost()
            threading.Event().wait(20)  # as if it trained
    assert raised.value.exit_code == 75 and "\n" not in str(raised.value)
    assert "the search goes on where it stopped" in str(raised.value)


def test_a_worker_that_cannot_end_in_order_ends_too(
    started, exits, monkeypatch, capsys
):
    monkeypatch.setattr(worker, "GONE", 0.5)
    monkeypatch.setattr(worker, "GRACE", 0.2)
    one = started()
    with one.client():
        one.is_lost()
        code = None
        with contextlib.suppress(SystemExit):
            code = exits.get(timeout=20)
        assert (code or exits.get(timeout=20)) == 75
    assert capsys.readouterr().err.startswith("error: the chief of the search at")


def test_a_report_to_a_chief_that_is_gone(started, monkeypatch):
    monkeypatch.setattr(worker, "GONE", 0.5)
    one = started()
    with pytest.raises(worker.ChiefLost, match="is gone"), one.client() as client:
        trial = next_trial(client)
        one.is_lost()
        end(client, trial)


def test_what_the_oracle_raises_ends_the_chief(started, monkeypatch):
    one = started()
    monkeypatch.setattr(one.oracle, "end_trial", lambda trial: 1 / 0)
    with pytest.raises(worker.ChiefLost, match="failed .ZeroDivisionError: division"):
        with one.client() as client:
            end(client, next_trial(client))
    one.thread.join(20)
    assert isinstance(one.raised, ZeroDivisionError)


def test_what_fails_for_a_lost_worker_ends_the_chief(started, monkeypatch):
    one = started()
    with one.client("tuner0") as client:
        next_trial(client)
        kill(client)
    monkeypatch.setattr(one.oracle, "save", lambda: 1 / 0)  # a full disk
    with pytest.raises(worker.ChiefLost, match="failed .ZeroDivisionError: division"):
        with one.client("tuner0") as client:
            next_trial(client)
    one.thread.join(20)
    assert isinstance(one.raised, ZeroDivisionError)


def test_a_worker_pauses_before_it_asks_again(started, monkeypatch):
    one, pauses = started(trials=1), []
    with one.client("tuner0") as first, one.client("tuner1") as second:
        trial = next_trial(first)
        clock = types.SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic)
        monkeypatch.setattr(worker, "time", clock)
        assert second.create_trial("tuner1").status == IDLE
        assert pauses == [worker.PAUSE]
        end(first, trial)
        assert run(second) == run(first) == [] and pauses == [worker.PAUSE]
    assert one.is_over()


def test_no_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MEETING_SECONDS", "0.3")
    at = place.Place("chief", "127.0.0.1", *free_ports(1))
    with pytest.raises(WorkerLost, match="no worker .* for 0.3 s") as raised:
        chief.serve(oracle(tmp_path), at, "this one")
    assert raised.value.exit_code == 75 and "\n" not in str(raised.value)


def test_the_port_is_taken(tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = place.Place("chief", *taken.getsockname())
        for listen in (chief.check, lambda at: chief.serve(oracle(tmp_path), at, "")):
            with pytest.raises(
                ZooError, match=f"at {at.address}: Address al"
            ) as raised:
                listen(at)
            assert raised.value.exit_code == 2 and "\n" not in str(raised.value)
    chief.check(at)  # it is free now, and stays so
    chief.check(at)
    assert capfd.readouterr().err == ""  # nothing of gRPC's


def test_the_host_is_not_this_machine():
    with pytest.raises(ZooError, match="at 192.0.2.1:8000: Cannot assign"):
        chief.check(place.Place("chief", "192.0.2.1", 8000))  # that of RFC 5737
    with pytest.raises(ZooError, match="at no.invalid:8000: "):
        chief.check(place.Place("chief", "no.invalid", 8000))


def test_an_address_of_ipv6(started):
    try:
        taken = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with taken:
        at = place.Place("chief", *taken.getsockname()[:2])
        with pytest.raises(ZooError, match=rf"at \[::1\]:{at.port}: Address already"):
            chief.check(at)
    one = started(trials=1, host="::1")
    with one.client() as client:
        assert len(run(client)) == 1
    assert one.is_over()


def test_a_chief_that_refuses_is_waited_for(monkeypatch, capsys):
    def call(*words, **options):
        raise worker.ChiefLost("refused")

    clock = FakeClock()
    monkeypatch.setattr(worker, "time", clock)
    for name, value in ((place.HOST, "127.0.0.1"), (place.PORT, "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(place.ID, "tuner0")
    client = worker.Client(None, place.from_environment(), "this one")
    monkeypatch.setattr(client.stub, "call", call)
    with pytest.raises(worker.ChiefLost, match="within 60 s"):
        client.__enter__()
    assert 60 <= clock.now <= 60 + worker.PAUSE
    assert capsys.readouterr().err.count("Waiting for") == 1


class FakeClock:
    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_another_server_at_the_chiefs_port(monkeypatch):
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        for name, value in ((place.HOST, "127.0.0.1"), (place.PORT, str(port))):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(place.ID, "tuner0")
        at = place.Place("tuner0", "127.0.0.1", port)
        with pytest.raises(
            ZooError, match=f"at {at.address} is not the chief"
        ) as raised:
            worker.Client(None, at, "this one").__enter__()
        server.stop(None).wait()
    assert raised.value.exit_code == 2 and "\n" not in str(raised.value)


def test_sigterm_ends_the_chief_in_order(tmp_path):
    (port,) = free_ports(1)
    with pytest.raises(SystemExit) as raised:
        chief.serve(
            oracle(tmp_path),
            place.Place("chief", "127.0.0.1", port),
            "this one",
            lambda _: os.kill(os.getpid(), signal.SIGTERM),
        )
    assert raised.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with socket.create_server(("127.0.0.1", port)):  # which is free again
        pass


@pytest.mark.parametrize(
    "given, found",
    [
        ({}, None),
        ({"ID": "chief", "HOST": "a", "PORT": "1"}, ("a:1", True)),
        ({"ID": "tuner0", "HOST": "::", "PORT": "65535"}, ("[::]:65535", False)),
        ({"ID": "tuner0", "HOST": "[::1]", "PORT": "1"}, ("[::1]:1", False)),
        ({"ID": "tuner0"}, f"{place.HOST} and {place.PORT} must be set"),
        ({"HOST": "a", "PORT": "1"}, f"{place.ID} must be set"),
        ({"ID": "tuner0", "HOST": "", "PORT": "1"}, f"{place.HOST} must be set"),
        ({"ID": "t", "HOST": "a", "PORT": "0"}, "a port, 1 to 65535. Received: '0'"),
        ({"ID": "t", "HOST": "a", "PORT": "65536"}, "Received: '65536'"),
        ({"ID": "t", "HOST": "a", "PORT": "tcp://b:1"}, "Received: 'tcp://b:1'"),
    ],
)
def test_the_place_of_a_process(given, found, monkeypatch):
    for name in ("ID", "HOST", "PORT"):
        monkeypatch.delenv(getattr(place, name), raising=False)
    for name, value in given.items():
        monkeypatch.setenv(getattr(place, name), value)
    if isinstance(found, str):
        with pytest.raises(ZooError) as raised:
            place.from_environment()
        assert found in str(raised.value) and "\n" not in str(raised.value)
    else:
        here = place.from_environment()
        assert (here and (here.address, here.chief)) == found
