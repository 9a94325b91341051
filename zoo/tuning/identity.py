"""What tells the data and the code of one search from those of another."""

import contextlib
import functools
import hashlib
import sys
import types
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_SHARED = (tuple, frozenset, types.CodeType)  # equal constants may be one object


def of_data(data) -> str:
    """Return a digest of all numbers; of a dataset that varies, form and length."""
    if isinstance(data, tuple):
        return _sha(_bytes(keras.tree.flatten(data)))
    if _pass(data.take(1)) != _pass(data.take(1)):
        return f"{data.element_spec}, {int(data.cardinality())} batches"
    return _pass(data)


def _pass(dataset):
    """Return the digest of one pass through a dataset."""
    tensors = (
        tensor.numpy()
        for batch in dataset
        for tensor in tf.nest.flatten(batch, expand_composites=True)
    )
    return _sha(_bytes(tensors))


def _bytes(arrays):
    for array in arrays:
        array = np.ascontiguousarray(array)
        yield f"{array.dtype}{array.shape}".encode()
        if array.dtype.hasobject:  # strings, of which it has the addresses alone
            yield repr(array.tolist()).encode()
        else:
            yield array.view(np.uint8).data


def _sha(parts) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


def of_code(function) -> str:
    """Return a digest of a function's code, and of all that it refers to."""
    return _sha(text.encode() for text in _traced(function, {}))


def _traced(value, seen: dict) -> Iterator[str]:
    """Yield what tells a value apart: of a function its code and all it refers to.

    It is the same in each process that runs the same version of Python. The code is
    the compiled one, so comments do not count, nor the rest of the file: the number of
    trials may be changed there.

    Args:
        value: any object.
        seen: those that were traced already, by their `id`.
    """
    if isinstance(value, _PLAIN):
        yield f"{value!r}\n"
    elif isinstance(value, np.ndarray | np.generic):
        yield of_data((value,))
    else:
        yield f"{type(value).__name__}\n"
        if id(value) in seen:
            return
        if not isinstance(value, _SHARED):
            seen[id(value)] = value
        for part in _parts(value):
            yield from _traced(part, seen)


def _parts(value):
    """Return what a value is made of; of what is a library's, its name."""
    match value:
        case types.CodeType():
            return value.co_code, value.co_names, value.co_consts
        case tuple() | list():
            return value
        case dict():
            return value.items()
        case set() | frozenset():
            return sorted(map(repr, value))
        case types.CellType():  # a variable of the function around
            with contextlib.suppress(ValueError):  # it has no value
                return [value.cell_contents]
        case functools.partial():
            return value.func, value.args, value.keywords
        case types.MethodType():
            return value.__func__, value.__self__
        case classmethod() | staticmethod():
            return [value.__func__]
        case property():
            return value.fget, value.fset
        case types.FunctionType() if _is_own(value.__module__):
            names = set(_names(value.__code__))
            return (
                value.__code__,
                value.__defaults__,
                value.__kwdefaults__,
                value.__closure__,
                *_referred(sorted(names), value.__globals__),
            )
        case type() if _is_own(value.__module__):
            members = {
                name: member
                for name, member in vars(value).items()
                if not name.startswith("__") or callable(member)
            }
            return value.__bases__, members
        case types.FunctionType() | type() | types.ModuleType():
            return [value.__name__]
        case _ if _is_own(type(value).__module__):
            return type(value), getattr(value, "__dict__", None)
    return [getattr(value, "__wrapped__", None)]  # of tf.function, functools.cache


def _names(code):
    """Yield the names that a function uses, with those of the functions in it."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def _referred(names, namespace):
    """Yield what names stand for; for `module.name`, too."""
    for name in names:
        value = namespace.get(name)
        if isinstance(value, types.ModuleType) and _is_own(value.__name__):
            yield from _referred([n for n in names if n != name], vars(value))
        elif name in namespace:
            yield value


def _is_own(module) -> bool:
    """Return whether a module is neither Python's nor that of an installed library."""
    name = (module or "builtins").partition(".")[0]
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    installed = name in sys.stdlib_module_names or "-packages" in file
    return name == "__main__" or not installed  # a launcher is installed, not its cells
