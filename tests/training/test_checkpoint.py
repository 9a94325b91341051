import random
import resource

import keras
import numpy as np
import pytest

from zoo import ZooError
from zoo.training import checkpoint
from zoo.training.checkpoint import Checkpoints


def content(number, size=10):
    return checkpoint.encode({"number": number, "x": np.arange(size)})


def number(content):
    return checkpoint.decode(content)["number"]


def save(directory, *numbers):
    checkpoints = Checkpoints(directory)
    for each in numbers:
        checkpoints.save(content(each))
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    "state",
    [
        None,
        {"a": {"array": 1, "": None}, "dict": {}},  # names of the format's own
        [1, (2.5, [True, ("x",)]), -1e-300, float("inf")],
        random.Random(3).getstate(),
        "é\n",
    ],
)
def test_what_json_knows_comes_back_as_it_was(state):
    again = checkpoint.decode(b"".join(checkpoint.encode(state)))
    assert again == state and repr(again) == repr(state)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, np.nan], [-0.0, np.inf]], np.float32),
        np.arange(6).reshape(2, 3).T,  # not in C order
        np.zeros((0, 3), np.int8),
        np.array(7, np.uint64),
        np.array([True, False]),
        keras.ops.convert_to_numpy(keras.ops.ones((2,), "bfloat16")),
        np.float32(0.1),
    ],
)
def test_arrays_come_back_to_the_bit(array):
    again = checkpoint.decode(b"".join(checkpoint.encode({"before": 1, "x": array})))
    assert type(again["x"]) is type(array)
    assert again["x"].dtype == array.dtype and again["x"].shape == array.shape
    assert again["x"].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "state",
    [
        {1: 2},
        {"a": {1, 2}},
        np.array([None]),
        np.array("x"),
        np.array([1.0, 2.0], ">f4"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]),
        object(),
    ],
)
def test_what_cannot_come_back_is_not_written(state):
    with pytest.raises(TypeError):
        checkpoint.encode(state)


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    assert Checkpoints(tmp_path / "none").newest() is None
    assert save(tmp_path, 1) == ["checkpoint-000000001"]
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "checkpoint-000000009.bak").write_text("of somebody's own")
    (tmp_path / ".checkpoint-000000007.99").write_bytes(b"of a process that died")
    kept = ["checkpoint-000000003", "checkpoint-000000004"]
    others = ["checkpoint-000000009.bak", "notes.txt"]
    assert save(tmp_path, 2, 3, 4) == [*kept, *others]
    assert number(Checkpoints(tmp_path).newest()) == 4


def flip(data, place):
    data[place] ^= 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.clear(),
        lambda data: data.pop(),
        lambda data: flip(data, 0),  # of the magic, the length, the header, an array
        lambda data: flip(data, len(checkpoint.MAGIC)),
        lambda data: flip(data, len(checkpoint.MAGIC) + 12),
        lambda data: flip(data, -40),
        lambda data: flip(data, -1),  # of the checksum
        lambda data: data.__delitem__(slice(len(data) // 2, None)),
    ],
)
def test_a_damaged_one_is_reported_and_the_one_before_it_taken(
    damage, tmp_path, capsys
):
    save(tmp_path, 1, 2)
    newest = tmp_path / "checkpoint-000000002"
    data = bytearray(newest.read_bytes())
    damage(data)
    newest.write_bytes(data)
    checkpoints = Checkpoints(tmp_path)
    assert number(checkpoints.newest()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{newest} is damaged (it")
    # What is written then is newer, and the damaged one does not count as kept.
    checkpoints.save(content(3))
    assert number(Checkpoints(tmp_path).newest()) == 3
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"checkpoint-000000001", "checkpoint-000000003"}


def test_all_damaged_is_an_error(tmp_path):
    save(tmp_path, 1, 2)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ZooError, match="every checkpoint in .* is damaged: delete"):
        Checkpoints(tmp_path).newest()


@pytest.mark.parametrize(
    "numbers, advice", [((), "then begin again"), ((1, 2), "the one before it, which")]
)
def test_a_full_disk_leaves_those_before(numbers, advice, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for each in numbers:
        checkpoints.save(content(each))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(ZooError, match=f"cannot write .*: make room .*{advice}"):
            checkpoints.save(content(3, size=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(list(tmp_path.iterdir())) == len(numbers)
    if numbers:
        assert number(Checkpoints(tmp_path).newest()) == 2


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        "zoo.files.os.fsync",
        lambda descriptor: synced.append([p.name for p in tmp_path.iterdir()]),
    )
    save(tmp_path, 1)
    (file,), (folder,) = synced
    assert file.startswith(".checkpoint-000000001")
    assert folder == "checkpoint-000000001"


def test_clear_takes_its_own_files_alone(tmp_path):
    save(tmp_path / "a", 1, 2)
    Checkpoints(tmp_path / "a").clear()
    assert not (tmp_path / "a").exists()
    save(tmp_path / "b", 1)
    (tmp_path / "b" / "notes.txt").write_text("not ours")
    Checkpoints(tmp_path / "b").clear()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["notes.txt"]
    Checkpoints(tmp_path / "c").clear()  # that was never there


@pytest.mark.parametrize(
    "value, steps, seconds",
    [("500", 500, None), (500, 500, None), ("30s", None, 30), ("1", 1, None)],
)
def test_intervals(value, steps, seconds):
    assert checkpoint.interval("every", value) == (steps, seconds)


@pytest.mark.parametrize("value", ["", "s", "0", "0s", "-5", "1.5", "5m", "²", "5 s"])
def test_a_malformed_interval_is_an_error(value):
    with pytest.raises(ZooError, match="every must be a number of steps such as 500"):
        checkpoint.interval("every", value)
