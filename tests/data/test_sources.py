"""The chain of sources, and what it survives."""

import errno
import gzip
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT
from tests.data import shapes
from zoo import ZooError, data
from zoo.data import apt, official, sources

LOAD = (
    "import sys; from tests.data import shapes; print(shapes.load(sys.argv[1]).digest)"
)


class Builder:
    """What the sources ask of a TFDS builder."""

    name = "fashion_mnist"
    url_infos = {"http://127.0.0.1:9/train.gz": None}


def asked(source, mirror=None, staging=None):
    with source(Builder, mirror, staging) as found:
        return found


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    content = b""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def host(monkeypatch):
    """Serve the tiny data set's official file as its own host would."""
    monkeypatch.setattr(Handler, "content", gzip.compress(shapes.content(), mtime=0))
    server, url = serve(Handler)
    monkeypatch.setattr(shapes.ZooShapes, "URL", f"{url}/{shapes.FILE}")
    yield url
    server.shutdown()
    server.server_close()


def test_its_own_host(host, tmp_path, capsys):
    assert shapes.load(tmp_path).digest == shapes.ARRAYS_DIGEST
    said = capsys.readouterr().err
    assert "no mirror given" in said and "from its own host, 127.0.0.1" in said


@pytest.mark.parametrize("content", [b"<html>sign in</html>", b""])
def test_a_host_that_sends_something_else(content, host, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Handler, "content", content)
    with pytest.raises(ZooError, match="no source has zoo_shapes"):
        shapes.load(tmp_path)
    assert "did not send the official file" in capsys.readouterr().err
    assert data.folder(shapes.NAME, data_dir=tmp_path) is None


def test_a_host_that_does_not_answer(monkeypatch, tmp_path, capsys):
    class Silent(Handler):
        def do_HEAD(self):
            time.sleep(60)

    monkeypatch.setattr(sources, "PROBE_SECONDS", 0.3)
    _, url = serve(Silent)
    monkeypatch.setattr(shapes.ZooShapes, "URL", f"{url}/{shapes.FILE}")
    with pytest.raises(ZooError, match="no source has zoo_shapes"):
        shapes.load(tmp_path)
    assert "did not answer within 0.3 s" in capsys.readouterr().err


def test_the_order_of_the_sources():
    names = [source.__name__ for source in sources._SOURCES]
    assert names == ["_mirror", "_debian_installed", "_host", "_debian_archive"]


def test_the_mirror_may_come_from_the_environment(tmp_path, monkeypatch):
    shapes.write_official_file(tmp_path / "mirror" / shapes.NAME)
    monkeypatch.setenv("ZOO_MIRROR", str(tmp_path / "mirror"))
    assert shapes.load(tmp_path / "data").digest == shapes.ARRAYS_DIGEST


def test_a_mirror_without_this_set_is_passed_over(tmp_path):
    with pytest.raises(official.Unavailable, match="has no folder fashion_mnist/"):
        asked(sources._mirror, tmp_path)


def test_debian_s_package_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path / "absent")
    with pytest.raises(official.Unavailable, match="is not installed"):
        asked(sources._debian_installed)
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path)
    with pytest.raises(
        ZooError, match="train-images-idx3-ubyte.gz is missing.*reinstall"
    ):
        asked(sources._debian_installed)
    monkeypatch.setattr(official, "PINNED", {})
    folder, sentence = asked(sources._debian_installed)
    assert folder == tmp_path and "dataset-fashion-mnist" in sentence


