import io
import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

import zoo
from zoo import ZooError
from zoo.export.loading import load


@pytest.fixture
def honest(tmp_path):
    """Return the path of a small model's file."""
    inputs = keras.Input((4,), name="numbers")
    outputs = keras.layers.Dense(3, activation="tanh", name="dense")(inputs)
    path = tmp_path / "honest.keras"
    keras.Model(inputs, outputs).save(path)
    return path


def parts(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def edit_config(path, change):
    contents = parts(path)
    config = json.loads(contents["config.json"])
    change(config)
    write(path, {**contents, "config.json": json.dumps(config)})


def edit_weights(path, change):
    contents = parts(path)
    file = io.BytesIO(contents["model.weights.h5"])
    with h5py.File(file, "a") as weights:
        change(weights["layers/dense/vars"])
    write(path, {**contents, "model.weights.h5": file.getvalue()})


def dense(config):
    return config["config"]["layers"][1]


def same_weights(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def with_operations():
    """Return a model within a model, with operations of keras.ops between layers."""
    images = keras.Input((8, 8, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images) * 2
    inner = keras.Sequential(
        [
            keras.layers.Conv2D(2, 3, kernel_regularizer="l2"),
            keras.layers.Activation(keras.activations.gelu),
            keras.layers.Flatten(),
        ]
    )
    inner.compile("sgd", loss=keras.losses.MeanSquaredError())
    return keras.Model(images, zoo.Maxout(3, 2)(keras.ops.tanh(inner(x))))


def mixed():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return zoo.small_cnn((8, 8, 1), (4,), dropout=0.5)
    finally:
        keras.config.set_dtype_policy("float32")


def quantized(mode):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.layers[-1].quantize(mode)
    return model


@pytest.mark.parametrize(
    "build",
    [
        zoo.small_cnn,
        lambda: zoo.mlp(layer=zoo.MyDenseLayer, hidden_units=(4,), dropout=0.1),
        with_operations,
        mixed,
        lambda: quantized("int8"),
        lambda: quantized("int4"),
    ],
)
def test_the_zoos_models_and_kerass_layers_load(build, tmp_path):
    model = build()
    model.save(tmp_path / "model.keras")
    assert same_weights(load(tmp_path / "model.keras"), model)


def test_a_custom_loss_is_not_needed(honest):
    def change(config):
        loss = {"module": "os", "class_name": "function", "config": "system"}
        config["compile_config"] = {"optimizer": "sgd", "loss": loss}

    edit_config(honest, change)
    assert not load(honest).compiled


def refused(path, match, marker=None):
    with pytest.raises(ZooError, match=match) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)
    assert marker is None or not marker.exists()


def lambda_layer(marker):
    """Python bytecode in a Lambda layer (CVE-2024-3660)."""
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {
            "name": "evil",
            "function": {
                "class_name": "__lambda__",
                "config": {"value": "4wAAAAAAAAAA"},
            },
        },
    }


def any_function(marker):
    """Any function of any module (CVE-2025-1550)."""
    return {
        "module": "keras.layers",
        "class_name": "Activation",
        "config": {
            "name": "evil",
            "activation": {
                "module": "os",
                "class_name": "function",
                "config": "system",
                "registered_name": "system",
            },
        },
    }


def function_of_keras(marker):
    """A function of Keras that loads files (CVE-2025-8747)."""
    layer = any_function(marker)
    layer["config"]["activation"].update(module="keras.utils", config="get_file")
    return layer


def class_of_any_module(marker):
    return {
        "module": "subprocess",
        "class_name": "Popen",
        "config": {"name": "evil", "args": ["touch", str(marker)]},
    }


def class_of_keras(marker):
    return {
        "module": "keras.utils",
        "class_name": "PyDataset",
        "config": {"name": "evil"},
    }


def other_class_of_keras(marker):
    return {"module": "keras", "class_name": "Variable", "config": {"name": "evil"}}


def base_of_a_lookup(marker):
    """It reads its vocabulary from a file, too."""
    return {
        "module": "keras.src.layers.preprocessing.index_lookup",
        "class_name": "IndexLookup",
        "config": {"name": "evil", "vocabulary": "/etc/passwd"},
    }


def private_class_of_keras(marker):
    return {
        "module": "keras.src.layers.core.lambda_layer",
        "class_name": "Lambda",
        "config": {"name": "evil"},
    }


def switch_safe_mode_off(marker):
    """CVE-2025-9906."""
    layer = any_function(marker)
    layer["config"]["activation"].update(
        module="keras.config", config="enable_unsafe_deserialization"
    )
    return layer


def vocabulary_in_a_file(marker):
    """A file's lines become part of the model (CVE-2025-12058)."""
    return {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"name": "evil", "vocabulary": "/etc/passwd"},
    }


def saved_model(marker):
    return {
        "module": "keras.layers",
        "class_name": "TFSMLayer",
        "config": {"name": "evil", "filepath": str(marker)},
    }


def pickled_torch_module(marker):
    return {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"name": "evil", "module": "gASV"},
    }


def lambda_under_the_zoos_name(marker):
    return {
        "module": "zoo.layers",
        "class_name": "__lambda__",
        "registered_name": "zoo>Maxout",
        "config": {"name": "evil", "value": "4wAAAAAAAAAA"},
    }


def within_a_wrapper(marker):
    return {
        "module": "keras.layers",
        "class_name": "TimeDistributed",
        "config": {"name": "outer", "layer": lambda_layer(marker)},
    }


def without_a_module(marker):
    """As Keras 2 wrote it; Keras has another reader for that."""
    return {"class_name": "Lambda", "config": {"name": "evil"}}


