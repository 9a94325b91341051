"""What a SavedModel may do when it is loaded and served: compute, and nothing else.

A SavedModel is a program, and TensorFlow runs part of it while it loads. Among
TensorFlow's 1,500 operations are some that read and write any file, connect to other
machines or call Python, and some that run a graph hidden in a string; a list of those
to forbid would never be whole. So this is a list of what is allowed: the families of
operations that turn tensors into tensors, and variables and tables.
"""

import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import ZooError

_FAMILIES = (
    "array audio bitwise control_flow count ctc cudnn_rnn functional image linalg list "
    "lookup manip map math nn parsing ragged_array ragged_conversion ragged_math "
    "random random_index_shuffle resource_variable rnn set sparse special_math "
    "spectral state stateful_random stateless_random stateless_random_ops_v2 string "
    "uniform_quant"
).split()
_BUT = {
    "Abort",  # ends the process
    "ImmutableConst",  # maps a file into memory
    "RemoteCall",  # runs on another machine
    "InitializeTableFromTextFile",  # of TensorFlow 1
}
_AND = {"Assert", "DynamicPartition", "DynamicStitch", "ParallelDynamicStitch"}
_TENSOR_ARRAY = re.compile("TensorArray[A-Za-z]*V3")
_TABLE_FROM_FILE = "InitializeTableFromTextFileV2"
# Every SavedModel has functions that write and read its weights. TensorFlow's loader
# calls none of them: it calls those of the object graph, and what they call.
_CHECKPOINT = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}


def refuse_unsafe(version_dir: str | Path) -> None:
    """Raise if a SavedModel could do more than compute; nothing of it is run.

    It may still ask for much memory or time: this is no sandbox.

    Args:
        version_dir: the folder that holds `saved_model.pb`.

    Raises:
        ZooError: it could, or it is no SavedModel of TensorFlow 2; the message names
            the operation.
    """
    version_dir = Path(version_dir)
    graph = _meta_graph(version_dir)
    called = _called(graph)
    _check(graph.graph_def.node, allowed() | _CHECKPOINT, version_dir)  # not run
    for function in graph.graph_def.library.function:
        saves = function.signature.name not in called
        may = allowed() | _CHECKPOINT if saves else allowed()
        _check(function.node_def, may, version_dir)
        for node in function.node_def:
            if node.op == _TABLE_FROM_FILE and not _from_asset(graph, function, node):
                raise ZooError(
                    f"{version_dir} is refused: its operation {node.op!r} may read a "
                    "file that is not one of its assets."
                )


def _check(nodes, may, version_dir):
    for node in nodes:
        if node.op not in may:
            raise ZooError(
                f"{version_dir} is refused: its graph holds the operation "
                f"{node.op[:50]!r}, which may do more than compute, such as touch "
                "files, other machines or this process."
            )


@functools.cache
def allowed() -> frozenset[str]:
    """Return the names of the operations that only compute."""
    import tensorflow as tf

    names = set(_AND)
    for family in _FAMILIES:
        suffix = "" if family.endswith("_v2") else "_ops"
        module = importlib.import_module(f"tensorflow.python.ops.gen_{family}{suffix}")
        names |= vars(module).keys() & vars(tf.raw_ops).keys()
    names |= set(filter(_TENSOR_ARRAY.fullmatch, vars(tf.raw_ops)))
    return frozenset(names - _BUT)


def _meta_graph(version_dir):
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = version_dir / "saved_model.pb"
    try:
        content = SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ZooError(
            f"{version_dir} holds no SavedModel that can be read ({error})."
        ) from None
    graphs = content.meta_graphs
    # Otherwise TensorFlow loads it as one of TensorFlow 1, and runs the main graph.
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        raise ZooError(
            f"{version_dir} is no SavedModel of TensorFlow 2: export it again, with "
            "tf.saved_model.save, model.export or zoo export."
        )
    return graphs[0]


def _called(graph) -> set[str]:
    """Return the names of the functions that loading and serving may call."""
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    called = set()
    waiting = {*graph.object_graph_def.concrete_functions}
    waiting |= {gradient.gradient_func for gradient in graph.graph_def.library.gradient}
    # Grappler may put one function in the place of another that implements the same.
    waiting |= {name for name, f in functions.items() if "api_implements" in f.attr}
    while waiting := (waiting & functions.keys()) - called:
        called |= waiting
        waiting = {word for name in waiting for word in _words(functions[name])}
    return called


def _words(function) -> Iterator[str]:
    """Yield whatever in a function might be another's name."""
    attrs = [function.attr, *(node.attr for node in function.node_def)]
    for value in (value for attr in attrs for value in attr.values()):
        yield value.func.name
        yield from (each.name for each in value.list.func)
        yield from (text.decode("utf8", "replace") for text in (value.s, *value.list.s))
    yield from (node.op for node in function.node_def)  # a call, by its old notation


def _from_asset(graph, function, node) -> bool:
    """Return whether the file that a node reads is an asset: bound, and so given."""
    name, objects = function.signature.name, graph.object_graph_def
    if name not in objects.concrete_functions:
        return False
    if any(name in _words(other) for other in graph.graph_def.library.function):
        return False  # which might pass another file
    arguments = [argument.name for argument in function.signature.input_arg]
    inputs = objects.concrete_functions[name].bound_inputs
    if len(arguments) != len(inputs) or not {*node.input[1:2]} & {*arguments}:
        return False
    bound = objects.nodes[inputs[arguments.index(node.input[1])]]
    if bound.WhichOneof("kind") != "asset":
        return False
    file = graph.asset_file_def[bound.asset.asset_file_def_index].filename
    return file == Path(file).name  # in assets/ itself
