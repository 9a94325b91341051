import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from zoo.serving.errors import not_found
from zoo.serving.metrics import Metrics


@pytest.fixture
def metrics():
    metrics = Metrics()
    metrics.loaded("toy", 1)
    return metrics


def read(metrics):
    """Return the samples as a Prometheus server reads them."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def requests(metrics):
    total = "zoo_serving_requests_total"
    return {key[1:]: value for key, value in read(metrics).items() if key[0] == total}


def test_answers_are_counted_by_model_api_and_status(metrics):
    for _ in range(2):
        with metrics.request("toy", "rest"):
            pass
    with metrics.request("toy", "grpc"):
        pass
    with metrics.request("toy", "rest") as request:
        request.status = "413"
    assert requests(metrics) == {
        ("200", "rest", "toy"): 2,
        ("OK", "grpc", "toy"): 1,
        ("413", "rest", "toy"): 1,
    }
    assert read(metrics)["zoo_serving_request_seconds_count", "rest", "toy"] == 3


@pytest.mark.parametrize(
    ("error", "rest", "grpc"),
    [
        (not_found("no"), "404", "NOT_FOUND"),
        (RuntimeError("defect"), "500", "INTERNAL"),
        (asyncio.CancelledError(), "499", "CANCELLED"),
    ],
)
def test_what_is_raised_gives_the_status_and_goes_on(metrics, error, rest, grpc):
    for api in ("rest", "grpc"):
        with pytest.raises(type(error)), metrics.request("toy", api):
            raise error
    assert requests(metrics) == {
        tuple(sorted(("toy", "rest", rest))): 1,
        tuple(sorted(("toy", "grpc", grpc))): 1,
    }


def test_a_client_cannot_make_the_server_keep_names(metrics):
    for name in ("a", "b", "c"):
        with metrics.request(name, "rest"):
            pass
    assert requests(metrics) == {("200", "rest", "unknown"): 3}


def test_versions_batches_and_failures(metrics):
    metrics.loaded("toy", 2)
    metrics.unloaded("toy", 1)
    metrics.load_failed("toy")
    metrics.batch("toy", 3)
    metrics.batch("toy", 64)
    numbers = read(metrics)
    assert numbers["zoo_serving_loaded", "2", "toy"] == 1
    assert ("zoo_serving_loaded", "1", "toy") not in numbers
    assert numbers["zoo_serving_load_failures_total", "toy"] == 1
    assert numbers["zoo_serving_batch_rows_sum", "toy"] == 67
    assert numbers["zoo_serving_batch_rows_bucket", "4.0", "toy"] == 1
    assert "text/plain" in metrics.content_type


def test_servers_in_one_process_do_not_share_numbers(metrics):
    with metrics.request("toy", "rest"):
        pass
    assert requests(Metrics()) == {}
