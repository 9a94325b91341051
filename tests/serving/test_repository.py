import gc
import os
import shutil
import threading
import time
import weakref
from collections import Counter

import numpy as np
import pytest

from tests.serving import toys
from zoo import ZooError
from zoo.serving import folder, repository
from zoo.serving.errors import Refused
from zoo.serving.metrics import Metrics
from zoo.serving.repository import Repository, Status

X = np.array([[1, 2]], np.float32)


class Loaded:
    """Stands for a version; one whose file says `broken` cannot be served."""

    tries: Counter

    def __init__(self, name, version, path, **options):
        self.name, self.version, self.path = name, version, path
        self.options, self.closed = options, False
        Loaded.tries[name, version] += 1
        text = (path / "saved_model.pb").read_text()
        if text.startswith("broken"):
            raise ZooError(f"the file says {text}")

    def close(self):
        self.closed = True


@pytest.fixture
def fake(monkeypatch):
    Loaded.tries = Counter()
    monkeypatch.setattr(repository, "Servable", Loaded)


def write(root, name, version, text="fine"):
    """Write a version as an export does: it appears whole."""
    beside = root / f".{name}-{version}"
    beside.mkdir(parents=True)
    (beside / "saved_model.pb").write_text(text)
    (root / name).mkdir(exist_ok=True)
    beside.rename(root / name / str(version))


@pytest.fixture
def serve(tmp_path):
    started = []

    def serve(start=True, **options):
        options = {"poll_seconds": 0.01, "metrics": Metrics(), **options}
        started.append(Repository(tmp_path, **options))
        if start:
            started[-1].start()
        return started[-1]

    yield serve
    for one in started:
        one.close()


def until(condition):
    """Wait until it holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def looks(served, number=3):
    """Wait until the folder was looked at so many times."""
    seen = []
    real = served._finish_leaving
    served._finish_leaving = lambda: (seen.append(1), real())
    until(lambda: len(seen) > number)
    served._finish_leaving = real


def versions(served, name="toy"):
    try:
        return {status.version: status.state for status in served.status(name)}
    except Refused:
        return {}


def test_the_newest_version_of_each_model_is_served(fake, serve, tmp_path):
    for name, version in (("toy", 2), ("toy", 10), ("toy", 9), ("other", 0)):
        write(tmp_path, name, version)
    served = serve(max_batch_size=7, batch_wait_ms=1)
    assert served.ready
    assert served.names() == ["other", "toy"]
    toy = served.get("toy")
    assert (toy.name, toy.version, toy.path) == ("toy", 10, tmp_path / "toy" / "10")
    assert toy.options["max_batch_size"] == 7 and toy.options["batch_wait_ms"] == 1
    assert served.get("toy", 10) is toy
    assert served.get("other").version == 0
    assert served.status("toy") == [Status(10, "AVAILABLE")]
    served.close()
    assert toy.closed and not served.ready


def test_several_versions_are_served_if_asked_for(fake, serve, tmp_path):
    for version in (1, 2, 3):
        write(tmp_path, "toy", version, "broken" if version == 2 else "fine")
    served = serve(num_versions=2)
    assert [served.get("toy", version).version for version in (1, 3)] == [1, 3]
    assert served.get("toy").version == 3
    write(tmp_path, "toy", 4)
    until(lambda: versions(served).get(1) == "END")
    assert versions(served) == {
        4: "AVAILABLE",
        3: "AVAILABLE",
        2: "END",
        1: "END",
    }


def test_what_is_no_model_is_ignored(fake, serve, tmp_path):
    write(tmp_path, "toy", 1)
    for other in (
        ".exporting-abc/1",
        "toy/.exporting-x",
        "toy/09",
        "toy/-1",
        "toy/1.5",
    ):
        (tmp_path / other).mkdir(parents=True)
        (tmp_path / other / "saved_model.pb").write_text("fine")
    (tmp_path / "toy" / str(2**63)).mkdir()
    (tmp_path / "toy" / str(2**63) / "saved_model.pb").write_text("fine")
    (tmp_path / "toy" / "٣").mkdir()
    (tmp_path / "lite" / "1").mkdir(parents=True)
    (tmp_path / "lite" / "1" / "model.tflite").write_text("other")
    (tmp_path / "README.md").write_text("models")
    (tmp_path / "toy" / "7").write_text("no folder")
    served = serve()
    looks(served)
    assert Loaded.tries == {("toy", 1): 1}
    assert served.names() == ["toy"]


def test_links_are_followed(fake, serve, tmp_path):
    write(tmp_path / "elsewhere", "toy", 3)
    models = tmp_path / "models"
    models.mkdir()
    (models / "linked").symlink_to(tmp_path / "elsewhere" / "toy")
    one = Repository(models, metrics=Metrics())
    one.start()
    assert one.get("linked").version == 3
    one.close()


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("tyo", None, "model must be one of toy. .*Did you mean 'toy'"),
        ("..", None, "model must be one of toy"),
        ("../toy", 1, "model must be one of toy"),
        ("toy", 2, "version of toy must be one of 1. Received: 2."),
        ("x" * 10_000, None, "model must be one of toy"),
        ("bad", None, "bad version 4 cannot be served: the file says broken"),
    ],
)
def test_what_is_not_served_is_not_found(name, version, message, fake, serve, tmp_path):
    write(tmp_path, "toy", 1)
    write(tmp_path, "bad", 4, "broken")
    served = serve()
    with pytest.raises(Refused, match=message) as refused:
        served.get(name, version)
    assert refused.value.status == 404
    assert len(str(refused.value)) < 200
    assert served.names() == ["toy"]
    if name != "bad":
        with pytest.raises(Refused) as refused:
            served.status(name, version)
        assert refused.value.status == 404


def test_a_new_version_takes_the_place_of_the_old_one(fake, serve, tmp_path, capsys):
    write(tmp_path, "toy", 1)
    served = serve()
    assert capsys.readouterr().err == ""
    held = served.get("toy")
    write(tmp_path, "toy", 2)
    until(lambda: served.get("toy").version == 2)
    until(lambda: versions(served) == {2: "AVAILABLE", 1: "UNLOADING"})
    looks(served)
    assert versions(served)[1] == "UNLOADING"  # somebody holds it
    assert not held.closed
    del held
    until(lambda: versions(served) == {2: "AVAILABLE", 1: "END"})
    assert capsys.readouterr().err == (
        "toy version 2 is served\ntoy version 1 is no longer served\n"
    )
    shutil.rmtree(tmp_path / "toy" / "1")
    until(lambda: versions(served) == {2: "AVAILABLE"})


@pytest.fixture
def no_other_collection():
    gc.disable()
    yield
    gc.enable()


def test_the_memory_of_an_old_version_is_given_back(
    fake, serve, tmp_path, no_other_collection
):
    """Also of objects that refer to each other, as TensorFlow's do."""
    write(tmp_path, "toy", 1)
    served = serve()
    served.get("toy").weights = Ring()
    old = weakref.ref(served.get("toy").weights)
    write(tmp_path, "toy", 2)
    until(lambda: served.get("toy").version == 2)
    until(lambda: old() is None)


