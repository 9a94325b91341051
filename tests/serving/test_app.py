"""The routes, over a real connection to models that answer at once."""

import base64
import functools
import json
import re
import threading
from concurrent.futures import Future

import pytest
import requests

from tests.serving.fakes import FakeRepository
from tests.serving.live import connect, received, serving, until
from tests.serving.test_images import encoded
from zoo.serving import app, errors, rest
from zoo.serving.errors import invalid, overloaded
from zoo.serving.metrics import Metrics

IMAGE = [[[1], [2]], [[3], [4]]]
MODEL = "/v1/models/things"
PNG = {"b64": base64.b64encode(encoded("PNG")).decode()}  # 40 x 30 pixels


@pytest.fixture(scope="module")
def repository():
    return FakeRepository()


@pytest.fixture(scope="module")
def metrics():
    metrics = Metrics()
    metrics.loaded("things", 2)
    return metrics


@pytest.fixture(scope="module")
def application(repository, metrics):
    return app.create(
        repository,
        metrics,
        max_body_bytes=200_000,
        max_pixels=2000,
        hosts={"localhost", "127.0.0.1", "[::1]"},
    )


@pytest.fixture(scope="module")
def url(application):
    with serving(application) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


@pytest.fixture
def get(url, session):
    return lambda path, **options: session.get(url + path, timeout=20, **options)


@pytest.fixture
def post(url, session):
    return lambda path, **options: session.post(url + path, timeout=20, **options)