@pytest.mark.parametrize(
    "script, message",
    [
        ("echo 'E: no network' >&2; exit 100", "apt-get failed: E: no network"),
        ("exec sleep 60", "apt-get did not finish in 0.3 s"),
        ("exit 0", "found no package"),
    ],
)
def test_an_apt_that_fails_is_passed_over(script, message, tmp_path, monkeypatch):
    program = tmp_path / "apt-get"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (tmp_path / "dpkg-deb").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(apt, "SECONDS", 0.3 if "sleep" in script else 30)
    with pytest.raises(official.Unavailable, match=message):
        asked(sources._debian_archive, staging=tmp_path)


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not here")
def test_debian_s_archive(tmp_path, monkeypatch):
    """A package that apt-get downloads, with much to say and files that come and go."""
    tree = tmp_path / "tree"
    (tree / sources.DEBIAN_FOLDER).mkdir(parents=True)
    (tree / sources.DEBIAN_FOLDER / "file.gz").write_bytes(b"content")
    (tree / "DEBIAN").mkdir()
    control = (
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    package = tmp_path / "x.deb"
    subprocess.run(["dpkg-deb", "-b", tree, package], check=True, capture_output=True)
    program = tmp_path / "apt-get"
    program.write_text(
        "#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' e >&2\n"
        "for i in 1 2 3 4 5 6 7; do touch part$i; mv part$i done; sleep 0.02; done\n"
        f'case "$*" in *download*) cp {package} .;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(official, "PINNED", {})
    (tmp_path / "staging").mkdir()
    folder, origin = asked(sources._debian_archive, staging=tmp_path / "staging")
    assert [path.name for path in folder.iterdir()] == ["file.gz"]
    assert "fetched by apt-get" in origin


def test_without_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(official.Unavailable, match="no apt-get"):
        asked(sources._debian_archive, staging=tmp_path)


def test_a_killed_preparation_is_repaired_by_the_next_call(tmp_path):
    shapes.write_official_file(tmp_path / "mirror" / shapes.NAME)
    env = {
        **os.environ,
        "ZOO_SHAPES_SLEEP": "0.5",
        "ZOO_MIRROR": str(tmp_path / "mirror"),
    }
    data_dir = tmp_path / "data"
    words = [sys.executable, "-c", LOAD, str(data_dir)]
    process = subprocess.Popen(
        words, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "Preparing zoo_shapes" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert list(data_dir.glob(f"{sources._STAGING}*"))  # it was in the middle
    assert data.folder(shapes.NAME, data_dir=data_dir) is None
    splits = shapes.load(data_dir, mirror=tmp_path / "mirror")
    assert splits.digest == shapes.ARRAYS_DIGEST
    assert not list(data_dir.glob(f"{sources._STAGING}*"))


def test_two_processes_do_not_harm_each_other(tmp_path):
    shapes.write_official_file(tmp_path / "mirror" / shapes.NAME)
    env = {
        **os.environ,
        "ZOO_SHAPES_SLEEP": "0.2",
        "ZOO_MIRROR": str(tmp_path / "mirror"),
    }
    words = [sys.executable, "-c", LOAD, str(tmp_path / "data")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(words, env=env, cwd=ROOT, **pipes)
    for line in first.stderr:
        if "Preparing zoo_shapes" in line:
            break
    second = subprocess.Popen(words, env=env, cwd=ROOT, **pipes)
    said = [process.communicate(timeout=120) for process in (first, second)]
    assert [out for out, _ in said] == [f"{shapes.ARRAYS_DIGEST}\n"] * 2
    errors = "".join(err for _, err in said)
    assert "Preparing zoo_shapes" not in errors  # the first has said it already
    assert errors.count("Another process is preparing") == 1


def wrapped():
    """Raise a full disk's error as TFDS does: inside one of its own."""
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise RuntimeError("Error while extracting") from error


def said_by_tensorflow():
    raise RuntimeError("ResourceExhaustedError: x; No space left on device")


def foreseen_by_tfds():
    raise OSError("Not enough disk space. Needed: 3 GiB")


@pytest.mark.parametrize("full", [wrapped, said_by_tensorflow, foreseen_by_tfds])
def test_a_full_disk_leaves_nothing_behind(full, tmp_path, monkeypatch):
    shapes.write_official_file(tmp_path / "mirror" / shapes.NAME)
    monkeypatch.setattr(
        shapes.ZooShapes, "download_and_prepare", lambda *args, **kwargs: full()
    )
    with pytest.raises(ZooError, match="no space left in .*--data-dir"):
        shapes.load(tmp_path / "data", mirror=tmp_path / "mirror")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".zoo.lock"]


def test_a_data_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match="cannot write in .*--data-dir"):
        shapes.load(tmp_path / "file" / "data")
