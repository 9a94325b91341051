import concurrent.futures
import json

import pytest

from tests.conftest import run_python
from tests.training.test_meeting import free_ports
from zoo import ZooError
from zoo.training.cluster import Cluster, from_environment

TWO = ["a:2222", "b:2222"]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def tf_config(cluster, kind="worker", index=0, **more):
    return {"cluster": cluster, "task": {"type": kind, "index": index}, **more}


@pytest.mark.parametrize(
    "config, workers, index",
    [
        # Ray, and MultiWorkerMirroredStrategy's own guide.
        (tf_config({"worker": TWO}, index=1), TWO, 1),
        # Kubeflow: the chief is a job of its own, and comes first.
        (
            tf_config({"worker": TWO, "chief": ["c:2222"]}, environment="cloud"),
            ["c:2222", *TWO],
            1,
        ),
        (
            tf_config({"worker": TWO, "chief": ["c:2222"]}, "chief"),
            ["c:2222", *TWO],
            0,
        ),
        # Kubeflow without a chief, with the jobs that have no replicas.
        (tf_config({"worker": TWO, "ps": [], "evaluator": None}), TWO, 0),
        # Vertex AI, with more in it than is needed.
        (
            tf_config({"chief": ["a:2222"], "worker": ["b:2222"]}, job="{}"),
            TWO,
            1,
        ),
        (
            tf_config({"master": ["a:1"], "worker": ["b:1"]}, "master"),
            ["a:1", "b:1"],
            0,
        ),
        (tf_config({"worker": TWO}, index="1"), TWO, 1),
        (tf_config({"worker": ["[::1]:1", "b:1"]}), ["[::1]:1", "b:1"], 0),
    ],
)
def test_tf_config(config, workers, index, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    cluster = from_environment()
    assert cluster == Cluster(tuple(workers), index)
    assert cluster.chief == (index == 0)


@pytest.mark.parametrize(
    "text",
    [None, "", " ", "{}", json.dumps(tf_config({"worker": ["a:1"]}))],
)
def test_one_process_is_no_cluster(text, monkeypatch):
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert from_environment() is None


@pytest.mark.parametrize(
    "config, says",
    [
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ('"cluster"', "cannot be read"),
        (json.dumps({"cluster": {"worker": 5}, "task": {}}), "cannot be read"),
        (json.dumps({"cluster": {"worker": TWO}}), "has no 'task'"),
        (json.dumps({"task": {"type": "worker", "index": 0}}), "has no 'cluster'"),
        (json.dumps({"cluster": {"worker": TWO}, "task": {}}), "has no 'type'"),
        (json.dumps(tf_config({"worker": TWO}, index=2)), "worker 2, is not in its"),
        (json.dumps(tf_config({"worker": TWO}, index=-1)), "worker -1, is not in its"),
        (json.dumps(tf_config({"worker": TWO}, index="x")), "cannot be read"),
        (json.dumps(tf_config({"worker": TWO}, index=None)), "cannot be read"),
        (json.dumps(tf_config({"worker": TWO}, index=0.7)), "cannot be read"),
        (json.dumps(tf_config({"worker": TWO}, "evaluator")), "evaluator 0, is not in"),
        (json.dumps(tf_config({"worker": TWO}, ["x"])), "is not in its cluster"),
        (json.dumps(tf_config({"worker": TWO, "ps": ["p:1"]})), "the job 'ps', but"),
        (json.dumps(tf_config({"chief": TWO}, "chief")), "more than one chief"),
        (
            json.dumps(tf_config({"chief": ["a:1"], "master": ["b:1"]}, "chief")),
            "more than one chief",
        ),
        (json.dumps(tf_config({"worker": ["a", "b:1"]})), "'a' is not HOST:PORT"),
        (json.dumps(tf_config({"worker": ["a:x", "b:1"]})), "'a:x' is not HOST:PORT"),
        (json.dumps(tf_config({"worker": ["a:0", "b:1"]})), "'a:0' is not HOST:PORT"),
        (json.dumps(tf_config({"worker": ["a:65536", "b:1"]})), "'a:65536' is not"),
        (json.dumps(tf_config({"worker": [":80", "b:1"]})), "':80' is not HOST:PORT"),
        (json.dumps(tf_config({"worker": [7, "b:1"]})), "7 is not HOST:PORT"),
        (json.dumps(tf_config({"worker": "a:1"})), "'a' is not HOST:PORT"),
        (json.dumps(tf_config({"worker": ["a:1", "a:1"]})), "has a:1 twice"),
    ],
)
def test_a_malformed_tf_config_is_told_how_it_should_look(config, says, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ZooError) as error:
        from_environment()
    message = str(error.value)
    assert message.startswith("TF_CONFIG is not as it should be: ")
    assert says in message and "\n" not in message
    example = message.partition("It looks like ")[2].partition("; unset")[0]
    monkeypatch.setenv("TF_CONFIG", example)
    assert from_environment() == Cluster(("host0:2222", "host1:2222"), 0)


def slurm(monkeypatch, node, local, **more):
    """Set what srun sets for 5 tasks on two nodes, in Slurm's order of nodes."""
    variables = {
        "SLURM_JOB_ID": 7,
        "SLURM_STEP_ID": 1,
        "SLURM_PROCID": {"n9": 0, "n10": 3}[node] + local,
        "SLURM_LOCALID": local,
        "SLURM_STEP_NUM_TASKS": 5,
        "SLURM_STEP_NODELIST": "n[9-10]",
        "SLURM_STEP_TASKS_PER_NODE": "3,2",
        "SLURMD_NODENAME": node,
    }
    for name, value in (variables | more).items():
        monkeypatch.setenv(name, str(value))


def test_slurm_tasks_find_themselves(monkeypatch):
    first = 10000 + (31 * 7 + 1) % 340 * 64
    addresses = {
        f"{node}:{first + local}": (node, local)
        for node, local in [("n9", 0), ("n9", 1), ("n9", 2), ("n10", 0), ("n10", 1)]
    }
    seen = set()
    for address, (node, local) in addresses.items():
        slurm(monkeypatch, node, local)
        cluster = from_environment()
        assert sorted(cluster.workers) == sorted(addresses)
        assert cluster.workers[cluster.index] == address  # although n10 sorts first
        seen.add(cluster.index)
    assert seen == set(range(5))


def test_slurm_ports_of_neighbouring_steps_and_jobs_differ(monkeypatch):
    ports = set()
    for job in (7, 8, 9):
        for step in (0, 1, 2):
            slurm(monkeypatch, "n9", 0, SLURM_JOB_ID=job, SLURM_STEP_ID=step)
            workers = from_environment().workers
            ports |= {int(worker.rpartition(":")[2]) for worker in workers[-3:]}
    assert len(ports) == 27 and min(ports) >= 10000 and max(ports) < 32768


def test_the_processes_of_a_search_train_by_themselves(monkeypatch):
    slurm(monkeypatch, "n9", 0)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
    assert from_environment() is None


def test_a_slurm_batch_script_is_one_process(monkeypatch):
    slurm(monkeypatch, "n9", 0, SLURM_NTASKS=5)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert from_environment() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert from_environment() is None


def test_tf_config_goes_before_slurm(monkeypatch):
    slurm(monkeypatch, "n9", 0)
    monkeypatch.setenv("TF_CONFIG", json.dumps(tf_config({"worker": TWO})))
    assert from_environment().workers == tuple(TWO)


@pytest.mark.parametrize("name", ["SLURM_LOCALID", "SLURM_STEP_NODELIST"])
def test_slurm_variables_that_are_missing_are_named(name, monkeypatch):
    slurm(monkeypatch, "n9", 0)
    monkeypatch.delenv(name)
    with pytest.raises(ZooError, match=rf"\b{name}\b.*start the workers with srun"):
        from_environment()


WORKER = """
import json, os, sys, threading
from zoo import console
from zoo.training.cluster import from_environment, meet

console.import_keras()
import tensorflow as tf

cluster = from_environment()
meet(cluster, {}, 60)
resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
    tf.train.ClusterSpec({"worker": cluster.workers}),
    task_type="worker",
    task_id=cluster.index,
    rpc_layer="grpc",
)
strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
print(strategy.num_replicas_in_sync, "replicas")
"""


def test_tensorflow_has_the_ports_at_once_after_the_meeting():
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    envs = [
        {
            "TF_CONFIG": json.dumps(tf_config({"worker": addresses}, index=index)),
            "http_proxy": f"http://localhost:{free_ports(1)[0]}",  # not for workers
        }
        for index in (0, 1)
    ]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        workers = pool.map(lambda env: run_python("-c", WORKER, env=env), envs)
        for worker in workers:
            assert worker.stdout == "2 replicas\n", worker.stderr
