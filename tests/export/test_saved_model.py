import numpy as np
import pytest
import tensorflow as tf

import zoo
from tests.conftest import run_python
from zoo import ZooError, export


@pytest.fixture
def model():
    return zoo.small_cnn((8, 8, 1), (4,), classes=3)


def test_versions_grow_and_answer_as_the_model_does(model, images, tmp_path):
    folder = tmp_path / "things"
    first = export.saved_model(model, folder, images[0])
    assert first == folder / "1"
    (folder / "7").mkdir()
    (folder / "notes").mkdir()
    second = export.saved_model(model, folder, images[0])
    assert second == folder / "8"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "7", "8", "notes"]
    served = tf.saved_model.load(second)
    for batch in (images[0][:1], images[0]):
        np.testing.assert_allclose(served.serve(batch), model(batch), atol=1e-6)


def test_loads_without_zoo_and_keras(model, images, tmp_path):
    path = export.saved_model(model, tmp_path, images[0])
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"served = tf.saved_model.load({str(path)!r})\n"
        "print(served.serve(np.zeros((2, 8, 8, 1), np.uint8)).shape)\n"
        "assert not {'zoo', 'keras'} & set(sys.modules)"
    )
    done = run_python("-c", code, cwd=tmp_path)
    assert done.stdout == "(2, 3)\n", done.stderr


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_an_export_that_answers_otherwise_is_never_seen(
    wrong, model, images, tmp_path, monkeypatch
):
    """The model changes between being exported and being compared."""
    real = model.export

    def export_and_change(path, **kwargs):
        real(path, **kwargs)
        model.layers[-1].bias.assign([0, wrong, 0])

    monkeypatch.setattr(model, "export", export_and_change)
    with pytest.raises(ZooError, match="answers differ from the trained one's"):
        export.saved_model(model, tmp_path, images[0])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(model, images, tmp_path, monkeypatch):
    def interrupted(path, **kwargs):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.saved_model(model, tmp_path, images[0])
    assert list(tmp_path.iterdir()) == []
