from pathlib import Path

import pytest

import zoo
from zoo import ZooError, export
from zoo.export import check, replay
from zoo.export.check import CheckExport


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    """Return a folder of two models, one of them in two versions."""
    folder = tmp_path_factory.mktemp("saved_models")
    model = zoo.small_cnn((8, 8, 1), (4,), classes=3)
    accuracy = {"accuracy": {"test": 0.8765, "images": 1000}}
    version = export.saved_model(model, folder / "cnn", facts=accuracy)
    export.copy(version, folder / "cnn")
    export.copy(version, folder / "other")
    (folder / "README.md").touch()
    return folder


def test_it_finds_a_version_the_newest_of_a_model_and_of_all(saved_models):
    cnn, other = saved_models / "cnn", saved_models / "other"
    assert check.find(cnn / "1") == [cnn / "1"]
    assert check.find(cnn) == [cnn / "2"]
    assert check.find(saved_models) == [cnn / "2", other / "1"]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_an_export_is_an_error_that_says_how(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match="zoo export RUN makes one"):
        check.find(tmp_path / name)


def test_it_asks_plain_tensorflow_and_says_so(saved_models, capsys, monkeypatch):
    assert not CheckExport(saved_models / "cnn" / "1")()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ok     {saved_models / 'cnn' / '1'}"
    assert lines[1].split() == (
        "160 answers in 4 requests as the trained model's (test accuracy 87.65% of "
        "1,000)"
    ).split()  # fmt: skip


def test_one_that_fails_is_named_with_the_reason(saved_models, tmp_path, capsys):
    version = export.copy(saved_models / "cnn" / "1", tmp_path / "cnn")
    weights = version / "variables" / "variables.data-00000-of-00001"
    content = bytearray(weights.read_bytes())
    content[:4] = b"\x00\x00\xc0\x7f"  # NaN
    weights.write_bytes(content)
    assert CheckExport(tmp_path)() == 1
    out = capsys.readouterr().out
    assert out.startswith(f"FAILED {version}\n")
    assert "variables/variables.data-00000-of-00001 is not the one" in out
    assert "\nok" not in out


def test_a_check_that_crashes_is_a_failure(tmp_path, monkeypatch):
    script = tmp_path / "crash.py"
    script.write_text("import os, sys; print('lost', file=sys.stderr); os._exit(7)")
    monkeypatch.setattr(replay, "__file__", str(script))
    (sentence,) = check.in_plain_tensorflow(tmp_path)
    assert sentence == "the check ended with exit code 7 (lost)"


def test_it_takes_neither_zoo_nor_keras(tmp_path, monkeypatch):
    text = Path(replay.__file__).read_text()
    script = tmp_path / "replay.py"
    script.write_text(text.replace("return [str(damaged)]", "import keras, zoo"))
    monkeypatch.setattr(replay, "__file__", str(script))
    (sentence,) = check.in_plain_tensorflow(tmp_path)
    assert "import of keras halted" in sentence
