"""How fast models are served: `zoo serve` beside what one would do without it.

    python benchmarks/serving.py [--parts speed soak] [--rounds 5] [--seconds 3]
    python benchmarks/serving.py --parts soak --minutes 10

`speed`: the latency (median and 99th percentile) and the throughput for 1, 8 and 64
clients that each ask about one image again and again. Beside `zoo serve` over REST (the
row format, pixels as JSON) and gRPC stand `zoo serve` without batches, the same HTTP
server with `model.predict` for each request, an empty request (`/healthz`), and the
bare SavedModel in a loop. All take turns; printed are medians over the rounds. The
clients are a process of their own (clients.py) on the same machine, so they share its
cores with the server; a gRPC client takes several times as much of them as a REST
client, which is but a socket.

`soak`: pixels and PNG files over REST, gRPC, metadata and the page, all at once for
minutes, while a version comes, a broken one comes, and one is removed. Every answer is
looked at: it must be that of a version that is served around that time. Printed are the
requests, those that failed, and the memory of the server over time.
"""

import argparse
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from zoo import console

keras = console.import_keras()

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import tensorflow as tf  # noqa: E402
from clients import Clients, Load  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402

import zoo  # noqa: E402
from zoo import export  # noqa: E402

NAME = "cnn"
CLIENTS = (1, 8, 64)
NUM_IMAGES = 16
WARM_UP = 1.0  # seconds, of each measurement


