from pathlib import Path

import pytest
import tensorflow as tf

import zoo
from tests.conftest import run_python
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


def test_a_model_may_be_called_by_a_number_and_a_version_have_zeros(tmp_path):
    for path in ("2024/0001", "2024/0010", "cnn/9", "cnn/notes"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "cnn" / "10").touch()  # no version
    assert check.find(tmp_path) == [tmp_path / "2024" / "0010", tmp_path / "cnn" / "9"]
    assert check.find(tmp_path / "2024") == [tmp_path / "2024" / "0010"]


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
        "112 answers as the trained model's, requests: 4 (test accuracy 87.65% of "
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


def test_a_strangers_graph_is_not_run_if_it_does_more_than_compute(tmp_path, capsys):
    version, marker = tmp_path / "evil" / "1", tmp_path / "marker"

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.uint8, name="images")])
    def written(images):
        tf.io.write_file(str(marker), "x")
        return {"probabilities": images}

    module = tf.Module()
    tf.saved_model.save(module, version, {"serving_default": written})
    assert CheckExport(version)() == 1
    assert "is refused: its graph holds the operation 'WriteFile'" in (
        capsys.readouterr().out
    )
    assert not marker.exists()


def test_only_some_sentences_are_shown(saved_models, monkeypatch, capsys):
    wrong = [f"answer {number} is wrong" for number in range(9)]
    monkeypatch.setattr(check, "_wrong_with_saved_model", lambda version: wrong)
    CheckExport(saved_models / "cnn")()
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines[1:]] == wrong[:5]


@pytest.mark.parametrize(
    "server", [{"url": "http://localhost:8501"}, {"grpc": "localhost:8500"}]
)
def test_a_server_is_not_asked_for_what_it_cannot_serve(server, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "certificate.json").touch()
    with pytest.raises(ZooError, match="only SavedModels are served"):
        CheckExport(tmp_path, **server)()


def test_asking_over_grpc_says_nothing_but_what_is_wrong(saved_models):
    words = ["check-export", str(saved_models / "cnn"), "--grpc", "127.0.0.1:1"]
    done = run_python("-m", "zoo", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no gRPC server answers at 127.0.0.1:1 ")


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
