"""What the server tells Prometheus: requests, their times, batches, versions."""

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from zoo.serving.errors import Refused

UNKNOWN = "unknown"  # the model of a request for one that is not served
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = tuple(2**power for power in range(11))


class Metrics:
    """The numbers of one server, in a registry of its own.

    | metric | labels | |
    |---|---|---|
    | `zoo_serving_requests_total` | model, api, status | answered requests |
    | `zoo_serving_request_seconds` | model, api | from the request to its answer |
    | `zoo_serving_batch_rows` | model | rows that the model was called with at once |
    | `zoo_serving_loaded` | model, version | 1 for each version that is served |
    | `zoo_serving_load_failures_total` | model | versions that could not be served |
    | `process_*` | | memory, processor time and open files, on Linux |

    `api` is `rest` or `grpc`; `status` is the answer's: `200` or `OK`, and so on. The
    model of a request for one that was never served is `unknown`: a client cannot
    make the server keep names.

    Attributes:
        content_type: of `text()`.

    Example:
        >>> metrics = Metrics()
        >>> metrics.loaded("mnist", 1)
        >>> with metrics.request("mnist", "rest"):
        ...     pass
        >>> line = 'zoo_serving_requests_total{api="rest",model="mnist",status="200"} 1'
        >>> line in metrics.text().decode()
        True
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._models: set[str] = set()
        self._requests = Counter(
            "zoo_serving_requests",
            "Answered requests.",
            ["model", "api", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "zoo_serving_request_seconds",
            "Time from a request to its answer.",
            ["model", "api"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            "zoo_serving_batch_rows",
            "Rows that the model was called with at once.",
            ["model"],
            buckets=_ROWS,
            registry=registry,
        )
        self._loaded = Gauge(
            "zoo_serving_loaded",
            "1 for each version that is served.",
            ["model", "version"],
            registry=registry,
        )
        self._failures = Counter(
            "zoo_serving_load_failures",
            "Versions that could not be served.",
            ["model"],
            registry=registry,
        )

    def request(self, model: str, api: str) -> "Request":
        """Return what counts and times a request: a context around its answer.

        Args:
            model: the name that was asked for.
            api: `rest` or `grpc`.
        """
        return Request(self, model, api)

    def answered(self, model: str, api: str, status: str, seconds: float) -> None:
        """Count a request; `request` does it."""
        model = model if model in self._models else UNKNOWN
        self._requests.labels(model, api, status).inc()
        self._seconds.labels(model, api).observe(seconds)

    def batch(self, model: str, rows: int) -> None:
        """Count a call of a model."""
        self._batches.labels(model).observe(rows)

    def loaded(self, model: str, version: int) -> None:
        """Note that a version is served."""
        self._models.add(model)
        self._loaded.labels(model, version).set(1)

    def unloaded(self, model: str, version: int) -> None:
        """Note that it is no longer."""
        self._loaded.remove(model, version)

    def load_failed(self, model: str) -> None:
        """Count a version that could not be served."""
        self._failures.labels(model).inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)


class Request:
    """One request while it is answered.

    A `Refused` that leaves it gives the status; another exception is our defect.

    Attributes:
        status: what is counted; set it where an answer has another than 200 or OK.
        model: likewise.
    """

    _FINE = {"rest": "200", "grpc": "OK"}
    _DEFECT = {"rest": "500", "grpc": "INTERNAL"}
    _GONE = {"rest": "499", "grpc": "CANCELLED"}  # the client did not wait

    def __init__(self, metrics: Metrics, model: str, api: str):
        self._metrics, self._api = metrics, api
        self.model, self.status = model, self._FINE[api]

    def __enter__(self) -> "Request":
        self._begin = time.perf_counter()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, Refused):
            rest = self._api == "rest"
            self.status = str(error.status) if rest else error.code.name
        elif error is not None:
            of = self._DEFECT if isinstance(error, Exception) else self._GONE
            self.status = of[self._api]
        seconds = time.perf_counter() - self._begin
        self._metrics.answered(self.model, self._api, self.status, seconds)