class Server:
    """A server in a process; a context manager.

    Args:
        *words: arguments of Python that start it.
        port: on which it answers over HTTP.
    """

    def __init__(self, *words: object, port: int):
        self.port = port
        self._process = subprocess.Popen([sys.executable, *map(str, words)])
        self._memory = psutil.Process(self._process.pid).memory_info

    def __enter__(self):
        for _ in range(1200):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if self.get("/readyz"):
                    return self
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit("a server did not start")

    def __exit__(self, *error):
        self._process.send_signal(signal.SIGTERM)
        if self._process.wait(60) and error[0] is None:
            raise SystemExit("a server failed at its end")

    def get(self, path: str) -> object:
        """Return what it answers in JSON."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=60) as response:
            return json.load(response)

    def megabytes(self) -> float:
        """Return the memory that it has in RAM."""
        return self._memory().rss / 2**20


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
        for one in sockets:
            stack.enter_context(one)
        return [one.getsockname()[1] for one in sockets]


def zoo_serve(folder: Path, *options: object) -> tuple[Server, int]:
    """Return a server of the models in a folder, and its port for gRPC."""
    port, grpc_port = free_ports(2)
    ports = ("--port", port, "--grpc-port", grpc_port)
    return Server("-m", "zoo", "serve", folder, *ports, *options, port=port), grpc_port


class Questions:
    """Images, and requests about them whose answers must name the right class.

    Args:
        *models: whose answers count as right.
    """

    def __init__(self, *models):
        rng = np.random.default_rng(0)
        # Of all shades, so that models do not take them all for the same.
        shades = np.linspace(2, 256, NUM_IMAGES).astype(int)
        self.images = np.stack(
            [rng.integers(0, shade, (28, 28, 1), np.uint8) for shade in shades]
        )
        answers = [model.predict(self.images, verbose=0) for model in models]
        self._classes = np.argmax(answers, axis=-1).T  # an image's, by each model

    def rows(self, port: int, clients: int = 1) -> Load:
        """Return requests for REST: a row of pixels in JSON."""
        bodies = [{"instances": image[None].tolist()} for image in self.images]
        return self._rest(port, bodies, clients)

    def files(self, port: int, clients: int = 1) -> Load:
        """Return requests for REST: a PNG file."""
        encoded = [tf.io.encode_png(image).numpy() for image in self.images]
        bodies = [
            {
                "signature_name": "serve_bytes",
                "instances": [{"b64": base64.b64encode(file).decode()}],
            }
            for file in encoded
        ]
        return self._rest(port, bodies, clients)

    def _rest(self, port, bodies, clients):
        requests = [
            post(f"/v1/models/{NAME}:predict", json.dumps(body).encode())
            for body in bodies
        ]
        names = [
            tuple(f'"class_ids":{number}'.encode() for number in numbers)
            for numbers in self._classes
        ]
        return Load(port, requests, names, clients)

    def over_grpc(self, port: int, clients: int = 1) -> Load:
        """Return requests for gRPC."""
        requests = []
        for image in self.images:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = NAME
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(image[None]))
            requests.append(request.SerializeToString())
        # The field int64_val, packed: its tag, one byte, the class.
        fields = [
            tuple(b"\x52\x01" + bytes([number]) for number in numbers)
            for numbers in self._classes
        ]
        return Load(port, requests, fields, clients, grpc=True)


def post(path: str, body: bytes) -> bytes:
    """Return a whole HTTP request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def getting(port: int, path: str, answer: bytes, clients: int = 1) -> Load:
    """Return the load of asking for a path."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    return Load(port, [request], [(answer,)], clients)


def speed(rounds: int, seconds: float) -> None:
    """Measure all, in turns; print the table and what the clients are told by it."""
    model = zoo.small_cnn()
    questions = Questions(model)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        version = export.saved_model(model, folder / "served" / NAME)
        model.save(folder / "model.keras")
        server, grpc_port = zoo_serve(folder / "served")
        stack.enter_context(server)
        one_by_one, _ = zoo_serve(folder / "served", "--max-batch-size", 1)
        stack.enter_context(one_by_one)
        (port,) = free_ports(1)
        unbatched = Path(__file__).with_name("unbatched.py")
        single = Server(unbatched, folder / "model.keras", port, port=port)
        stack.enter_context(single)
        clients = stack.enter_context(Clients())
        loads = {
            ROWS: lambda number: questions.rows(server.port, number),
            GRPC: lambda number: questions.over_grpc(grpc_port, number),
            SINGLE: lambda number: questions.rows(one_by_one.port, number),
            PREDICT: lambda number: questions.rows(single.port, number),
            EMPTY: lambda number: getting(server.port, "/healthz", b" 200 ", number),
        }
        bare = BareCall(version, questions.images)
        measured = {}
        for _ in range(rounds):
            for number in CLIENTS:
                for name, load in loads.items():
                    (outcome,) = clients.ask(
                        load(number), seconds=seconds, warm_up=WARM_UP
                    )
                    note(measured, (name, number), outcome.seconds, outcome.duration)
                    if outcome.failures:
                        raise SystemExit(f"{name}: {outcome.failures[0]}")
            note(measured, (BARE, 1), bare.loop(seconds), seconds)
    show({key: np.median(rows, axis=0) for key, rows in measured.items()})


ROWS, GRPC = "zoo serve, REST", "zoo serve, gRPC"
SINGLE = "REST, batches of 1"
PREDICT, EMPTY, BARE = "model.predict, REST", "empty request", "SavedModel in a loop"


class BareCall:
    """A SavedModel that is asked about one image at a time."""

    def __init__(self, version: Path, images: np.ndarray):
        self._model = tf.saved_model.load(str(version))
        self._images = images

    def loop(self, seconds: float) -> list[float]:
        """Return how long each call took, arrays in, arrays out."""
        signature, took = self._model.signatures["serving_default"], []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            image = self._images[len(took) % NUM_IMAGES]
            answers = signature(images=tf.constant(image[None]))
            _ = {name: answer.numpy() for name, answer in answers.items()}
            took.append(time.perf_counter() - began)
        return took


def note(measured: dict, key, seconds: list[float], duration: float) -> None:
    """Add a round: median and 99th percentile in milliseconds, requests a second."""
    quantiles = 1000 * np.quantile(seconds, [0.5, 0.99])
    measured.setdefault(key, []).append([*quantiles, len(seconds) / duration])


def show(medians: dict) -> None:
    """Print the table, and the two numbers that say whether batching is worth it."""
    print(f"\n{'':24}{'clients':>8}{'median':>11}{'99 %':>11}{'requests/s':>12}")
    for (name, number), (median, most, throughput) in medians.items():
        print(f"  {name:22}{number:8}{median:8.2f} ms{most:8.2f} ms{throughput:12,.0f}")
    for name in (ROWS, GRPC):
        ratio = medians[name, 64][2] / medians[PREDICT, 64][2]
        added = medians[name, 1][0] - medians[BARE, 1][0] - medians[EMPTY, 1][0]
        print(
            f"{name}: {ratio:.1f} times the throughput of model.predict at 64 clients; "
            f"{added:.2f} ms more than the bare call and an empty request at one",
            flush=True,
        )


def soak(minutes: float) -> None:
    """Ask everything for minutes while versions come and go; print what happened."""
    first, second = zoo.small_cnn(), zoo.small_cnn()
    questions = Questions(first, second)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        export.saved_model(first, folder / "served" / NAME)
        other = export.saved_model(second, folder / "elsewhere")
        server, grpc_port = zoo_serve(folder / "served")
        stack.enter_context(server)
        clients = stack.enter_context(Clients())
        path = f"/v1/models/{NAME}"
        loads = {
            "pixels over REST": questions.rows(server.port, 8),
            "files over REST": questions.files(server.port, 4),
            "pixels over gRPC": questions.over_grpc(grpc_port, 8),
            "metadata": getting(server.port, path + "/metadata", b'"DT_UINT8"'),
            "status": getting(server.port, path, b'"AVAILABLE"'),
            "page": getting(server.port, "/", b"</html>"),
        }
        clients.start(list(loads.values()), 60 * minutes)
        Changes(server, folder / "served" / NAME, other).watch(60 * minutes)
        outcomes = dict(zip(loads, clients.finish(), strict=True))
    print(f"\n{'':20}{'requests':>10}{'99 %':>11}{'failed':>8}")
    for name, outcome in outcomes.items():
        most = 1000 * np.quantile(outcome.seconds, 0.99)
        requests, failed = len(outcome.seconds), len(outcome.failures)
        print(f"  {name:18}{requests:10,}{most:8.2f} ms{failed:8}")
        for failure in outcome.failures[:3]:
            print(f"    {failure}")
    failed = sum(len(outcome.failures) for outcome in outcomes.values())
    print(f"{failed} requests failed", flush=True)


class Changes:
    """What happens to the versions during a soak, and to the memory meanwhile.

    Args:
        server: whose memory it is.
        model: the folder of the versions; 1 is there.
        other: a version of other weights, to become the next ones.
    """

    def __init__(self, server: Server, model: Path, other: Path):
        self._server, self._model, self._other = server, model, other

    def watch(self, seconds: float) -> None:
        """Make the changes at their times; print them, and the memory each minute."""
        began, minute = time.monotonic(), min(60.0, seconds / 10)
        changes = {
            0.2 * seconds: self.a_new_version,
            0.4 * seconds: self.a_broken_version,
            0.6 * seconds: self.the_newest_goes,
            0.8 * seconds: self.a_new_version,
        }
        times = {
            number * minute: self.memory for number in range(int(seconds / minute))
        }
        for due, event in sorted(
            [*changes.items(), *times.items()], key=lambda e: e[0]
        ):
            time.sleep(max(0.0, began + due - time.monotonic()))
            now = time.strftime("%M:%S", time.gmtime(time.monotonic() - began))
            print(f"{now}  {event()}", flush=True)
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        print(f"end    {self.memory()}", flush=True)

    def memory(self) -> str:
        """Return the memory of the server."""
        return f"{self._server.megabytes():6.0f} MB"

    def a_new_version(self) -> str:
        """Publish a version with other weights."""
        version = int(export.copy(self._other, self._model).name)
        self._wait(version, "AVAILABLE")
        return f"version {version} is served"

    def a_broken_version(self) -> str:
        """Publish a version with weights that are cut off."""
        broken = self._other.parents[1] / "broken"
        shutil.copytree(self._other, broken)
        data = next((broken / "variables").glob("variables.data-*"))
        os.truncate(data, data.stat().st_size // 2)
        version = int(export.copy(broken, self._model).name)
        self._wait(version, "END")
        return f"version {version} is broken, and refused"

    def the_newest_goes(self) -> str:
        """Remove all versions but the first."""
        for version in self._model.glob("[2-9]"):
            shutil.rmtree(version)
        self._wait(1, "AVAILABLE")
        return "version 1 is served again: the others were removed"

    def _wait(self, version, state):
        for _ in range(600):
            statuses = self._server.get(f"/v1/models/{NAME}")["model_version_status"]
            if (str(version), state) in [(s["version"], s["state"]) for s in statuses]:
                return
            time.sleep(0.1)
        raise SystemExit(f"version {version} is not {state}: {statuses}")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("speed", "soak")
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak")
    arguments = parser.parse_args()
    if "speed" in arguments.parts:
        speed(arguments.rounds, arguments.seconds)
    if "soak" in arguments.parts:
        soak(arguments.minutes)


if __name__ == "__main__":
    main()
