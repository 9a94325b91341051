"""What can be checked of the manifests without a cluster: nothing here applies them."""

import json
import re

import pytest
import yaml

from tests.conftest import ROOT
from zoo import recipes
from zoo.recipes import fashion_mnist
from zoo.training import cluster, options
from zoo.tuning import place, tune

FOLDER = ROOT / "deploy" / "kubernetes"


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf8")))


def workers_pod(name):
    """Return what describes a worker's pod, and how many there are."""
    *_, job = documents(name)
    if job["kind"] == "TFJob":
        worker = job["spec"]["tfReplicaSpecs"]["Worker"]
        return worker["template"]["spec"], worker["replicas"]
    return job["spec"]["template"]["spec"], job["spec"]["completions"]


def container(name):
    (only,) = workers_pod(name)[0]["containers"]
    return only


def environment(name):
    return {one["name"]: one for one in container(name).get("env", [])}


def from_tf_config(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    return cluster.from_environment()


def test_every_manifest_is_checked():
    assert {path.name for path in FOLDER.glob("*.yaml")} == {
        *("job.yaml", "tfjob.yaml", "tune.yaml")
    }


@pytest.mark.parametrize("name", ["job.yaml", "tfjob.yaml"])
def test_the_command_is_the_recipes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python, m, module, *argv = container(name)["command"]
    assert (python, m, module) == ("python", "-m", fashion_mnist.__name__)
    config = options.parse_recipe(
        fashion_mnist.NAME, fashion_mnist.PRESETS, argv, fashion_mnist.__doc__
    )
    assert config.resume == "auto"  # or a restarted pod begins anew


@pytest.mark.parametrize("name", ["job.yaml", "tfjob.yaml"])
def test_what_a_pod_leaves_is_on_the_volume(name):
    pod, _ = workers_pod(name)
    (mount,) = container(name)["volumeMounts"]
    (volume,) = pod["volumes"]
    assert container(name)["workingDir"] == mount["mountPath"]  # runs/ is in there
    assert mount["name"] == volume["name"] and "persistentVolumeClaim" in volume
    assert float(environment(name)["ZOO_MEETING_SECONDS"]["value"]) > 60


def test_the_jobs_tf_config(monkeypatch):
    service, job = documents("job.yaml")
    count = job["spec"]["completions"]
    assert job["spec"]["parallelism"] == count  # all at once
    name, subdomain = job["metadata"]["name"], workers_pod("job.yaml")[0]["subdomain"]
    assert service["metadata"]["name"] == subdomain
    assert service["spec"]["selector"] == {"job-name": name}
    port = container("job.yaml")["ports"][0]["containerPort"]
    names = list(environment("job.yaml"))
    assert names.index("INDEX") < names.index("TF_CONFIG")  # or $(INDEX) stays as it is
    text = environment("job.yaml")["TF_CONFIG"]["value"]
    for index in range(count):
        found = from_tf_config(text.replace("$(INDEX)", str(index)), monkeypatch)
        # The host name of a pod of an indexed job is JOB-INDEX.
        assert found == cluster.Cluster(
            tuple(f"{name}-{i}.{subdomain}:{port}" for i in range(count)), index
        )


def test_the_jobs_policy_has_our_exit_codes():
    _, job = documents("job.yaml")
    fails, ignored = job["spec"]["podFailurePolicy"]["rules"]
    assert fails["action"] == "FailJob"
    assert fails["onExitCodes"] == {
        "containerName": container("job.yaml")["name"],
        "operator": "In",
        "values": [2],  # a ZooError; 75, a lost worker, is tried again
    }
    assert ignored["action"] == "Ignore"
    assert workers_pod("job.yaml")[0]["restartPolicy"] == "Never"  # as policies need


def test_the_tfjobs_tf_config(monkeypatch):
    """As the operator makes it, in its pkg/controller.v1/tensorflow."""
    (job,) = documents("tfjob.yaml")
    assert job["apiVersion"] == "kubeflow.org/v1"
    _, count = workers_pod("tfjob.yaml")
    assert container("tfjob.yaml")["name"] == "tensorflow"
    (port,) = container("tfjob.yaml")["ports"]
    assert port["name"] == "tfjob-port"
    name = job["metadata"]["name"]
    hosts = [
        f"{name}-worker-{i}.default.svc:{port['containerPort']}" for i in range(count)
    ]
    for index in range(count):
        config = {
            "cluster": {"worker": hosts},
            "task": {"type": "worker", "index": index},
            "environment": "cloud",
        }
        found = from_tf_config(json.dumps(config), monkeypatch)
        assert found == cluster.Cluster(tuple(hosts), index)


def test_the_image_is_the_one_of_the_dockerfile():
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf8")
    (image,) = re.findall(r"docker build -t (\S+)", dockerfile)
    assert container("job.yaml")["image"] == container("tfjob.yaml")["image"] == image
    assert all(one["image"] == image for one in containers_of_the_search())


def containers_of_the_search():
    """Return the chief's and the workers'."""
    _, *jobs = documents("tune.yaml")
    return [job["spec"]["template"]["spec"]["containers"][0] for job in jobs]


def test_the_searchs_processes_find_each_other(monkeypatch):
    service, chief, workers = documents("tune.yaml")
    assert service["spec"]["selector"] == {"job-name": chief["metadata"]["name"]}
    (port,) = service["spec"]["ports"]
    names = set()
    for index in range(workers["spec"]["completions"]):
        here = place_of(containers_of_the_search()[1], index, monkeypatch)
        assert here.host == service["metadata"]["name"]  # what it is known by
        assert here.port == port["port"] and not here.chief
        names.add(here.id)
    assert len(names) == workers["spec"]["parallelism"] > 1
    here = place_of(containers_of_the_search()[0], 0, monkeypatch)
    assert here.chief and here.host == "0.0.0.0" and here.port == port["port"]


def place_of(container, index, monkeypatch):
    for one in container["env"]:
        if "value" in one:
            value = one["value"].replace("$(INDEX)", str(index))
            monkeypatch.setenv(one["name"], value)
    names = [one["name"] for one in container["env"]]
    assert "INDEX" not in names or names.index("INDEX") == 0  # or it is not replaced
    return place.from_environment()


def test_the_searchs_processes_are_alike():
    _, chief, workers = documents("tune.yaml")
    ours, theirs = containers_of_the_search()
    for one in (ours, theirs):
        python, m, package, *argv = one["command"]
        assert (python, m, package) == ("python", "-m", "zoo")
        assert argv[:2] == ["tune", "fashion_mnist"]
        patience = {e["name"]: e.get("value") for e in one["env"]}
        assert float(patience["ZOO_MEETING_SECONDS"]) > 60
    for name in ("command", "volumeMounts", "workingDir", "resources"):
        assert ours[name] == theirs[name]
    for job, container in ((chief, ours), (workers, theirs)):
        pod = job["spec"]["template"]["spec"]
        (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
        assert container["workingDir"] == mount["mountPath"]  # tuning/ is in there
        assert mount["name"] == volume["name"] and "persistentVolumeClaim" in volume
        fails, _ = job["spec"]["podFailurePolicy"]["rules"]
        assert fails["onExitCodes"]["containerName"] == container["name"]
        assert fails["onExitCodes"]["values"] == [2]
        assert pod["restartPolicy"] == "Never"
    assert workers["spec"]["completionMode"] == "Indexed"
    # Without a chief that comes back they end some time.
    (wait,) = [e["value"] for e in theirs["env"] if e["name"] == "ZOO_MEETING_SECONDS"]
    assert workers["spec"]["backoffLimitPerIndex"] * float(wait) < 3 * 3600


def test_the_searchs_command_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, _, _, name, *argv = containers_of_the_search()[0]["command"]
    tune._parse(recipes.module(name), argv)  # raises if there is no such option
