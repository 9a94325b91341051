"""What the documents say is run."""

import doctest
import importlib
import pkgutil
import re

import numpy as np

import zoo
from tests.conftest import ROOT
from zoo import data


def test_examples_in_docstrings():
    names = [m.name for m in pkgutil.walk_packages(zoo.__path__, "zoo.")]
    modules = [zoo, *(importlib.import_module(n) for n in names if "__main__" not in n)]
    results = [doctest.testmod(module, verbose=False) for module in modules]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 8


def test_the_example_in_the_readme(monkeypatch):
    example, pretrained = re.findall(
        r"```python\n(.*?)```", read("README.md"), re.DOTALL
    )
    loaded = {}
    exec(pretrained, loaded)
    assert loaded["mine"].output_shape == (None, 3)
    rng = np.random.default_rng(0)
    part = data.Examples(
        rng.integers(0, 256, (20, 32, 32, 3), np.uint8), rng.integers(0, 10, 20)
    )
    asked = []

    def load(name):
        asked.append(name)
        return data.Splits(name, part, part, part, tuple("0123456789"), "", "")

    monkeypatch.setattr(data, "load", load)
    namespace = {}
    exec(example.replace("epochs=10", "epochs=1, verbose=0"), namespace)
    assert asked == ["cifar10"]
    assert namespace["model"].optimizer.iterations.numpy() == namespace["steps"]


def test_the_example_of_the_pretrained_models():
    (example,) = re.findall(
        r"```python\n(.*?)```", read("docs/pretrained.md"), re.DOTALL
    )
    namespace = {}
    exec(example, namespace)
    assert namespace["model"].output_shape == (None, 3)
    assert namespace["model"].compiled


def test_the_example_of_the_callbacks(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(
        r"```python\n(.*?)```", read("docs/callbacks.md"), re.DOTALL
    )
    namespace = {}
    exec(example, namespace)
    assert namespace["monitor"].findings == []
    assert (tmp_path / "gradients.png").exists()


def test_the_example_of_training(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", read("docs/training.md"), re.DOTALL)
    assert "resume.clear()" in example
    namespace = {}
    exec(example.replace("resume.clear()", ""), namespace)
    assert namespace["model"].optimizer.iterations.numpy() == 18
    (tmp_path / "checkpoints").rename(tmp_path / "moved")
    with namespace["strategy"].scope():
        again = namespace["Resume"]("moved", fingerprint={"optimizer": "adam"})
    assert again.complete and again.step == 18
    again.clear()


def test_the_example_of_tuning(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", read("docs/tuning.md"), re.DOTALL)
    namespace = {}
    exec(example, namespace)
    assert len(namespace["found"].trials) == 4
    assert (tmp_path / "tuning/sums/search.json").is_file()


def test_the_example_of_the_clients(tmp_path, capsys):
    from tests.serving.live import serving
    from zoo import export
    from zoo.serving import app, grpc_api
    from zoo.serving.metrics import Metrics
    from zoo.serving.repository import Repository

    (example,) = re.findall(r"```python\n(.*?)```", read("docs/serving.md"), re.DOTALL)
    export.saved_model(zoo.small_cnn(filters=(4,)), tmp_path / "fashion_mnist_cnn")
    repository = Repository(tmp_path, metrics=Metrics())
    repository.start()
    rpc, rpc_port = grpc_api.start(repository, Metrics(), "127.0.0.1", 0)
    with serving(app.create(repository, Metrics())) as port:
        for there, here in ((8501, port), (8500, rpc_port)):
            example = example.replace(f"localhost:{there}", f"localhost:{here}")
        namespace = {}
        exec(example, namespace)
    rpc.stop(None)
    repository.close()
    assert namespace["by_grpc"].shape == (2, 10)
    name, probability = capsys.readouterr().out.split()
    assert name in "0123456789" and 0.1 <= float(probability) <= 1


def test_every_link_leads_somewhere():
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    pages += [*(ROOT / "docs").glob("*.md"), ROOT / "zoo" / "recipes" / "README.md"]
    pages += [ROOT / "deploy" / "README.md"]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf8"))
        if not link.startswith("http")
    ]
    assert len(links) >= 5
    for page, link in links:
        assert (page.parent / link).exists(), (page, link)


def test_two_commands_do_everything():
    commands = re.findall(r"```bash\n(python3 .*)\n```", read("README.md"))
    assert len(commands) == 2
    main_job, tests = commands
    assert main_job.endswith(".venv/bin/python -m zoo.recipes.fashion_mnist")
    assert tests.endswith(".venv/bin/pip install -e '.[dev]' && .venv/bin/pytest")
    assert "grep -- '&& .venv/bin/pytest$' README.md" in read(".ci/run")


def test_the_version_is_in_the_changelog():
    heading = rf"^## (Unreleased|{re.escape(zoo.__version__)})"
    assert re.search(heading, read("CHANGELOG.md"), re.MULTILINE)


def read(name):
    return (ROOT / name).read_text(encoding="utf8")