class Ring:
    def __init__(self):
        self.next = self


def test_the_old_version_is_served_until_the_new_one_is_ready(
    fake, serve, tmp_path, monkeypatch
):
    write(tmp_path, "toy", 1)
    served = serve()
    ready, real = threading.Event(), Loaded.__init__

    def slow(self, *args, **options):
        assert ready.wait(20)
        real(self, *args, **options)

    monkeypatch.setattr(Loaded, "__init__", slow)
    write(tmp_path, "toy", 2)
    until(lambda: versions(served) == {2: "LOADING", 1: "AVAILABLE"})
    assert served.get("toy").version == 1
    ready.set()
    until(lambda: served.get("toy").version == 2)


def test_a_broken_version_changes_nothing_until_it_is_mended(
    fake, serve, tmp_path, capsys
):
    write(tmp_path, "toy", 1)
    metrics = Metrics()
    served = serve(metrics=metrics)
    write(tmp_path, "toy", 2, "broken")
    until(lambda: Loaded.tries["toy", 2])
    looks(served)
    assert Loaded.tries["toy", 2] == 1
    assert served.get("toy").version == 1
    assert served.status("toy", 2) == [Status(2, "END", "the file says broken")]
    assert capsys.readouterr().err == (
        "toy version 2 cannot be served: the file says broken (served: 1)\n"
    )
    assert 'load_failures_total{model="toy"} 1.0' in metrics.text().decode()
    (tmp_path / "toy" / "2" / "saved_model.pb").write_text("now fine")
    until(lambda: served.get("toy").version == 2)
    assert Loaded.tries["toy", 2] == 2


def test_a_copy_in_progress_is_left_alone(fake, serve, tmp_path):
    """Its files grow from one look to the next."""
    write(tmp_path, "toy", 1)
    served = serve()
    real, grow = folder.files, [10]

    def growing(path):
        if path.name == "2" and grow[0]:
            grow[0] -= 1
            (path / "saved_model.pb").write_text("broken" + "x" * (10 - grow[0]))
            if not grow[0]:
                (path / "saved_model.pb").write_text("whole")
        return real(path)

    folder.files = growing
    try:
        write(tmp_path, "toy", 2, "broken")
        until(lambda: served.get("toy").version == 2)
    finally:
        folder.files = real
    assert Loaded.tries["toy", 2] == 1


