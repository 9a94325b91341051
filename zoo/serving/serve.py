"""The command `zoo serve`: from a folder of SavedModels to a server, and its end."""

import errno
import importlib.util
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from zoo import console
from zoo.errors import ZooError, integer, number, positive_integer
from zoo.serving import folder

_BACKLOG = 2048  # connections that wait to be taken, as for uvicorn
_EXTRA = ("fastapi", "uvicorn", "httptools", "orjson", "prometheus_client", "grpc")


@dataclass(frozen=True)
class Serve:
    """Serve models over TensorFlow Serving's REST and gRPC APIs, with a page to try.

    For development, demonstrations and small loads. A new version in the folder is
    picked up while requests are answered; docs/serving.md tells more.
    """

    directory: Annotated[Positional[Path], arg(metavar="DIR")] = Path("saved_models")
    """The models: DIR/NAME/VERSION/saved_model.pb, as zoo train and zoo export write
    them."""
    host: str = "127.0.0.1"
    """The address to listen on. The default is reached from this machine only; 0.0.0.0
    from every machine that reaches this one."""
    port: int = 8501
    """Of the REST API and the page; 0 takes a free one."""
    grpc_port: int = 8500
    """Of the gRPC API; 0 turns it off, as for TensorFlow Serving."""
    num_versions: int = 1
    """How many versions of each model to serve, the newest that work."""
    max_batch_size: int = 64
    """How many images the model is called with at once, gathered from the requests
    that wait. More is faster under load, and takes more memory."""
    batch_wait_ms: float = 2.0
    """How long to wait for more requests while others are about: longer fills batches,
    shorter answers sooner. A client alone never waits."""
    max_body_mb: float = 16.0
    """The largest request, in units of 2^20 bytes; a larger one is refused (413)."""
    max_megapixels: float = 25.0
    """The most pixels of the encoded images in a request, in millions, told by their
    headers: a file of a few kilobytes can unpack to gigabytes."""

    def __post_init__(self):
        integer("--port", self.port, least=0, below=2**16)
        integer("--grpc-port", self.grpc_port, least=0, below=2**16)
        if self.port == self.grpc_port != 0:
            raise ZooError(
                "--port and --grpc-port must be two ports. Received: "
                f"{self.port} for both."
            )
        positive_integer("--num-versions", self.num_versions)
        positive_integer("--max-batch-size", self.max_batch_size)
        number("--batch-wait-ms", self.batch_wait_ms, least=0)
        number("--max-body-mb", self.max_body_mb, above=0, below=2048)  # as gRPC has it
        number("--max-megapixels", self.max_megapixels, above=0)

    def __call__(self) -> int:
        """Serve until Ctrl-C or SIGTERM; return the exit code."""
        _need_extra()
        folder.check(self.directory)
        with _listener(self.host, self.port) as listener:
            console.say("Loading TensorFlow ...")
            _do_without_keras()
            console.import_tensorflow()
            # Its own lines would stand beside ours.
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            from zoo.serving.running import run

            return run(self, listener)


def _need_extra() -> None:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ZooError(
            f"zoo serve needs {', '.join(missing)}; in a checkout, "
            "pip install -e '.[serve]' brings all of it."
        )


def _do_without_keras() -> None:
    # TensorFlow imports it if it can; nothing here needs those 160 MB.
    if not {"tensorflow", "keras"} & set(sys.modules):
        sys.modules["keras"] = None


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens, before anything takes long."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter: it is no name of a host
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise ZooError(
                f"port {port} of {host} is in use: end the program that uses it, or "
                "choose another with --port; 0 is any free one."
            ) from None
        why = getattr(error, "strerror", None) or "no name of a host"
        raise ZooError(
            f"cannot listen on {host}:{port} ({why.partition(' (')[0]}): "
            "--host must be an address of this machine, such as 127.0.0.1, or 0.0.0.0 "
            "for all of them, and --port one that you may use."
        ) from None
