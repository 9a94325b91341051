"""The one way the zoo opens a `.keras` file that somebody hands it: no code runs.

Keras's own `safe_mode` is a list of what is forbidden, which several files passed by
(CVE-2025-1550, -8747, -9905, -9906, -12058). Here is what is allowed instead; all else
is refused before Keras reads the file.
"""

import io
import json
import sys
import zipfile
from pathlib import Path

from zoo.console import one_line
from zoo.errors import ZooError

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
MOST_EXPANSION = 10  # Keras does not compress
_SMALL = 1_000_000  # bytes, which any file may expand to
# Of Keras's modules, those whose classes and functions only compute.
_PUBLIC = frozenset(
    "keras keras.activations keras.constraints keras.dtype_policies keras.initializers "
    "keras.layers keras.losses keras.metrics keras.models keras.ops keras.optimizers "
    "keras.optimizers.schedules keras.quantizers keras.regularizers".split()
)
# Where Keras stores its models, operations and the layers of its applications.
_PRIVATE = ("keras.src.applications.", "keras.src.models.", "keras.src.ops.")
_DATA = tuple(
    f"__{kind}__" for kind in "keras_tensor tensor numpy bytes ellipsis slice".split()
)
_FUNCTIONS = ("keras.activations", "keras.losses", "keras.metrics", "keras.ops")
_NOT_THESE = (  # they run what a file holds, or read other files
    "Lambda TorchModuleWrapper TFSMLayer JaxLayer FlaxLayer StringLookup "
    "IntegerLookup TextVectorization"
).split()


class _Refused(Exception):
    """The reason; the message names the layer."""


def load(path: str | Path):
    """Return the model of a `.keras` file, not compiled; nothing in it is run.

    Its layers may be Keras's own that only compute, the zoo's, and those that were
    registered in this process by `keras.saving.register_keras_serializable`. Weights
    may not lie in other files.

    A harmless file may still be a huge one: it is loaded with as much memory as the
    model needs.

    Args:
        path: of the file.

    Returns:
        A `keras.Model`.

    Raises:
        ZooError: the file is no `.keras` file, or holds what might run code or read
            other files, or Keras cannot load it; the message says which.
    """
    import keras

    from zoo import layers  # noqa: F401, registers them

    path = Path(path)
    try:
        _inspect(path)
    except _Refused as reason:
        raise ZooError(f"{path} is refused: {reason}.") from None
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ZooError(f"Keras cannot load {path} ({one_line(error)}).") from error


def _inspect(path):
    if not path.is_file():
        raise ZooError(f"{path} is no file: name a .keras file, as model.save writes.")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise _Refused(
            "it is no .keras file. HDF5 (.h5) and pickled models may run code when "
            "they are loaded: load it where it was made, and model.save('NAME.keras')"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, _most(path.stat().st_size))
            config = json.loads(archive.read("config.json"))
            weights = io.BytesIO(archive.read("model.weights.h5"))
        if not isinstance(config, dict):
            raise _Refused("its config.json describes no model")
        config.pop("compile_config", None)  # Keras is not told to compile
        _check_config(config, path.name)
        _check_weights(weights)
    except _Refused:
        raise
    except Exception as error:  # whatever a hostile file makes the readers raise
        raise _Refused(f"it is damaged ({one_line(error)})") from None


def _most(size: int) -> int:
    return MOST_EXPANSION * size + _SMALL


def _check_members(archive, most):
    names = sorted(archive.namelist())
    if names != sorted(MEMBERS):
        strange = [
            name for name in names if name not in MEMBERS or names.count(name) > 1
        ]
        what = f"holds {strange[0]!r}" if strange else "lacks a part"
        raise _Refused(f"it {what}, where a .keras file is {', '.join(MEMBERS)}")
    if sum(member.file_size for member in archive.infolist()) > most:
        raise _Refused(f"it expands to more than {MOST_EXPANSION} times its size")


def _check_config(content, where):
    """Refuse any object in a config that is not of an allowed kind."""
    if isinstance(content, dict):
        inner = content.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if "class_name" in content:
            where = name if isinstance(name, str) else where
            _check_object(content, f"layer {where!r}")
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            _check_config(value, where)


def _check_object(content, where):
    import keras

    kind, module = content["class_name"], content.get("module")
    name = f"{module}.{kind}"
    if kind in _DATA:
        return
    if kind == "function":
        _check_function(content, where)
        return
    if not isinstance(kind, str) or kind.startswith("__"):
        raise _Refused(f"{where} holds {kind!r}, which may run code from the file")
    if content.get("registered_name", kind) in keras.saving.get_custom_objects():
        return
    if not isinstance(module, str) or module.split(".")[0] != "keras":
        raise _Refused(
            f"{where} is of the class {name}, which is neither Keras's nor the zoo's. "
            "If you trust it, import the code that defines and registers it (keras."
            "saving.register_keras_serializable), and load the file from there"
        )
    found = _of_keras(module, kind)
    if not isinstance(found, type) or not issubclass(found, _kinds()):
        raise _Refused(f"{where} uses {name}, which is no layer and no part of one")
    if issubclass(found, tuple(getattr(keras.layers, name) for name in _NOT_THESE)):
        raise _Refused(
            f"{where} is of the class {name}, which may run code from the file or read "
            "other files"
        )


def _check_function(content, where):
    import keras

    name, module = content.get("config"), content.get("module")
    if isinstance(name, str) and name in keras.saving.get_custom_objects():
        return
    homes = [home for home in _FUNCTIONS if module in (home, "builtins")]
    if not isinstance(name, str) or not any(_of_keras(h, name) for h in homes):
        raise _Refused(
            f"{where} uses the function {module}.{name}, which is no activation, loss "
            "or metric of Keras"
        )


def _of_keras(module: str, name: str):
    """Return what Keras has under a name, without importing anything for it."""
    if module in _PUBLIC or module.startswith(_PRIVATE):
        return getattr(sys.modules.get(module), name, None)
    return None


def _kinds():
    import keras

    return (
        keras.Operation,  # layers and models, too
        keras.DTypePolicy,
        keras.Initializer,
        keras.Loss,
        keras.Metric,
        keras.Optimizer,
        keras.Quantizer,
        keras.Regularizer,
        # Since Keras 3.13; what model.quantize leaves in a layer.
        getattr(keras.quantizers, "QuantizationConfig", keras.Quantizer),
        keras.constraints.Constraint,
        keras.optimizers.schedules.LearningRateSchedule,
    )


def _check_weights(file):
    import h5py

    with h5py.File(file) as weights:
        stored = sum(_sizes(weights, set()))
    if stored > _most(file.getbuffer().nbytes):
        raise _Refused(
            f"its weights expand to more than {MOST_EXPANSION} times its size"
        )


def _sizes(group, seen):
    """Yield the size of each array in bytes; refuse what lies in another file."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise _Refused(f"its weights {group.name}/{name} are a link to elsewhere")
        item = group[name]
        if item in seen:  # a group may hold itself
            continue
        seen.add(item)
        if isinstance(item, h5py.Group):
            yield from _sizes(item, seen)
        elif item.external or item.is_virtual:
            raise _Refused(f"its weights {item.name} lie in another file")
        else:
            yield item.nbytes