def test_a_removed_version_gives_way_to_the_newest_that_is_left(fake, serve, tmp_path):
    for version in (1, 2, 3):
        write(tmp_path, "toy", version)
    served = serve()
    shutil.rmtree(tmp_path / "toy" / "3")
    until(lambda: served.get("toy").version == 2)
    until(lambda: versions(served) == {2: "AVAILABLE"})


def test_a_removed_version_stays_if_none_that_is_left_works(fake, serve, tmp_path):
    write(tmp_path, "toy", 1, "broken")
    write(tmp_path, "toy", 2)
    served = serve()
    shutil.rmtree(tmp_path / "toy" / "2")
    until(lambda: Loaded.tries["toy", 1])
    looks(served)
    assert served.get("toy").version == 2


def test_models_come_and_go(fake, serve, tmp_path):
    write(tmp_path, "toy", 1)
    metrics = Metrics()
    served = serve(metrics=metrics)
    write(tmp_path, "late", 5)
    until(lambda: "late" in served.names())
    assert 'zoo_serving_loaded{model="late",version="5"} 1.0' in metrics.text().decode()
    shutil.rmtree(tmp_path / "toy")
    until(lambda: served.names() == ["late"])
    until(lambda: versions(served) == {})
    assert served.ready
    assert 'model="toy",version="1"' not in metrics.text().decode()
    shutil.rmtree(tmp_path / "late")
    until(lambda: served.names() == [])
    assert not served.ready and not served.loading
    with pytest.raises(Refused, match="^no model is served.$") as refused:
        served.get("late")
    assert refused.value.status == 404
    write(tmp_path, "toy", 1)
    until(lambda: served.names() == ["toy"])
    assert served.ready


def test_a_folder_that_is_away_for_a_moment_takes_nothing_along(fake, serve, tmp_path):
    write(tmp_path / "models", "toy", 1)
    served = Repository(tmp_path / "models", poll_seconds=0.01, metrics=Metrics())
    served.start()
    os.rename(tmp_path / "models", tmp_path / "away")
    looks(served)
    assert served.get("toy").version == 1
    os.rename(tmp_path / "away", tmp_path / "models")
    write(tmp_path / "models", "toy", 2)
    until(lambda: served.get("toy").version == 2)
    served.close()


def test_a_number_that_comes_again_and_goes_while_it_is_held(
    fake, serve, tmp_path, capsys
):
    """Of version 2, one is still held when nothing more is known of the other."""
    for version in (1, 2):
        write(tmp_path, "toy", version)
    served = serve()
    held = served.get("toy")
    shutil.rmtree(tmp_path / "toy" / "2")
    until(lambda: versions(served) == {1: "AVAILABLE", 2: "UNLOADING"})
    write(tmp_path, "toy", 2, "broken")
    until(lambda: versions(served).get(2) == "END")
    shutil.rmtree(tmp_path / "toy" / "2")
    until(lambda: versions(served) == {1: "AVAILABLE"})
    assert held.version == 2
    del held
    looks(served)
    write(tmp_path, "toy", 3)
    until(lambda: served.get("toy").version == 3)
    assert "cannot be watched" not in capsys.readouterr().err