def reason(answer, status):
    """The line of an answer that is an error, with this status."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    (key,) = answer.json()
    (line,) = answer.json()[key].splitlines()
    assert key == "error"
    return line


def test_rows_and_columns(post):
    rows = post(f"{MODEL}:predict", json={"instances": [IMAGE, IMAGE]})
    assert rows.status_code == 200
    assert rows.headers["content-type"] == "application/json"
    assert rows.json() == {"predictions": [{"sums": 10, "means": [2.5]}] * 2}
    columns = post(f"{MODEL}:predict", json={"inputs": [IMAGE, IMAGE]})
    assert columns.json() == {"outputs": {"sums": [10, 10], "means": [[2.5], [2.5]]}}


def test_a_version_a_signature_and_any_content_type(post, repository):
    answer = post(
        f"{MODEL}/versions/1:predict",
        data=json.dumps({"signature_name": "serve_bytes", "instances": [PNG]}),
        headers={"content-type": "image/png"},
    )
    assert answer.json() == {"predictions": [len(encoded("PNG"))]}


def test_large_bodies_and_answers_are_like_small_ones_but_made_aside(post, monkeypatch):
    threads = []

    def told(function, *arguments):
        threads.append(threading.current_thread().name)
        return function(*arguments)

    for name in ("question", "answer"):
        function = functools.partial(told, getattr(rest, name))
        monkeypatch.setattr(rest, name, function)
    for rows in (1, 6000):
        answer = post(f"{MODEL}:predict", json={"instances": [IMAGE] * rows})
        assert answer.json()["predictions"] == [{"sums": 10, "means": [2.5]}] * rows
    assert len(answer.request.body) > 2**16
    aside = [thread.startswith("large-bodies") for thread in threads]
    assert aside == [False, False, True, True]


def test_the_states_of_versions(get):
    states = get(MODEL).json()["model_version_status"]
    assert [one["version"] for one in states] == ["3", "2", "1"]
    assert states[0] == {
        "version": "3",
        "state": "END",
        "status": {"error_code": "UNKNOWN", "error_message": "it is broken"},
    }
    (state,) = get(f"{MODEL}/versions/1").json()["model_version_status"]
    assert (state["version"], state["state"]) == ("1", "AVAILABLE")
    assert state["status"] == {"error_code": "OK", "error_message": ""}


def test_the_metadata_of_versions(get):
    for path, version in ((MODEL, "2"), (f"{MODEL}/versions/1", "1")):
        metadata = get(f"{path}/metadata").json()
        assert metadata["model_spec"]["version"] == version
        described = metadata["metadata"]["signature_def"]["signature_def"]
        assert set(described) == {"serving_default", "serve_bytes"}


def test_the_list_and_the_card(get):
    assert get("/v1/models").json() == {"models": [{"name": "things"}]}
    card = get(f"{MODEL}/card").json()
    assert (card["name"], card["version"]) == ("things", 2)


@pytest.mark.parametrize(
    ("method", "path", "status", "line"),
    [
        ("GET", "/v1/models/thing", 404, "Did you mean 'things'?"),
        ("GET", "/v1/models/thing/metadata", 404, "Did you mean 'things'?"),
        ("GET", "/v1/models/thing/card", 404, "Did you mean 'things'?"),
        ("POST", "/v1/models/thing:predict", 404, "Did you mean 'things'?"),
        ("GET", f"{MODEL}/versions/9", 404, "must be one of 1, 2"),
        ("POST", f"{MODEL}/versions/9:predict", 404, "must be one of 1, 2"),
        ("GET", f"{MODEL}/versions/x", 400, "Received: 'x'"),
        ("GET", f"{MODEL}/versions/-1", 400, "Received: '-1'"),
        ("GET", f"{MODEL}/versions/{2**63}", 400, "0 to 2^63 - 1"),
        ("GET", f"{MODEL}/versions/{'9' * 5000}", 400, "0 to 2^63 - 1"),
        ("POST", f"{MODEL}/versions/x:predict", 400, "Received: 'x'"),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404, "nothing is at"),
        ("GET", "/v1/models/../../etc/passwd", 404, "nothing is at"),
        ("GET", "/v1/models/%00", 404, "model must be one of things"),
        ("GET", "/v1/models/%ff", 404, "model must be one of things"),
        ("GET", f"{MODEL}/labels/stable", 404, "nothing is at"),
        ("GET", f"{MODEL}/", 404, "nothing is at"),
        ("GET", "/docs", 404, "nothing is at"),
        ("POST", f"{MODEL}:classify", 404, "nothing is at"),
        ("GET", f"{MODEL}:predict", 405, "GET is not for this path; use POST."),
        ("POST", MODEL, 405, "POST is not for this path; use GET."),
        ("DELETE", "/", 405, "DELETE is not for this path; use GET."),
    ],
)
def test_what_is_not_there(url, method, path, status, line):
    # requests would resolve the dots.
    request = requests.Request(method, url).prepare()
    request.url = url + path
    with requests.Session() as session:
        answer = session.send(request, timeout=20)
    assert line in reason(answer, status)
    if status == 405:
        assert answer.headers["allow"] in line


@pytest.mark.parametrize(
    ("content", "status", "line"),
    [
        ({"instances": [[[[300]]]]}, 400, "images must be uint8 [n, 2, 2, 1]. Rec"),
        ({"instances": [[[[1]]]]}, 400, "Received: uint8 [1, 1, 1, 1]"),
        ({"instances": [{"b64": ""}]}, 400, "images must be uint8"),
        ({"signature_name": "serve_bytes", "instances": ["x"]}, 400, "a whole PNG"),
        ({"signature_name": "serve_bytes", "inputs": [PNG, PNG]}, 413, "the 2 images"),
    ],
)
def test_what_no_signature_takes(post, content, status, line):
    assert line in reason(post(f"{MODEL}:predict", json=content), status)


def test_no_body_and_no_json(post):
    assert "is not JSON" in reason(post(f"{MODEL}:predict"), 400)
    assert "is not JSON" in reason(post(f"{MODEL}:predict", data=b"[NaN]"), 400)


@pytest.mark.parametrize(
    ("refused", "status"), [(invalid("bad\n image"), 400), (overloaded("full"), 503)]
)
def test_what_the_model_refuses(post, repository, refused, status):
    future = Future()
    future.set_exception(refused)
    repository.get("things").answers.append(future)
    answer = post(f"{MODEL}:predict", json={"instances": [IMAGE]})
    assert reason(answer, status) == " ".join(str(refused).split())


def test_a_defect_is_told_once_and_on_standard_error_alone(
    post, repository, caplog, capsys, monkeypatch
):
    monkeypatch.setattr(errors, "_reported", set())
    for _ in range(2):
        future = Future()
        future.set_exception(KeyError("a secret"))
        repository.get("things").answers.append(future)
        answer = post(f"{MODEL}:predict", json={"instances": [IMAGE]})
        assert reason(answer, 500) == "a defect of the server; its log has more"
    assert capsys.readouterr().err.count("KeyError: 'a secret'") == 1
    assert not caplog.records


def test_a_client_that_hangs_up_is_not_answered(url, repository):
    future = Future()
    repository.get("things").answers.append(future)
    body = json.dumps({"instances": [IMAGE]})
    with connect(int(url.rpartition(":")[2])) as client:
        head = f"POST {MODEL}:predict HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall((head + body).encode())
        until(lambda: not repository.get("things").answers)
    until(future.cancelled)


def test_requests_are_counted_by_model_and_status(get, post, metrics):
    for model in ("things", "other"):
        post(f"/v1/models/{model}:predict", json={"instances": [IMAGE]})
    answer = get("/metrics")
    assert answer.headers["content-type"] == metrics.content_type
    counts = re.findall(r"requests_total{(.*)} (\d+)", answer.text)
    counts = {tuple(sorted(re.findall('"(.*?)"', key))): int(n) for key, n in counts}
    assert counts["200", "rest", "things"] > 0
    assert counts["404", "rest", "unknown"] > 0
    assert not any("other" in key for key in counts)


def test_health(get, repository, application, monkeypatch):
    assert get("/healthz").json() == {"status": "alive"}
    assert get("/readyz").json() == {"status": "ready"}
    monkeypatch.setattr(repository, "ready", False)
    assert reason(get("/readyz"), 503) == "no model is served"
    assert get(f"{MODEL}/card").status_code == 200  # as the repository says
    monkeypatch.setattr(repository, "loading", True)
    assert reason(get("/readyz"), 503) == "the models are still loading"
    assert "still loading" in reason(get(f"{MODEL}/card"), 503)
    assert get("/healthz").status_code == 200
    monkeypatch.setitem(application.state._state, "stopping", True)
    assert reason(get("/readyz"), 503) == "the server is stopping"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/"])
def test_probes_may_ask_for_the_head_alone(url, session, path):
    answer = session.head(url + path, timeout=20)
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_page_lets_nothing_in_from_elsewhere(get):
    page = get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<!doctype html>" in page.text
    policy = page.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    (scripts,) = [word for word in policy if word.startswith("script-src")]
    assert re.fullmatch("script-src 'sha256-[A-Za-z0-9+/]{43}='", scripts)


@pytest.mark.parametrize("path", ["/", "/v1/models", "/healthz", "/nowhere"])
def test_no_other_site_may_use_the_answers(get, path):
    headers = get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not [name for name in headers if "access-control" in name.lower()]


@pytest.mark.parametrize(
    "origin", ["http://elsewhere.example", "https://elsewhere.example:8501", "null", ""]
)
def test_no_other_site_may_send_requests(post, origin):
    # A browser asks nobody before it sends this.
    headers = {"origin": origin, "content-type": "text/plain"}
    body = json.dumps({"instances": [IMAGE]})
    answer = post(f"{MODEL}:predict", data=body, headers=headers)
    line = f"Received the origin {origin!r}"
    assert line in reason(answer, 403)
    assert not [name for name in answer.headers if "access-control" in name.lower()]


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://[::1]"])
def test_pages_of_this_machine_may_send_requests(post, origin):
    body, headers = {"instances": [IMAGE]}, {"origin": origin}
    answer = post(f"{MODEL}:predict", json=body, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: a.b\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nhost: a.b\r\nhost: localhost\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n", b"400"),
        (b"GET /healthz HTTP/1.0\r\n", b"200"),
    ],
)
def test_there_is_one_host(url, head, status):
    with connect(int(url.rpartition(":")[2])) as client:
        client.sendall(head + b"connection: close\r\n\r\n")
        assert received(client).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("LOCALHOST:80", 200),
        ("[::1]:8501", 200),
        ("elsewhere.example", 403),
        ("127.0.0.1.elsewhere.example:8501", 403),
        ("localhost:8501.elsewhere.example", 403),
    ],
)
def test_a_name_that_is_made_to_mean_this_machine_is_refused(get, host, status):
    answer = get("/v1/models", headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert "listens for 127.0.0.1, [::1], localhost only" in reason(answer, 403)


def test_without_hosts_any_name_will_do(repository, metrics):
    with serving(app.create(repository, metrics)) as port:
        answer = requests.get(
            f"http://127.0.0.1:{port}/v1/models", headers={"host": "a.b"}, timeout=20
        )
    assert answer.status_code == 200


def test_what_openapi_tells(get):
    described = get("/openapi.json").json()
    paths = {path: set(of) for path, of in described["paths"].items()}
    model, version = "/v1/models/{name}", "/v1/models/{name}/versions/{version}"
    assert paths == {
        **{f"{path}:predict": {"post"} for path in (model, version)},
        **{f"{path}/metadata": {"get"} for path in (model, version)},
        **{path: {"get"} for path in (model, version, "/v1/models", f"{model}/card")},
        **{path: {"get"} for path in ("/", "/metrics", "/healthz", "/readyz")},
    }
    predict = described["paths"][f"{model}:predict"]["post"]
    codes = {"200", "400", "403", "404", "408", "413", "415", "500", "503"}
    assert set(predict["responses"]) == codes
    assert "requestBody" in predict
