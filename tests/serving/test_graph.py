import re

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework import op_def_registry

from zoo import ZooError
from zoo.serving import graph


def save(function, folder, spec=None, **tracked):
    """Write a SavedModel whose signature calls a function of a float vector."""
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    spec = spec or tf.TensorSpec((None,), tf.float32, name="x")
    signature = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=signature)
    return folder


def edit(version, change):
    """Change a SavedModel's protocol buffer."""
    path = version / "saved_model.pb"
    content = SavedModel.FromString(path.read_bytes())
    change(content.meta_graphs[0])
    path.write_bytes(content.SerializeToString())


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Return a SavedModel with a variable, a loop, a branch and decoded images."""
    weight = tf.Variable(2.0)

    def function(image_bytes):
        def size(encoded):
            image = tf.io.decode_image(encoded, expand_animations=False)
            area = tf.cast(tf.size(image), tf.float32)
            return tf.cond(area > 9, lambda: area * weight, lambda: area)

        return {"size": tf.map_fn(size, image_bytes, fn_output_signature=tf.float32)}

    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    folder = tmp_path_factory.mktemp("honest") / "1"
    return save(function, folder, spec, weight=weight)


@pytest.fixture
def table(tmp_path):
    """Return a SavedModel with a table that is filled from an asset."""
    words = tmp_path / "words.txt"
    words.write_text("shirt\nboot\n")
    line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    initializer = tf.lookup.TextFileInitializer(
        str(words), tf.string, line[0], tf.int64, line[1]
    )
    found = tf.lookup.StaticHashTable(initializer, -1)
    spec = tf.TensorSpec((None,), tf.string, name="words")
    version = tmp_path / "1"
    return save(lambda words: {"n": found.lookup(words)}, version, spec, table=found)


def test_what_only_computes_is_served(honest, table):
    graph.refuse_unsafe(honest)
    graph.refuse_unsafe(table)


def hidden(marker):
    """Return a graph in a string that writes a file when it is run."""

    def write(_):
        tf.io.write_file(marker, "x")
        return tf.constant(1)

    with tf.init_scope():
        return tf.data.Dataset.range(1).map(write)._as_serialized_graph().numpy()


def print_to_a_file(marker):
    tf.raw_ops.PrintV2(input="x", output_stream=f"file://{marker}")


def save_a_checkpoint(marker):
    tf.raw_ops.SaveV2(
        prefix=marker, tensor_names=["a"], shape_and_slices=[""], tensors=[1.0]
    )


HARM = {
    "ReadFile": tf.io.read_file,
    "WriteFile": lambda marker: tf.io.write_file(marker, "x"),
    "MatchingFiles": tf.io.matching_files,
    "PrintV2": print_to_a_file,
    "SaveV2": save_a_checkpoint,
    "EagerPyFunc": lambda marker: tf.py_function(lambda: 1.0, [], tf.float32),
    "TextLineDataset": lambda marker: tf.raw_ops.TextLineDataset(
        filenames=marker, compression_type="", buffer_size=0
    ),
    "DatasetFromGraph": lambda marker: tf.raw_ops.DatasetFromGraph(
        graph_def=hidden(marker)
    ),
    "Abort": lambda marker: tf.raw_ops.Abort(error_msg=""),
    "ImmutableConst": lambda marker: tf.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=[1], memory_region_name=marker
    ),
}


@pytest.mark.parametrize("op", HARM)
def test_what_does_more_is_refused_before_it_is_loaded(op, tmp_path):
    marker = tmp_path / "marker"

    def function(x):
        def branch():  # a function of its own in the graph
            HARM[op](str(marker))
            return x

        return {"y": tf.cond(tf.reduce_sum(x) > 0, branch, lambda: x)}

    version = save(function, tmp_path / "1")
    with pytest.raises(ZooError, match=f"'{op}'") as refused:
        graph.refuse_unsafe(version)
    assert "\n" not in str(refused.value)
    assert not marker.exists()


def saver(meta):
    """Return the function that writes the weights; no signature calls it."""
    library = meta.graph_def.library.function
    (found,) = (f for f in library if "traced_save" in f.signature.name)
    return found


def signature(meta):
    name = next(iter(meta.object_graph_def.concrete_functions))
    return next(f for f in meta.graph_def.library.function if f.signature.name == name)


def call_it(meta):
    call = signature(meta).node_def.add(name="save", op="PartitionedCall")
    call.attr["f"].func.name = saver(meta).signature.name


def call_it_by_name(meta):
    """A node may name a function as its operation, whatever the function is called."""
    saver(meta).signature.name = "Relu"
    signature(meta).node_def.add(name="save", op="Relu")


def list_it(meta):
    call = signature(meta).node_def.add(name="save", op="Case")
    call.attr["branches"].list.func.add(name=saver(meta).signature.name)


def implement_the_same(meta):
    saver(meta).attr["api_implements"].s = b"relu"


def make_it_a_gradient(meta):
    gradient = meta.graph_def.library.gradient.add(function_name="f")
    gradient.gradient_func = saver(meta).signature.name


def offer_it(meta):
    meta.object_graph_def.concrete_functions[saver(meta).signature.name].SetInParent()


@pytest.mark.parametrize(
    "change",
    [
        call_it,
        call_it_by_name,
        list_it,
        implement_the_same,
        make_it_a_gradient,
        offer_it,
    ],
)
def test_the_weights_own_functions_may_not_be_called(change, honest, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes((honest / "saved_model.pb").read_bytes())
    edit(tmp_path, change)
    with pytest.raises(ZooError, match="'(SaveV2|ShardedFilename)'"):
        graph.refuse_unsafe(tmp_path)


def initializer(meta):
    library = meta.graph_def.library.function
    (found,) = (f for f in library if "initializer" in f.signature.name)
    return found


def outside_of_assets(meta):
    meta.asset_file_def[0].filename = "../../secret.txt"


def from_a_constant(meta):
    (node,) = (n for n in initializer(meta).node_def if n.op.startswith("Initialize"))
    node.input[1] = "Const:output:0"


def bound_to_something_else(meta):
    name = initializer(meta).signature.name
    concrete = meta.object_graph_def.concrete_functions[name]
    concrete.bound_inputs[0] = concrete.bound_inputs[1]


def called_with_another_file(meta):
    library = meta.graph_def.library.function
    other = next(f for f in library if "signature_wrapper" in f.signature.name)
    call = other.node_def.add(name="fill", op="PartitionedCall")
    call.attr["f"].func.name = initializer(meta).signature.name


@pytest.mark.parametrize(
    "change",
    [
        outside_of_assets,
        from_a_constant,
        bound_to_something_else,
        called_with_another_file,
    ],
)
def test_a_table_is_filled_from_an_asset_alone(change, table):
    edit(table, change)
    with pytest.raises(ZooError, match="not one of its assets"):
        graph.refuse_unsafe(table)


def of_tensorflow_1(meta):
    """TensorFlow then runs the main graph itself."""
    meta.ClearField("object_graph_def")


def test_a_savedmodel_of_tensorflow_1_is_refused(table):
    edit(table, of_tensorflow_1)
    with pytest.raises(ZooError, match="no SavedModel of TensorFlow 2"):
        graph.refuse_unsafe(table)


@pytest.mark.parametrize("content", [None, b"\xff\xff\xff\xff"])
def test_a_damaged_file_is_an_error(content, tmp_path):
    if content:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ZooError, match="no SavedModel that can be read"):
        graph.refuse_unsafe(tmp_path)


def test_no_allowed_operation_names_a_file_or_a_machine():
    """By what TensorFlow's own registry says of their inputs and attributes."""
    words = re.compile(
        "file|(?<!top_)path|^dir(?!ection)|logdir|prefix|host$|address|url|stream|region|"
        "descriptor|graph_def|^target$|server|token"
    )
    found = {}
    for name in graph.allowed():
        definition = op_def_registry.get(name)
        fields = [*definition.input_arg, *definition.attr] if definition else []
        if hits := [field.name for field in fields if words.search(field.name)]:
            found[name] = hits
    assert found == {"InitializeTableFromTextFileV2": ["filename"]}
    assert {"ReadFile", "PrintV2", "DecodeProtoV2"}.isdisjoint(graph.allowed())