def test_what_goes_wrong_at_a_look_is_said_once_and_does_not_end_the_watch(
    fake, serve, tmp_path, monkeypatch, capsys
):
    write(tmp_path, "toy", 1)
    served = serve()
    failing = iter([True] * 3)

    def files(path):
        if next(failing, False):
            raise RuntimeError("no reason")
        return ()

    monkeypatch.setattr(folder, "files", files)
    write(tmp_path, "toy", 2)
    until(lambda: served.get("toy").version == 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{tmp_path} cannot be watched: RuntimeError: no reason"
    assert lines[1] == "toy version 2 is served"


def without_permission(monkeypatch, *paths):
    """Make the system refuse these, which it does not if tests are run by root."""
    for name in ("stat", "listdir", "scandir"):
        real = getattr(os, name)

        def refuse(path, *args, _real=real, **kwargs):
            if str(path) in map(str, paths):
                raise PermissionError(13, "Permission denied", str(path))
            return _real(path, *args, **kwargs)

        monkeypatch.setattr(os, name, refuse)


def test_what_cannot_be_read_concerns_no_other(
    fake, serve, tmp_path, monkeypatch, capsys
):
    for name, version in (("shut", 1), ("a", 1), ("a", 2), ("b", 1)):
        write(tmp_path, name, version, "broken" if (name, version) == ("a", 2) else "")
    shut = tmp_path / "shut"
    without_permission(monkeypatch, shut, tmp_path / "a" / "2" / "saved_model.pb")
    served = serve()
    assert served.names() == ["a", "b"] and served.get("a").version == 1
    assert served.status("a", 2)[0].error == "the file says broken"  # the file at last
    assert f"{shut} cannot be read: nothing changes\n" in capsys.readouterr().err
    write(tmp_path, "b", 2)
    until(lambda: served.get("b").version == 2)
    without_permission(monkeypatch, tmp_path / "b")
    looks(served)
    assert served.get("b").version == 2


def test_a_folder_that_cannot_be_read(fake, serve, tmp_path, monkeypatch):
    write(tmp_path, "toy", 1)
    without_permission(monkeypatch, tmp_path / "toy")
    with pytest.raises(ZooError, match="served: their folders cannot be read"):
        serve()
    without_permission(monkeypatch, tmp_path)
    with pytest.raises(ZooError, match="cannot be read: make it readable"):
        serve()


def test_a_folder_without_models_says_how_to_make_one(fake, serve, tmp_path):
    with pytest.raises(ZooError, match="is not a folder: train and export"):
        Repository(tmp_path / "missing", metrics=Metrics()).start()
    with pytest.raises(ZooError, match="has no model, .* zoo export RUN makes one"):
        serve()
    write(tmp_path, "toy", 1)
    with pytest.raises(ZooError, match=f"serve the one that it is in, {tmp_path}."):
        Repository(tmp_path / "toy", metrics=Metrics()).start()


def test_a_folder_of_broken_models_says_why(fake, serve, tmp_path, capsys):
    write(tmp_path, "a", 1, "broken here")
    write(tmp_path, "b", 2, "broken there")
    with pytest.raises(ZooError) as error:
        serve()
    assert str(error.value) == (
        "no model can be served: a version 1 cannot be served: the file says broken "
        "here; b version 2 cannot be served: the file says broken there"
    )
    assert capsys.readouterr().err == ""
    write(tmp_path, "b", 1)
    assert serve().names() == ["b"]
    assert capsys.readouterr().err == (
        "a version 1 cannot be served: the file says broken here\n"
        "b version 2 cannot be served: the file says broken there\n"
    )


def test_it_can_be_closed_while_it_starts(fake, serve, tmp_path, monkeypatch):
    write(tmp_path, "a", 1)
    write(tmp_path, "b", 1)
    served = serve(start=False)
    assert served.loading and not served.ready
    with pytest.raises(Refused, match="still loading") as refused:
        served.get("a")
    assert refused.value.status == 503
    real = Loaded.__init__

    def closing(self, *args, **options):
        served.close()
        real(self, *args, **options)

    monkeypatch.setattr(Loaded, "__init__", closing)
    served.start()
    assert not served.ready
    assert Loaded.tries == {("a", 1): 1}


def test_it_can_be_closed_before_it_starts(fake, serve, tmp_path):
    write(tmp_path, "a", 1)
    served = serve(start=False)
    served.close()
    served.start()
    assert not served.ready and not Loaded.tries


@pytest.mark.parametrize(
    "option",
    [
        {"num_versions": 0},
        {"max_batch_size": 0},
        {"batch_wait_ms": -1},
        {"poll_seconds": 0},
    ],
)
def test_impossible_options(option, tmp_path):
    (name,) = option
    with pytest.raises(ZooError, match=f"{name} must be"):
        Repository(tmp_path, metrics=Metrics(), **option)


def test_no_request_fails_while_versions_come_and_go(serve, tmp_path):
    """Eight clients, a newer version, a broken one, and the newest taken away."""
    toys.save(tmp_path / "toy" / "1", 1.0)
    two, three = (toys.save(tmp_path / f".{n}", float(n)) for n in (2, 3))
    for path in (tmp_path / "toy" / "1", two):
        toys.warm_up(path)
    (three / "saved_model.pb").write_bytes(b"broken")
    served = serve()
    assert served.get("toy").signatures["serving_default"].batched
    done, wrong, answered = threading.Event(), [], Counter()

    def client(number):
        x = np.full((1 + number % 3, 2), number, np.float32)
        while not done.is_set():
            try:
                toy = served.get("toy")
                time.sleep(0.001)  # as if it read a body; meanwhile, versions change
                answer = toy.submit("serving_default", {"x": x}).result(20)["y"]
            except Exception as error:
                wrong.append(error)
                return
            answered[toy.version] += 1
            if not np.array_equal(answer, toy.version * x):
                wrong.append(answer)

    clients = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in clients:
        thread.start()
    until(lambda: answered[1] > 50)
    os.rename(two, tmp_path / "toy" / "2")
    until(lambda: versions(served) == {2: "AVAILABLE", 1: "END"})
    os.rename(three, tmp_path / "toy" / "3")
    until(lambda: versions(served).get(3) == "END")
    until(lambda: answered[2] > 50)
    shutil.rmtree(tmp_path / "toy" / "2")
    until(lambda: served.get("toy").version == 1)
    until(lambda: versions(served) == {3: "END", 1: "AVAILABLE"})
    done.set()
    for thread in clients:
        thread.join(20)
    assert wrong == []
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("toy version 1") == 1 and "toy version 2" not in names
