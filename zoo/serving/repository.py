"""The models of a folder, kept in step with it while they are served."""

import gc
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

from zoo.console import one_line, say
from zoo.errors import ZooError, number, positive_integer, unknown
from zoo.serving import folder as folders
from zoo.serving.errors import not_found, overloaded
from zoo.serving.metrics import Metrics
from zoo.serving.servable import Servable


@dataclass(frozen=True)
class Status:
    """How far a version is, in the terms of TensorFlow Serving.

    Attributes:
        version: its number.
        state: `LOADING`, `AVAILABLE`, `UNLOADING` (replaced or removed, and the last
            requests are answered) or `END`.
        error: why it could not be served; `None` for all others.
    """

    version: int
    state: str
    error: str | None = None


class Repository:
    """The models in `FOLDER/NAME/VERSION/`: the newest versions of each are served.

    A version is loaded beside those that are served, one at a time, and takes their
    place when it is ready: loaded, warmed up, certified. One that cannot be served
    changes nothing but its status, and is tried again when its files change. Folders
    that appear later are loaded when their files have rested for one look; removed
    ones are let go.

    What is not `NAME/NUMBER/saved_model.pb` is ignored. Names from requests are looked
    up in a dict and never reach the file system.

    Args:
        folder: such as `saved_models`.
        num_versions: of each model, the newest that work.
        max_batch_size: rows that a model is called with at once, at most.
        batch_wait_ms: milliseconds that a batch waits for more requests, at most.
        poll_seconds: between two looks at the folder.
        metrics: is told of versions and batches.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        num_versions: int = 1,
        max_batch_size: int = 64,
        batch_wait_ms: float = 2.0,
        poll_seconds: float = 1.0,
        metrics: Metrics,
    ):
        self._folder = Path(folder)
        self._num_versions = positive_integer("num_versions", num_versions)
        self._options = {
            "max_batch_size": positive_integer("max_batch_size", max_batch_size),
            "batch_wait_ms": number("batch_wait_ms", batch_wait_ms, least=0),
            "metrics": metrics,
        }
        self._seconds = number("poll_seconds", poll_seconds, above=0)
        self._metrics = metrics
        # One thread writes these two, and puts a new dict in the place of an old one:
        # readers need no lock.
        self._served: dict[str, dict[int, Servable]] = {}
        self._statuses: dict[str, dict[int, Status]] = {}
        self._leaving: dict[tuple[str, int], weakref.ref] = {}
        self._seen: dict[Path, tuple] = {}  # files at the last look, if not served
        self._broken: dict[Path, tuple] = {}  # files that could not be served
        self._told: set[str] = set()  # the lines of `_say_once`
        self._started, self._stop = False, threading.Event()
        self._watcher = threading.Thread(
            target=self._watch, name="repository", daemon=True
        )

    @property
    def loading(self) -> bool:
        """Whether `start` is not done yet."""
        return not self._started

    @property
    def ready(self) -> bool:
        """Whether models are served: `start` is done, and `close` was not called."""
        return self._started and not self._stop.is_set() and bool(self._served)

    def start(self) -> None:
        """Load what is there, then watch for changes.

        Raises:
            ZooError: there is no folder, no model in it, or none that can be served.
        """
        folders.check(self._folder)
        self._look(settled=True)
        failures = [line for name in self._statuses for line in self._failures(name)]
        if not self._served and not self._stop.is_set():
            why = "; ".join(failures) or "their folders cannot be read"
            raise ZooError(f"no model can be served: {why}")
        for line in failures:
            say(line)
        self._watcher.start()
        self._started = True

    def close(self) -> None:
        """Watch no longer, answer what is queued, and refuse what comes after.

        It may be called while `start` is loading, which then loads nothing more.
        """
        self._stop.set()
        if self._started:
            self._watcher.join()
        for versions in self._served.values():
            for servable in versions.values():
                servable.close()

    def names(self) -> list[str]:
        """Return the names of the models that are served."""
        return sorted(self._served)

    def get(self, name: str, version: int | None = None) -> Servable:
        """Return a version that is served; hold it until its answer is there.

        Args:
            name: of the model.
            version: its number; `None` is the newest.

        Raises:
            Refused: it is not served.
        """
        versions = self._served.get(name)
        if not versions:
            raise self._not_served(name)
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            known = ", ".join(map(str, sorted(versions)))
            raise not_found(
                f"version of {name} must be one of {known}. Received: {version}."
            )
        return versions[version]

    def status(self, name: str, version: int | None = None) -> list[Status]:
        """Return the status of the versions of a model, the newest first.

        Args:
            name: of the model.
            version: only this one.

        Raises:
            Refused: it is not known.
        """
        statuses = self._statuses.get(name, {})
        if version is not None:
            statuses = {version: statuses[version]} if version in statuses else {}
        if not statuses and self._statuses.get(name):
            raise not_found(f"{name} has no version {version}.")
        if not statuses:
            raise self._not_served(name)
        return [statuses[number] for number in sorted(statuses, reverse=True)]

    def _not_served(self, name):
        if failures := self._failures(name):
            return not_found("; ".join(failures))
        if self.loading:
            return overloaded("the models are still loading: send it again later.")
        if not self.names():
            return not_found("no model is served.")
        return not_found(str(unknown("model", name[:80], self.names())))

    def _failures(self, name) -> list[str]:
        return [
            f"{name} version {status.version} cannot be served: {status.error}"
            for status in self._statuses.get(name, {}).values()
            if status.error
        ]

    def _watch(self):
        while not self._stop.wait(self._seconds):
            try:
                self._finish_leaving()
                self._look(settled=False)
            except Exception as error:  # what is served is served on
                self._say_once(f"{self._folder} cannot be watched: {one_line(error)}")

    def _look(self, settled):
        models = folders.models(self._folder)
        for name in sorted({*models, *self._statuses}):
            if models.get(name, {}) is None:
                self._say_once(f"{self._folder / name} cannot be read: nothing changes")
            else:
                self._refresh(name, models.get(name, {}), settled)
        there = {path for of in models.values() for path in (of or {}).values()}
        for known in (self._seen, self._broken):
            for path in set(known) - there:
                del known[path]

    def _say_once(self, line):
        if line not in self._told:
            self._told.add(line)
            say(line)

    def _refresh(self, name, versions, settled):
        """Serve the newest versions that work, and let go of all others."""
        chosen = []
        for version in sorted(versions, reverse=True):
            if len(chosen) == self._num_versions or self._stop.is_set():
                break
            served = version in self._served.get(name, {})
            if served or self._load(name, version, versions[version], settled):
                chosen.append(version)
        # If none works, those that are served stay, though they be removed.
        if not self._stop.is_set() and (chosen or not versions):
            for version in set(self._served.get(name, {})) - set(chosen):
                self._let_go(name, version)
        self._forget(name, versions)

    def _load(self, name, version, path, settled) -> bool:
        files = folders.files(path)
        settled, self._seen[path] = settled or self._seen.get(path) == files, files
        if not settled or self._broken.get(path) == files:
            return False
        self._note(name, Status(version, "LOADING"))
        try:
            servable = Servable(name, version, path, **self._options)
        except ZooError as error:
            self._broken[path] = files
            self._metrics.load_failed(name)
            self._note(name, Status(version, "END", str(error)))
            if self._started:
                kept = ", ".join(map(str, self._served.get(name, {}))) or "none"
                say(
                    f"{name} version {version} cannot be served: {error} "
                    f"(served: {kept})"
                )
            return False
        self._served = {
            **self._served,
            name: {**self._served.get(name, {}), version: servable},
        }
        self._metrics.loaded(name, version)
        self._note(name, Status(version, "AVAILABLE"))
        if self._started:
            say(f"{name} version {version} is served")
        return True

    def _let_go(self, name, version):
        versions = dict(self._served[name])
        self._leaving[name, version] = weakref.ref(versions.pop(version))
        served = {**self._served, name: versions}
        self._served = {name: of for name, of in served.items() if of}
        self._metrics.unloaded(name, version)
        self._note(name, Status(version, "UNLOADING"))
        say(f"{name} version {version} is no longer served")

    def _finish_leaving(self):
        gone = [key for key, servable in self._leaving.items() if servable() is None]
        for name, version in gone:
            del self._leaving[name, version]
            # Another of this number may have come, or its status be forgotten.
            status = self._statuses.get(name, {}).get(version)
            if status and status.state == "UNLOADING":
                self._note(name, Status(version, "END"))
        if gone:
            gc.collect()  # TensorFlow's objects refer to each other

    def _forget(self, name, versions):
        """Drop what is known of versions that ended and whose folder is gone."""
        kept = {
            version: status
            for version, status in self._statuses.get(name, {}).items()
            if version in versions or status.state != "END"
        }
        statuses = {**self._statuses, name: kept}
        self._statuses = {name: of for name, of in statuses.items() if of}

    def _note(self, name, status):
        statuses = {**self._statuses.get(name, {}), status.version: status}
        self._statuses = {**self._statuses, name: statuses}
