"""A worker of a search: it gets its trials from the chief, and shows that it lives."""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
import uuid

import grpc
import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.errors import FatalError
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_client import OracleClient

from zoo.console import say
from zoo.errors import WorkerLost, ZooError
from zoo.training import meeting, signals
from zoo.tuning.chief import CHANNEL, LEAVES, PROCESS, SEARCH, WORKER
from zoo.tuning.place import HOST, PORT, Place

BEAT = 3  # seconds between two signs of life
GONE = 30  # seconds without an answer, after which the chief is taken for gone
GRACE = 20  # seconds to end in order then, before the process is ended
ANSWER = 5  # seconds for the chief to answer a sign of life
QUIET = 2  # seconds of waiting before it is mentioned
PAUSE = 0.5  # seconds before the chief is asked for a trial again
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class ChiefLost(WorkerLost, FatalError):
    """The chief is gone; to start this worker again may help."""


class GivenUp(ChiefLost):
    """The chief has given this worker's trial to another one."""


class Client(OracleClient):
    """The oracle as a worker has it: that of the chief, behind Keras Tuner's protocol.

    In its `with` block the worker gives signs of life, and ends when the chief does
    not answer any more, with a checkpoint if it trains (`zoo.callbacks.Resume`);
    SIGTERM raises `SystemExit`. A worker that is asked to end says good-bye: its trial
    is run again at once. When its trial is another's, the process ends at once: what it
    would write would be in the other's way.

    Args:
        oracle: as it is on the chief; only its objective and limits are read.
        place: this process, and where the chief is.
        search: what tells this search from others.

    Raises:
        ChiefLost: (exit code 75) on entering, the chief did not come in 60 seconds, or
            those of `ZOO_MEETING_SECONDS`; in the block and at its end, it is gone.
        ZooError: on entering, it is the chief of another search, or none.
    """

    def __init__(self, oracle: keras_tuner.Oracle, place: Place, search: str):
        super().__init__(oracle)
        self._address = place.address
        self._chief = f"the chief of the search at {place.address}"
        self._channel = grpc.insecure_channel(
            place.address, options=[*CHANNEL, *RECONNECT]
        )
        metadata = {WORKER: place.id, PROCESS: uuid.uuid4().hex, SEARCH: search}
        self.stub = _Stub(self._channel, metadata, self._explained)
        self._trial = None  # the one that runs
        self._lost: str | None = None  # why this process has to end
        self._over = threading.Event()
        self._life = threading.Thread(target=self._live, daemon=True)
        self._signals = signals.sigterm_raises()

    def __enter__(self):
        self._wait()
        self._signals.__enter__()
        self._life.start()
        return self

    def __exit__(self, kind, error, traceback):
        self._over.set()
        self._life.join()  # or it could say after the good-bye that it lives
        asked = kind is not None and issubclass(kind, (SystemExit, KeyboardInterrupt))
        if asked and not self._lost:
            with contextlib.suppress(ZooError):
                self._ask({LEAVES: "1"}, timeout=QUIET)
        self._channel.close()
        self._signals.__exit__(None, None, None)
        if asked and self._lost:
            raise ChiefLost(self._lost) from None

    def create_trial(self, tuner_id):
        """Return the next trial; wait a moment if there is none yet."""
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._trial = trial
        elif trial.status == TrialStatus.IDLE:
            time.sleep(PAUSE)
        return trial

    def end_trial(self, trial):
        """Report that a trial has ended."""
        self._trial = None  # first: after that it is no longer ours
        super().end_trial(trial)

    def _wait(self):
        """Wait until the chief is there."""
        seconds, mentioned = meeting.patience(), False
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                return self._ask(timeout=min(left, QUIET), wait_for_ready=True)
            except ChiefLost:
                if not mentioned:
                    say(f"Waiting for {self._chief} ...")
            mentioned = True
            time.sleep(PAUSE)  # not each refusal takes as long as the timeout
        raise ChiefLost(
            f"{self._chief} cannot be reached within {seconds:g} s: check that it was "
            "started, what it says, and that its host and port can be reached from "
            f"here. {meeting.LONGER}"
        )

    def _ask(self, more=None, **options):
        """Make the smallest of Keras Tuner's calls, for what it says by itself."""
        request = protos.get_service().GetSpaceRequest()
        self.stub.call("GetSpace", request, more, **options)

    def _live(self):
        """Show the chief every few seconds that this worker lives, and with what."""
        answered = time.monotonic()
        while not self._over.wait(BEAT):
            trial = self._trial
            try:
                if trial:
                    request = protos.get_service().GetTrialRequest(
                        trial_id=trial.trial_id
                    )
                    self.stub.GetTrial(request, timeout=ANSWER)
                else:
                    self._ask(timeout=ANSWER)
                answered = time.monotonic()
            except GivenUp as error:
                if self._trial is trial:  # else it has just ended
                    return _end_at_once(str(error))
            except ZooError as error:
                if time.monotonic() > answered + GONE:
                    return self._end(str(error))

    def _end(self, why):
        """End this process: in order if it can, after a while in any case."""
        self._lost = why
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._over.wait(GRACE):
            _end_at_once(why)

    def _explained(self, error):
        code, details = error.code(), error.details()
        again = "start it again: the search goes on where it stopped."
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            return ZooError(
                f"{self._chief} refuses this worker ({details}): start all with the "
                f"same options, or give each search a port of its own."
            )
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return ZooError(
                f"what answers at {self._address} is not the chief of a search: check "
                f"{HOST} and {PORT}, and that nothing else has the chief's port."
            )
        if code == grpc.StatusCode.ABORTED:
            return GivenUp(
                f"{self._chief} has given this worker up ({details}): {again}"
            )
        if code == grpc.StatusCode.INTERNAL:
            return ChiefLost(f"{self._chief} has failed ({details}): see what it says.")
        return ChiefLost(f"{self._chief} is gone ({details}): {again}")


def _end_at_once(why):
    print(f"error: {why}", file=sys.stderr, flush=True)
    os._exit(ChiefLost.exit_code)


class _Stub:
    """Keras Tuner's calls, each with our metadata, and with errors of ours."""

    def __init__(self, channel, metadata, explained):
        self._stub = protos.get_service_grpc().OracleStub(channel)
        self._metadata, self._explained = metadata, explained

    def __getattr__(self, name):
        return functools.partial(self.call, name)

    def call(self, name, request, more=None, **options):
        """Make a call, with `more` metadata."""
        metadata = tuple((self._metadata | (more or {})).items())
        try:
            return getattr(self._stub, name)(request, metadata=metadata, **options)
        except grpc.RpcError as error:
            raise self._explained(error) from None
