"""What can be checked of deploy/serving without Docker and without a cluster."""

import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.conftest import ROOT
from zoo.recipes import fashion_mnist

FOLDER = ROOT / "deploy" / "serving"
NAMES = {f"{fashion_mnist.NAME}_{preset}" for preset in fashion_mnist.PRESETS}


def document(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf8"))


def service():
    (only,) = document("compose.yaml")["services"].values()
    return only


def predictor():
    return document("kserve.yaml")["spec"]["predictor"]["model"]


def models(text):
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {one.name: one.base_path for one in config.model_config_list.config}


def test_every_file_is_checked():
    names = {"compose.yaml", "kserve.yaml", "models.config"}
    assert {path.name for path in FOLDER.iterdir()} == names


def test_both_run_the_same_release():
    image, release = service()["image"].split(":")
    assert image == "tensorflow/serving"
    assert re.fullmatch(r"\d+\.\d+\.\d+", release)  # no tag that moves
    assert predictor()["runtimeVersion"] == release


def test_the_ports_are_the_images_and_open_to_this_machine_alone():
    assert service()["ports"] == [f"127.0.0.1:{port}:{port}" for port in (8500, 8501)]


def test_what_is_mounted_is_there_and_cannot_be_written():
    sources = {mount["target"]: mount["source"] for mount in service()["volumes"]}
    assert (FOLDER / sources["/models"]).resolve() == ROOT / "saved_models"
    assert (FOLDER / sources["/config"]).resolve() == FOLDER
    assert all(mount["read_only"] for mount in service()["volumes"])
    (path,) = re.findall(r"--model_config_file=(\S+)", " ".join(service()["command"]))
    assert path == "/config/models.config"


def test_the_models_are_those_of_a_fresh_checkout():
    text = (FOLDER / "models.config").read_text(encoding="utf8")
    ignored = (ROOT / ".gitignore").read_text(encoding="utf8")
    shipped = re.findall(r"^!/saved_models/(\w+)/1/$", ignored, flags=re.MULTILINE)
    assert models(text) == {name: f"/models/{name}" for name in shipped}


@pytest.mark.parametrize(
    ("state", "healthy"), [("AVAILABLE", True), ("LOADING", False)]
)
def test_the_health_check(state, healthy):
    """It runs here as it is; only the port is another."""
    answer = json.dumps({"model_version_status": [{"state": state}]}).encode()
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        _, *words = service()["healthcheck"]["test"]
        words[-1] = words[-1].replace("/8501", f"/{server.server_port}")
        done = subprocess.run(words, timeout=10)
    text = (FOLDER / "models.config").read_text(encoding="utf8")
    assert asked == [f"/v1/models/{next(iter(models(text)))}"]
    assert (done.returncode == 0) == healthy


def test_kserve_serves_the_folder_under_a_name_that_kubernetes_allows():
    name = document("kserve.yaml")["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)  # RFC 1035
    claim, *path, folder = predictor()["storageUri"].removeprefix("pvc://").split("/")
    assert (claim, path) == ("zoo", ["saved_models"])
    assert folder in NAMES and folder.replace("_", "-") == name


def test_kserve_is_ready_when_the_model_is():
    probe = predictor()["readinessProbe"]["httpGet"]
    # The runtime hands the service's name to --model_name, and 8080 to --rest_api_port.
    name = document("kserve.yaml")["metadata"]["name"]
    assert probe == {"path": f"/v1/models/{name}/metadata", "port": 8080}
    assert [port["containerPort"] for port in predictor()["ports"]] == [8080]
