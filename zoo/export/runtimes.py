"""What answers for an exported file: LiteRT, ONNX Runtime or TensorFlow.

Each is asked in the same way, `ask(signature, inputs) -> outputs`, so that one
certificate fits them all: raw images in, class probabilities out.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo import console
from zoo.errors import ZooError
from zoo.export import replay

FLOAT, INT8, ONNX = "model.tflite", "model_int8.tflite", "model.onnx"
_NEEDED = {"litert": (), "onnx": ("tf2onnx", "onnx", "onnxruntime")}  # of an extra


@dataclass(frozen=True)
class Runtime:
    """One way to run an exported model.

    Attributes:
        format: its name, to be read.
        path: of the file, or of the folder of a SavedModel.
        open: loads it and returns what it is asked by.
    """

    format: str
    path: Path
    open: Callable[[Path], replay.Ask]


def of_version(version: str | Path) -> list[Runtime]:
    """Return how to run what is in the folder of a version, by the files in it."""
    version = Path(version)
    runtimes = [
        Runtime("LiteRT float", version / FLOAT, litert_ask),
        Runtime("LiteRT int8", version / INT8, litert_ask),
        Runtime("ONNX", version / ONNX, onnx_ask),
    ]
    if (version / "saved_model.pb").is_file():
        return [Runtime("SavedModel", version, replay.saved_model_ask)]
    return [runtime for runtime in runtimes if runtime.path.is_file()]


def need(extra: str) -> None:
    """Raise a `ZooError` with the command that installs what an export lacks."""
    for module in _NEEDED[extra]:
        _need_module(module, extra)


def _need_module(module, extra):
    if importlib.util.find_spec(module) is None:
        raise ZooError(
            f"{module} is not installed, which the format {extra} needs; in a "
            f"checkout: pip install -e '.[{extra}]'"
        )


def litert_ask(path: str | Path, reference: bool = False) -> replay.Ask:
    """Return what asks a LiteRT file, by `ai-edge-litert`.

    Args:
        path: of the `.tflite` file.
        reference: use LiteRT's plain reference kernels, which round integers in
            another way than those for this processor.
    """
    with console.standard_error_held():  # it announces its delegate
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
        interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner()

    def ask(signature, inputs):
        return _answers(run(images=inputs["images"])["probabilities"])

    ask.interpreter = interpreter  # its runner keeps no hold of it
    return ask


def onnx_ask(path: str | Path) -> replay.Ask:
    """Return what asks an ONNX file, by ONNX Runtime on the CPU."""
    _need_module("onnxruntime", "onnx")  # all that answering takes
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )

    def ask(signature, inputs):
        return _answers(*session.run(["probabilities"], {"images": inputs["images"]}))

    return ask


def _answers(probabilities: np.ndarray) -> replay.Arrays:
    return {
        "probabilities": probabilities,
        "class_ids": probabilities.argmax(axis=-1).astype(np.int64),
    }