def name_that_is_no_name(marker):
    return {
        "module": "keras.layers",
        "class_name": ["Dense"],
        "config": {"name": "evil"},
    }


@pytest.mark.parametrize(
    "layer",
    [
        lambda_layer,
        any_function,
        function_of_keras,
        class_of_any_module,
        class_of_keras,
        other_class_of_keras,
        base_of_a_lookup,
        private_class_of_keras,
        switch_safe_mode_off,
        vocabulary_in_a_file,
        saved_model,
        pickled_torch_module,
        lambda_under_the_zoos_name,
        within_a_wrapper,
        without_a_module,
        name_that_is_no_name,
    ],
)
def test_a_layer_that_may_do_more_than_compute_is_refused(layer, honest, tmp_path):
    marker = tmp_path / "marker"
    edit_config(honest, lambda config: dense(config).update(layer(marker)))
    refused(honest, r"is refused: layer 'evil' ", marker)


def test_a_real_lambda_is_refused_even_where_keras_would_run_it(tmp_path):
    """The user switched Keras's own protection off."""
    marker, path = tmp_path / "marker", tmp_path / "model.keras"
    name = str(marker)
    model = keras.Sequential([keras.Input((2,))])
    model.add(
        keras.layers.Lambda(lambda x: (open(name, "w").close(), x)[1], name="lambda")
    )
    marker.unlink(missing_ok=True)  # building it ran it
    model.save(path)
    marker.unlink(missing_ok=True)
    before = keras.src.saving.serialization_lib.in_safe_mode()
    keras.config.enable_unsafe_deserialization()
    try:
        refused(path, "'lambda' is of the class keras.layers.Lambda", marker)
        keras.models.load_model(path)  # the attack is a real one
        assert marker.exists()
    finally:
        keras.src.backend.common.global_state.set_global_attribute(
            "safe_mode_saving", before
        )


def test_an_attack_in_a_nested_models_loss_is_refused(tmp_path):
    """Keras compiles a model within a model, whatever it is told."""
    path = tmp_path / "model.keras"
    with_operations().save(path)

    def change(config):
        (inner,) = (
            layer
            for layer in config["config"]["layers"]
            if layer["class_name"] == "Sequential"
        )
        inner["compile_config"]["loss"] = any_function(None)["config"]["activation"]

    edit_config(path, change)
    refused(path, "uses the function os.system")


def test_a_class_that_is_not_registered_is_named(tmp_path):
    @keras.saving.register_keras_serializable(package="test_loading")
    class Mine(keras.layers.Layer):
        pass

    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((2,)), Mine(name="special")]).save(path)
    try:
        assert len(load(path).layers) == 1
    finally:
        keras.saving.get_custom_objects().pop("test_loading>Mine")
    refused(path, "layer 'special' is of the class .*Mine, .*import the code")


def link_to_another_file(group):
    del group["0"]
    group["0"] = h5py.ExternalLink("/etc/other.h5", "/x")


def soft_link(group):
    del group["0"]
    group["0"] = h5py.SoftLink("/layers")


def stored_in_another_file(group):
    del group["0"]
    group.create_dataset("0", (4, 3), "f4", external=[("/etc/passwd", 0, 48)])


def view_of_another_file(group):
    del group["0"]
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (4, 3))
    group.create_virtual_dataset("0", layout)


def huge(group):
    del group["0"]
    group.create_dataset("0", (1 << 40,), "f4", chunks=(1024,))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (link_to_another_file, "are a link to elsewhere"),
        (soft_link, "are a link to elsewhere"),
        (stored_in_another_file, "lie in another file"),
        (view_of_another_file, "lie in another file"),
        (huge, "weights expand"),
    ],
)
def test_weights_must_lie_in_the_file(change, match, honest):
    edit_weights(honest, change)
    refused(honest, match)


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # of Keras
def test_a_group_that_holds_itself_is_walked_once(honest):
    def change(group):
        group.parent["again"] = group.parent

    edit_weights(honest, change)
    load(honest)


@pytest.mark.parametrize(
    "name", ["../../marker", "/tmp/marker", "assets/words.txt", "model.weights.npz"]
)
def test_an_archive_holds_three_parts_and_nothing_else(name, honest):
    write(honest, {**parts(honest), name: b"x"})
    refused(honest, re.escape(f"it holds '{name}'"))


def test_an_archive_that_lacks_a_part_is_refused(honest):
    contents = parts(honest)
    del contents["model.weights.h5"]
    write(honest, contents)
    refused(honest, "lacks a part")


def test_a_part_twice_is_refused(honest):
    with (
        zipfile.ZipFile(honest, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("config.json", "{}")
    refused(honest, "it holds 'config.json'")


def test_a_bomb_is_not_unpacked(honest):
    contents = {**parts(honest), "config.json": b" " * 20_000_000}
    write(honest, contents, zipfile.ZIP_DEFLATED)
    refused(honest, "expands to more than 10 times its size")


@pytest.mark.parametrize(
    "config", ["[]", "{", '{"class_name": [[', "[" * 100_000, "\xff"]
)
def test_a_damaged_config_is_refused(config, honest):
    write(honest, {**parts(honest), "config.json": config})
    refused(honest, "is refused: it")


def test_what_keras_cannot_load_is_one_line(honest):
    edit_config(honest, lambda config: dense(config)["config"].update(units=-1))
    refused(honest, "^Keras cannot load ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.h5", b"\x89HDF\r\n\x1a\n"),
        ("model.keras", b"\x89HDF\r\n\x1a\n"),
        ("model.keras", b"\x80\x04\x95."),
        ("model.pkl", b"\x80\x04\x95."),
        ("model.keras", b""),
    ],
)
def test_other_formats_are_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "it is no .keras file")


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    refused(tmp_path / "model.keras", "is no file")
