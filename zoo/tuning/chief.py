"""The chief of a search: it hands out the trials, and gets back those of lost workers.

It speaks Keras Tuner's protocol. Each call also says, as gRPC metadata, which worker it
is from: the chief knows who lives, and refuses what a trial's former worker reports.
"""

import collections
import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from zoo.console import one_line, say
from zoo.errors import WorkerLost, ZooError
from zoo.training import meeting, signals
from zoo.tuning import records
from zoo.tuning.place import HOST, PORT, Place

SILENCE = 30  # seconds without a word of a worker, after which it is taken for lost
MOST_LOSSES = 2  # workers that one trial may take along
TICK = 0.2  # seconds between two looks at what has changed
THREADS = 1000  # at most: one a call, so that no call keeps a sign of life waiting
WORKER, PROCESS = "zoo-worker", "zoo-process"  # the metadata of every call
SEARCH, LEAVES = "zoo-search", "zoo-leaves"
CHANNEL = [("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0)]


def check(place: Place) -> None:
    """Raise a `ZooError` if the chief cannot listen where it should."""
    try:
        family, *_, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM
        )[0]
        socket.create_server(address[:2], family=family).close()
    except (OSError, UnicodeError) as error:  # the latter: it is no name of a host
        why = getattr(error, "strerror", None) or str(error)
        raise _cannot_listen(place, why.partition(" (")[0]) from None


def _cannot_listen(place, why):
    return ZooError(
        f"the chief of the search cannot listen at {place.address}: {why}. {HOST} must "
        f"be an address of this machine, {PORT} a port that nobody has (an earlier "
        "search?)."
    )


def serve(
    oracle: keras_tuner.Oracle,
    place: Place,
    search: str,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Hand out an oracle's trials until the search is over and all workers know it.

    A worker that is silent for 30 seconds, or is started again, has lost its trial: the
    trial is run again. One that took two workers along has failed.

    Args:
        oracle: says `STOPPED` when the search is over, but not while trials run.
        place: this process, and where it listens.
        search: what tells this search from others; a worker that has come with another
            is refused.
        watch: called several times a second, with the number of trials that ended; it
            looks after the workers, and says which are started again. Without it they
            come by themselves, in 60 seconds, or those of `ZOO_MEETING_SECONDS`.

    Raises:
        ZooError: the port cannot be had.
        WorkerLost: (exit code 75) no worker came, or none has been left for so long.
        Exception: whatever the oracle, or `watch`, raised.
    """
    check(place)  # gRPC has a line of its own for most of what that finds
    servicer = _Servicer(oracle, search, watched=watch is not None)
    patience = meeting.patience()
    server = grpc.server(ThreadPoolExecutor(THREADS), options=CHANNEL)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(place.address)
    except RuntimeError as error:
        raise _cannot_listen(place, one_line(error)) from None
    with signals.sigterm_raises(), contextlib.ExitStack() as stack:
        stack.callback(lambda: server.stop(grace=1).wait())  # the last answers go out
        server.start()
        while not servicer.done:
            if servicer.error:
                raise servicer.error
            if watch:
                watch(len(oracle.end_order))
            elif servicer.alone > patience:
                raise WorkerLost(
                    f"no worker of the search was at {place.address} for {patience:g} "
                    "s: check that they were started, what they say, and that they can "
                    f"reach the chief. {meeting.LONGER}"
                )
            servicer.look_after()
            time.sleep(TICK)


class _Servicer(OracleServicer):
    """Answers the workers.

    Attributes:
        error: what the oracle raised, if it did.
    """

    def __init__(self, oracle, search, watched):
        super().__init__(oracle)
        self.error: Exception | None = None
        self._search, self._watched = search, watched
        self._turn = threading.RLock()  # Keras Tuner's stays locked after an exception
        self._heard: dict[str, float] = {}  # worker -> when
        self._processes: dict[str, str] = {}  # worker -> which process it is now
        self._told: set[str] = set()  # that the search is over
        self._last = time.monotonic()  # when a worker was there
        self._losses = collections.Counter()  # of workers, by trial

    @property
    def done(self) -> bool:
        """Whether the search is over, and every worker that lives knows it."""
        return self.stop_triggered and set(self._heard) <= self._told

    @property
    def alone(self) -> float:
        """For how many seconds no worker has been there."""
        return time.monotonic() - self._last

    def look_after(self):
        """Take back the trials of those that are silent."""
        with self._turn:
            now = time.monotonic()
            if self._heard:
                self._last = now
            for worker, when in list(self._heard.items()):
                if now - when > SILENCE:
                    self._lose(worker, f"was not heard of for {SILENCE} s")

    def CreateTrial(self, request, context):  # noqa: N802, D102, Keras Tuner's
        worker = self._greet(context)
        with self._turn:
            response = self._call(context, self._create, worker, request, context)
            stopped = protos.get_proto().TrialStatus.STOPPED
            if response.trial.status == stopped:
                self._told.add(worker)
            self._heard[worker] = time.monotonic()  # the oracle may have taken long
            return response

    def _create(self, worker, request, context):
        process = dict(context.invocation_metadata())[PROCESS]
        if self._processes.get(worker, process) != process:
            self._lose(worker, "was started again", quiet=self._watched)
        self._processes[worker] = process
        return super().CreateTrial(request, context)

    def GetSpace(self, request, context):  # noqa: D102
        worker = self._greet(context)
        if LEAVES in dict(context.invocation_metadata()):
            with self._turn:
                self._call(context, self._take_back, worker)
        return super().GetSpace(request, context)

    def GetTrial(self, request, context):  # noqa: D102, also the sign of life
        self._refuse_former(request.trial_id, context)
        return super().GetTrial(request, context)

    def UpdateTrial(self, request, context):  # noqa: D102
        with self._turn:
            self._refuse_former(request.trial_id, context)
            return self._call(context, super().UpdateTrial, request, context)

    def EndTrial(self, request, context):  # noqa: D102
        with self._turn:
            self._refuse_former(request.trial.trial_id, context)
            return self._call(context, super().EndTrial, request, context)

    def _greet(self, context):
        """Note that a worker lives; return its name."""
        given = dict(context.invocation_metadata())
        worker = given.get(WORKER, "a worker")
        if given.get(SEARCH) != self._search:
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{worker} has other options, data or versions than the chief",
            )
        self._heard[worker] = time.monotonic()
        return worker

    def _refuse_former(self, trial, context):
        worker = self._greet(context)
        process = dict(context.invocation_metadata())[PROCESS]
        theirs = self.oracle.ongoing_trials.get(worker)
        if not theirs or theirs.trial_id != trial:
            why = f"its trial is no longer {worker}'s, which was silent for long"
        elif self._processes.get(worker) != process:
            why = f"another process has come as {worker}"
        else:
            return
        context.abort(grpc.StatusCode.ABORTED, why)

    def _call(self, context, function, *words):
        """Call a function; what it raises ends the chief."""
        if self.error is None:
            try:
                return function(*words)
            except Exception as error:
                self.error = error
        context.abort(grpc.StatusCode.INTERNAL, one_line(self.error))

    def _lose(self, worker, how, quiet=False):
        trial = self._take_back(worker)
        if trial is None:
            return
        name = trial.trial_id
        number = 1 + self.oracle.start_order.index(name)
        self._losses[name] += 1
        if self._losses[name] < MOST_LOSSES:
            if not quiet:
                say(f"Worker {worker} {how}: its trial {number} is run again.")
            return
        trial.message = (
            f"it took {MOST_LOSSES} workers along, the last one {worker}, which {how}: "
            "out of memory?"
        )
        say(f"Trial {number} has failed: {trial.message}")
        self._fail(worker, trial)

    def _take_back(self, worker):
        """Put a worker's trial where the next one gets it from; return the trial."""
        self._heard.pop(worker, None)
        self.oracle.tuner_ids.discard(worker)
        trial = self.oracle.ongoing_trials.pop(worker, None)
        if trial:
            self.oracle._retry_queue.append(trial.trial_id)
            self.oracle.save()
        return trial

    def _fail(self, worker, trial):
        folder = Path(self.oracle._get_trial_dir(trial.trial_id))
        record = records.Trial(0, trial.trial_id, dict(trial.hyperparameters.values))
        with contextlib.suppress(FileNotFoundError):
            record = records.read(folder)
        error = trial.message
        records.write(folder, dataclasses.replace(record, status="failed", error=error))
        self.oracle._retry_queue.remove(trial.trial_id)
        trial.status = TrialStatus.FAILED
        self.oracle.end_trial(trial)
