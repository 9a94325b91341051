import math

import keras
import numpy as np
import pytest

from zoo import ZooError
from zoo.callbacks import KeepBest


def run(callback, epochs):
    """Hand it epochs of (val_accuracy, loss); return the number of the one it keeps."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    callback.set_model(model)
    callback.on_train_begin()
    for number, (accuracy, loss) in enumerate(epochs):
        model.set_weights([np.full((1, 1), number), np.zeros(1)])
        callback.on_epoch_end(number, {"val_accuracy": accuracy, "loss": loss})
    if not callback.path.exists():
        return None
    return int(keras.models.load_model(callback.path).get_weights()[0][0, 0])


@pytest.mark.parametrize(
    "epochs, kept",
    [
        ([(0.1, 1), (0.3, 1), (0.2, 1)], 1),
        ([(0.3, 1), (0.3, 1)], 0),  # the first of equals
        ([(0.1, 1), (0.9, math.nan)], 0),
        ([(math.nan, 1), (0.1, 1)], 1),
        ([(0.5, math.inf)], None),
    ],
)
def test_keeps_the_best(epochs, kept, tmp_path):
    assert run(KeepBest(tmp_path / "best.keras"), epochs) == kept


def test_a_second_fit_starts_afresh(tmp_path):
    callback = KeepBest(tmp_path / "best.keras")
    assert run(callback, [(0.9, 1)]) == 0
    assert run(callback, [(0.1, 1), (0.2, 1)]) == 1
    assert callback.best == 0.2


def test_a_failing_write_leaves_the_one_before(tmp_path, monkeypatch):
    callback = KeepBest(tmp_path / "best.keras")
    run(callback, [(0.1, 1)])
    before = callback.path.read_bytes()

    def broken(path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(callback.model, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        callback.on_epoch_end(1, {"val_accuracy": 0.5, "loss": 1})
    assert callback.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [callback.path]


def test_a_misspelt_monitor_names_the_nearest(tmp_path):
    callback = KeepBest(tmp_path / "best.keras", monitor="val_acuracy")
    with pytest.raises(ZooError, match="Did you mean 'val_accuracy'"):
        run(callback, [(0.1, 1)])


def test_the_best_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("zoo.files._flush", lambda path: flushed.append(path.name))
    run(KeepBest(tmp_path / "best.keras"), [(0.1, 1)])
    assert len(flushed) == 2 and flushed[0].endswith(".keras")
