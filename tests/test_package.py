"""What importing and starting costs, and the rules of the layout."""

import re
import sys

import pytest

import zoo
from tests.conftest import ROOT, run_python


def test_importing_zoo_imports_neither_tensorflow_nor_keras():
    code = "import zoo, sys; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert run_python("-c", code).stdout == "set()\n"


@pytest.mark.parametrize(
    "words",
    [
        ["zoo", "--help"],
        ["zoo", "list"],
        ["zoo", "data", "fetch", "--help"],
        ["zoo.recipes.fashion_mnist", "--help"],
    ],
)
def test_help_imports_neither_tensorflow_nor_keras(words):
    done = run_python("-X", "importtime", "-m", *words)
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "zoo.cli" in imported or words[0] != "zoo"
    assert not imported & {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}


def test_public_names_resolve():
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    assert "MyDenseLayer" in dir(zoo)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        zoo.Nonsense  # noqa: B018


def test_start_up_noise_does_not_reach_the_terminal():
    code = "import zoo; zoo.console.import_keras(); import tensorflow as tf; tf.ones(1)"
    done = run_python("-c", f"from zoo import console; {code}")
    assert done.returncode == 0
    assert (done.stdout, done.stderr) == ("", "")


def test_start_up_noise_is_shown_when_the_import_fails():
    code = (
        "import builtins, os; from zoo import console; real = builtins.__import__\n"
        "def broken(name, *rest):\n"
        "    if name == 'keras': os.write(2, b'the reason'); raise ImportError\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = broken; console.import_keras()"
    )
    done = run_python("-c", code)
    assert done.returncode == 1
    assert "the reason" in done.stderr


def test_top_level_has_the_two_rooms_as_links():
    assert (ROOT / "recipes").resolve() == ROOT / "zoo" / "recipes"
    assert (ROOT / "callbacks").resolve() == ROOT / "zoo" / "callbacks"
    assert (ROOT / "recipes").is_symlink() and (ROOT / "callbacks").is_symlink()


def test_no_file_imports_the_links():
    """A second import name would register every Keras class twice."""
    pattern = re.compile(r"^\s*(import|from) (recipes|callbacks)\b", re.MULTILINE)
    rooms = [ROOT / name for name in ("zoo", "tests", "benchmarks")]
    files = [file for room in rooms for file in room.rglob("*.py")]
    assert len(files) > 30
    assert [p for p in files if pattern.search(p.read_text(encoding="utf8"))] == []


def test_layers_and_models_import_keras_alone():
    """So that they work on every backend."""
    files = [ROOT / "zoo" / name for name in ("layers.py", "ensembles.py")]
    files += (ROOT / "zoo" / "models").glob("*.py")
    allowed = {"keras", "zoo"} | set(sys.stdlib_module_names)
    for file in files:
        found = re.findall(r"^\s*(?:import|from) (\w+)", file.read_text(), re.MULTILINE)
        assert set(found) <= allowed, file
