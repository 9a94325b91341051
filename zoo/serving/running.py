"""A server's life: it loads, serves, and stops when what is in flight is answered."""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import socket
import threading

import uvicorn
from fastapi import FastAPI

from zoo.console import INTERRUPTED, say
from zoo.serving import app, grpc_api
from zoo.serving.connections import IDLE_SECONDS, MOST, Connections
from zoo.serving.metrics import Metrics
from zoo.serving.repository import Repository
from zoo.serving.serve import Serve

GRACE_SECONDS = 30  # for what is in flight when the server is told to stop
_THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")


def run(options: Serve, listener: socket.socket) -> int:
    """Serve until a signal ends it; return the exit code.

    Args:
        options: of the command line.
        listener: bound to the address of the REST API.

    Raises:
        ZooError: there is no model to serve, or the port for gRPC is taken.
    """
    # It logs each connection that is not HTTP, which a stranger can make many of.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # The collector would walk TensorFlow's objects again and again, and stop the
    # server for half a second each time.
    gc.collect()
    gc.freeze()
    metrics = Metrics()
    repository = Repository(
        options.directory,
        num_versions=options.num_versions,
        max_batch_size=options.max_batch_size,
        batch_wait_ms=options.batch_wait_ms,
        metrics=metrics,
    )
    max_bytes = round(options.max_body_mb * 2**20)
    max_pixels = round(options.max_megapixels * 1e6)
    grpc = None
    if options.grpc_port:
        grpc, _ = grpc_api.start(
            repository,
            metrics,
            options.host,
            options.grpc_port,
            max_message_bytes=max_bytes,
            max_pixels=max_pixels,
        )
    application = app.create(
        repository,
        metrics,
        max_body_bytes=max_bytes,
        max_pixels=max_pixels,
        hosts=_hosts(options, listener),
    )
    server = Server(config(application), grpc)
    loading = threading.Thread(
        target=_load, args=(repository, server, options, listener), daemon=True
    )
    loading.start()
    server.run([listener])
    if server.failure is not None:
        raise server.failure
    if loading.is_alive():
        os._exit(0)  # nothing is in flight, and TensorFlow cannot be interrupted
    repository.close()
    return 0


def config(
    application: FastAPI, connections: Connections | None = None
) -> uvicorn.Config:
    """Return how uvicorn runs the application, with bounded connections."""
    if connections is None:
        connections = Connections(_most_connections())
    return uvicorn.Config(
        application,
        http=connections.protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(2 * IDLE_SECONDS),  # our connections have their own
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _most_connections() -> int:
    """Return how many may be open: fewer than the process may open files."""
    try:
        import resource
    except ImportError:  # Windows, where nothing but memory limits them
        return MOST
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else min(MOST, files // 2)


class Server(uvicorn.Server):
    """uvicorn's server, which stops together with gRPC's.

    Args:
        config: of uvicorn.
        grpc: the other server, if there is one.

    Attributes:
        failure: what it ends with; `None` if nothing failed.
    """

    def __init__(self, config: uvicorn.Config, grpc=None):
        super().__init__(config)
        self._grpc = grpc
        self.failure: Exception | None = None

    def handle_exit(self, sig, frame):
        """Stop at the first signal; end at once at the second."""
        if self.should_exit:
            os._exit(INTERRUPTED)  # which waits for no thread
        say("stopping: what is in flight is answered; Ctrl-C again ends it at once")
        self.end()

    def end(self):
        """Take no more requests, answer those that are here, and return."""
        self.config.app.state.stopping = True
        self.should_exit = True

    async def shutdown(self, sockets=None):
        """Stop both servers."""
        stops = [super().shutdown(sockets)]
        if self._grpc is not None:
            stops.append(asyncio.to_thread(self._grpc.stop, GRACE_SECONDS))
        await asyncio.gather(*stops)


def _load(repository, server, options, listener):
    try:
        repository.start()
    except Exception as error:  # the main thread raises it
        server.failure = error
        server.end()
        return
    for name in repository.names():
        states = repository.status(name)
        versions = [str(one.version) for one in states if one.state == "AVAILABLE"]
        say(f"{name} version {', '.join(versions)} is served")
    for line in _addresses(options, listener):
        say(line)


def _addresses(options, listener):
    host, port = listener.getsockname()[:2]
    shown = options.host
    if ipaddress.ip_address(host).is_unspecified:
        shown = socket.gethostname()
    elif ":" in shown:
        shown = f"[{shown}]"
    yield f"page  http://{shown}:{port}/"
    yield f"REST  http://{shown}:{port}/v1/models/NAME:predict"
    if options.grpc_port:
        yield f"gRPC  {shown}:{options.grpc_port}"
    if not _is_local(listener):
        yield (
            f"--host {options.host}: everyone who reaches this machine may use the "
            "models, without a password and without encryption; put a proxy that has "
            "both before it."
        )
    yield "Ctrl-C stops it."


def _hosts(options, listener):
    """Return the names of the server; any if others than this machine may call it."""
    return {*_THIS_MACHINE, options.host.lower()} if _is_local(listener) else None


def _is_local(listener):
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback
