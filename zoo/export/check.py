"""`zoo check-export`: whether exports, or a server, answer as the trained models."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from zoo import console
from zoo.errors import ZooError
from zoo.export import file_certificate, remote, replay, versions
from zoo.serving import graph

NOT_AS_CERTIFIED = 1  # the exit code, as a test that fails has it
_NUM_SHOWN = 5  # sentences about one export


@dataclass(frozen=True)
class CheckExport:
    """Ask exports again what the trained models were asked, and compare the answers.

    Without --url and --grpc a SavedModel is loaded in a process of its own with plain
    TensorFlow, without zoo and Keras, and its files are compared with their digests.
    One that might do more than compute is not loaded.
    """

    directory: Annotated[Positional[Path], arg(metavar="DIR")] = Path("saved_models")
    """A version, such as saved_models/fashion_mnist_cnn/1; or a model, whose newest
    version is checked; or a folder of models. LiteRT and ONNX likewise."""
    url: str | None = None
    """Ask a running server over REST instead, such as http://localhost:8501: zoo serve,
    or TensorFlow Serving."""
    grpc: str | None = None
    """Ask a running server over gRPC instead, such as localhost:8500."""

    def __call__(self) -> int:
        """Print a line for each version; return 1 if one is not as certified."""
        failed = 0
        for version in find(self.directory):
            wrong = self._wrong_with(version)
            failed += bool(wrong)
            print(f"{'FAILED' if wrong else 'ok':6} {version}", flush=True)
            for sentence in wrong[:_NUM_SHOWN]:
                print(f"       {sentence}")
            if not wrong:
                print(f"       {_summary(version)}", flush=True)
        return NOT_AS_CERTIFIED if failed else 0

    def _wrong_with(self, version: Path) -> list[str]:
        if self.url or self.grpc:
            return self._wrong_with_servers(version)
        if not _is_saved_model(version):
            return file_certificate.check(version)
        return _wrong_with_saved_model(version)

    def _wrong_with_servers(self, version: Path) -> list[str]:
        if not _is_saved_model(version):
            raise ZooError(
                f"{version} is a LiteRT or ONNX model, and only SavedModels are "
                "served: check it without --url and --grpc."
            )
        try:
            certificate = replay.read(version)
        except replay.Damaged as damaged:
            return [str(damaged)]
        name, number = version.resolve().parent.name, version.resolve().name
        if not number.isdecimal():
            raise ZooError(f"{version} is no version: its name must be a number.")
        asks = []
        if self.url:
            asks.append(remote.rest(self.url, name, int(number)))
        if self.grpc:
            asks.append(remote.grpc(self.grpc, name, int(number)))
        return [wrong for ask in asks for wrong in replay.replay(certificate, ask)]


def _wrong_with_saved_model(version: Path) -> list[str]:
    console.import_tensorflow()
    try:
        graph.refuse_unsafe(version)  # it may be a stranger's
    except ZooError as refusal:
        return [str(refusal)]
    return in_plain_tensorflow(version)


def in_plain_tensorflow(version: Path) -> list[str]:
    """Return what is wrong with a SavedModel, asked in a process without zoo."""
    done = subprocess.run(
        [sys.executable, "-P", replay.__file__, str(version)],
        capture_output=True,
        text=True,
    )
    try:
        return json.loads(done.stdout)
    except ValueError:  # it crashed: nothing but the check writes there
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"the check ended with exit code {done.returncode} ({last})"]


def find(directory: Path) -> list[Path]:
    """Return the versions that a directory stands for.

    Args:
        directory: a version, a model (its newest version), or a folder of models.

    Raises:
        ZooError: there is none.
    """
    if not directory.is_dir():
        raise ZooError(
            f"{directory} is no folder: name an export, such as "
            "saved_models/fashion_mnist_cnn; zoo export RUN makes one."
        )
    if (directory / _certificate(directory)).exists() or (
        directory / "saved_model.pb"
    ).exists():
        return [directory]
    models = sorted(path for path in directory.iterdir() if path.is_dir())
    found = [path for model in (directory, *models) for path in _newest(model)]
    if not found:
        raise ZooError(
            f"{directory} holds no export, neither NAME/VERSION nor VERSION: zoo "
            "export RUN makes one."
        )
    return found


def _is_saved_model(version: Path) -> bool:
    of_files = (version / file_certificate.CERTIFICATE).exists()  # LiteRT or ONNX
    return not of_files or (version / "saved_model.pb").exists()


def _certificate(version: Path) -> str:
    saved_model = _is_saved_model(version)
    return replay.CERTIFICATE if saved_model else file_certificate.CERTIFICATE


def _newest(model: Path) -> list[Path]:
    """Return the newest version of a model, or nothing."""
    # A number that has versions of its own is a model.
    found = [path for path in versions.versions(model) if not versions.versions(path)]
    return found[-1:]


def _summary(version: Path) -> str:
    certificate = replay.read(version, _certificate(version))
    requests, accuracy = certificate["requests"], certificate.get("accuracy")
    images = sum(len(next(iter(replay.decode(r["inputs"]).values()))) for r in requests)
    text = f"{images} answers as the trained model's, requests: {len(requests)}"
    if accuracy:
        text += f" (test accuracy {accuracy['test']:.2%} of {accuracy['images']:,})"
    return text
