import gc
import shutil
import threading
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.conftest import run_python
from tests.serving import toys
from zoo import ZooError
from zoo.export import replay
from zoo.export.warm_up import PLACE
from zoo.serving import graph
from zoo.serving.errors import Refused
from zoo.serving.metrics import Metrics
from zoo.serving.model import Model
from zoo.serving.servable import Servable
from zoo.serving.signature import described

X = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    version = toys.save(tmp_path_factory.mktemp("toy") / "1")
    toys.warm_up(version)
    return version


@pytest.fixture
def version(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "1")


def load(path, **options):
    return Servable("toy", 1, path, metrics=Metrics(), **options)


@pytest.fixture(scope="module")
def toy(saved):
    toy = load(saved)
    yield toy
    toy.close()


def strings(*texts):
    return np.array(texts, object)


def ask(toy, signature, **inputs):
    return toy.submit(signature, inputs).result(20)


def test_signatures_tell_what_they_take(toy):
    assert sorted(toy.signatures) == ["add", "mean", "numbers", "serving_default"]
    default = toy.signatures["serving_default"]
    assert described(default.inputs["x"]) == "float32 [n, 2]"
    assert described(default.outputs["sums"]) == "float32 [n]"
    assert described(toy.signatures["add"].inputs["b"]) == "int64 [n, any]"
    assert described(tf.TensorSpec(None, tf.string)) == "string of any shape"
    unbatched = [s.name for s in toy.signatures.values() if not s.batched]
    assert unbatched == ["mean"]


def test_it_answers_each_signature(toy):
    answer = ask(toy, "serving_default", x=X)
    np.testing.assert_array_equal(answer["y"], 2 * X)
    np.testing.assert_array_equal(answer["sums"], [6, 14])
    sums = ask(toy, "add", b=np.array([[1, 2]]), a=np.array([10]))["sums"]
    np.testing.assert_array_equal(sums, [[11, 12]])
    assert ask(toy, "numbers", texts=strings(b"1.5", b"-2"))["numbers"].tolist() == [
        1.5,
        -2,
    ]
    assert ask(toy, "mean", x=X[:, 0])["mean"] == 4


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("scale", {}, "signature_name must be one of .*serving_default"),
        ("x" * 10_000, {}, "signature_name must be one of"),
        ("serving_default", {}, "takes the inputs x. Received: none."),
        ("serving_default", {"X": X}, "takes the inputs x. Received: X."),
        (
            "add",
            {str(i): X for i in range(12)},
            r"inputs a, b. Received: 0, 1, 10, 11, 2, 3, 4, 5, 6, 7, \.\.\.",
        ),
        (
            "serving_default",
            {"x": X.astype(np.float64)},
            r"x must be float32 \[n, 2\]. Received: float64 \[2, 2\].",
        ),
        ("serving_default", {"x": X[0]}, r"Received: float32 \[2\]."),
        ("serving_default", {"x": X[:, :1]}, r"Received: float32 \[2, 1\]."),
        ("serving_default", {"x": np.float32(1)}, r"Received: float32 \[\]."),
        ("serving_default", {"x": strings(b"1")}, r"Received: string \[1\]."),
        ("serving_default", {"x": X[:0]}, "x must have at least one row"),
        ("mean", {"x": X[:0, 0]}, "x must have at least one row"),
        ("numbers", {"texts": strings("1")}, "texts must be bytes"),
        ("numbers", {"texts": np.array([b"1"])}, r"must be string \[n\]"),
        (
            "add",
            {"a": np.arange(2), "b": np.ones((3, 1), int)},
            "as many rows. Received: a 2, b 3.",
        ),
    ],
)
def test_inputs_that_it_does_not_take(toy, signature, inputs, message):
    inputs = {name: np.asarray(array) for name, array in inputs.items()}
    with pytest.raises(Refused, match=message) as refused:
        toy.submit(signature, inputs)
    assert refused.value.status == 400
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


def test_what_only_the_model_can_tell_is_one_line_and_fails_alone(toy):
    requests = [strings(b"1"), strings(b"one"), strings(b"2")]
    futures = [toy.submit("numbers", {"texts": texts}) for texts in requests]
    assert futures[0].result(20)["numbers"] == [1]
    assert futures[2].result(20)["numbers"] == [2]
    with pytest.raises(Refused) as refused:
        futures[1].result(20)
    assert str(refused.value) == (
        "numbers cannot take this input: "
        "StringToNumberOp could not correctly convert string: one"
    )
    assert refused.value.status == 400


def test_inputs_share_a_batch_in_whatever_order_they_are_named(toy):
    inputs = {"b": np.ones((3, 1), int), "a": np.arange(3)}
    assert list(toy.signatures["add"].check(inputs)) == ["a", "b"]


def test_rows_of_different_shapes_are_answered_side_by_side(toy):
    futures = [
        toy.submit("add", {"a": np.arange(2), "b": np.zeros((2, columns), int)})
        for columns in (1, 3, 1)
    ]
    shapes = [future.result(20)["sums"].shape for future in futures]
    assert shapes == [(2, 1), (2, 3), (2, 1)]


def test_batches_are_counted_and_bounded(saved):
    metrics = Metrics()
    toy = Servable("toy", 1, saved, max_batch_size=4, metrics=metrics)
    assert ask(toy, "serving_default", x=np.ones((10, 2), np.float32))["y"].shape == (
        10,
        2,
    )
    toy.close()
    assert 'zoo_serving_batch_rows_bucket{le="4.0",model="toy"} 3.0' in (
        metrics.text().decode()
    )


def test_it_is_looked_at_before_tensorflow_runs_any_of_it(saved, monkeypatch):
    def refuse(path):
        assert path == saved
        raise ZooError("it holds the operation WriteFile")

    monkeypatch.setattr(graph, "refuse_unsafe", refuse)
    monkeypatch.setattr(tf.saved_model, "load", None)
    with pytest.raises(ZooError, match="it holds the operation WriteFile"):
        load(saved)


@pytest.mark.parametrize(
    ("file", "content"),
    [("saved_model.pb", b"junk"), ("variables/variables.index", b"junk")],
)
def test_a_damaged_version_says_why(version, file, content):
    (version / file).write_bytes(content)
    with pytest.raises(ZooError) as error:
        load(version)
    assert "\n" not in str(error.value)


def test_a_version_without_signatures_says_so(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    with pytest.raises(ZooError, match="no signatures"):
        load(tmp_path / "1")


@pytest.fixture
def calls(monkeypatch):
    """Record what models are called with while they are loaded."""
    real, calls = Model.__call__, []

    def record(model, signature, inputs):
        calls.append((signature, *(array.shape for array in inputs.values())))
        return real(model, signature, inputs)

    monkeypatch.setattr(Model, "__call__", record)
    return calls


def test_it_is_warmed_up_with_one_row_and_with_the_largest_batch(version, calls):
    requests = ("", {"x": X}), ("numbers", {"texts": [b"1"]}), ("mean", {"x": X[0]})
    toys.warm_up(version, *requests)
    load(version, max_batch_size=16).close()
    expected = [
        ("serving_default", (2, 2)),
        *[("serving_default", (1, 2))] * 2,
        ("serving_default", (16, 2)),
        *[("numbers", (1,))] * 2,
        ("numbers", (16,)),
        ("mean", (2,)),
    ]
    assert sorted(calls) == sorted(expected)


def batched(servable):
    return {name for name, one in servable.signatures.items() if one.batched}


def test_what_no_request_was_tried_with_is_not_batched(version, capsys):
    (version / PLACE).unlink()
    toy = load(version)
    toy.close()
    assert batched(toy) == set()
    lines = sorted(capsys.readouterr().err.splitlines())
    assert lines[0] == (
        "toy version 1: add is asked without batching, for no warm-up request shows "
        "that its rows are separate"
    )
    assert len(lines) == 3  # mean can have no batches, and needs no line
    toys.certify(version)
    certified = load(version)
    certified.close()
    assert batched(certified) == {"serving_default"}


class Mixing(tf.Module):
    """Its answer to a row depends on the others, in each signature otherwise."""

    spec = [tf.TensorSpec((None,), tf.float32, name="x")]

    @tf.function(input_signature=spec)
    def share(self, x):
        return {"y": x / tf.reduce_sum(x)}

    @tf.function(input_signature=spec)
    def distinct(self, x):
        return {"y": tf.unique(x)[0]}

    @tf.function(input_signature=spec)
    def pairs(self, x):
        return {"y": tf.reshape(tf.reshape(x, (-1, 2))[:, ::-1], (-1,))}

    @tf.function(input_signature=spec)
    def rank(self, x):
        return {"y": tf.argsort(x)}

    @tf.function(input_signature=spec)
    def separate(self, x):
        return {"y": tf.where(x > 2, np.inf, 1 / x)}


@pytest.fixture(scope="module")
def mixing(tmp_path_factory):
    version, mixing = tmp_path_factory.mktemp("mixing") / "1", Mixing()
    names = ("share", "distinct", "pairs", "rank", "separate")
    functions = {name: getattr(mixing, name) for name in names}
    tf.saved_model.save(mixing, str(version), signatures=functions)
    x = np.array([1, 3], np.float32)
    toys.warm_up(version, *((name, {"x": x}) for name in names))
    servable = load(version, max_batch_size=1)
    yield servable
    servable.close()


def test_a_signature_whose_rows_depend_on_each_other_is_not_batched(mixing):
    """Or a client would get another answer if it is asked beside another one."""
    assert batched(mixing) == {"separate"}
    futures = [
        mixing.submit("share", {"x": np.array(x, np.float32)})
        for x in ([5], [1, 3], [7], [9])
    ]
    answers = [future.result(20)["y"].tolist() for future in futures]
    assert answers == [[1], [0.25, 0.75], [1], [1]]


@pytest.mark.parametrize(
    ("error", "status", "message", "reports"),
    [
        (tf.errors.InternalError, 500, "mean failed; the server's log has more.", 1),
        (tf.errors.ResourceExhaustedError, 413, "mean needs more memory than", 0),
    ],
)
def test_a_model_that_fails_tells_its_log_once_and_clients_no_more(
    error, status, message, reports, toy, monkeypatch, capfd
):
    def fail(x):
        raise error(None, None, "secret")

    monkeypatch.setitem(toy._batcher._run._functions, "mean", fail)
    for _ in range(2):
        with pytest.raises(Refused, match=f"^{message}") as refused:
            ask(toy, "mean", x=X[0])
        assert refused.value.status == status
    assert capfd.readouterr().err.count("InternalError: secret") == reports


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("other", {"x": X}), "golden or warm-up request must be one of"),
        (("serving_default", {"x": X[0]}), "x must be float32"),
        (("numbers", {"texts": [b"one"]}), "numbers cannot take this input"),
    ],
)
def test_warm_up_requests_that_it_cannot_answer(version, request_, message):
    toys.warm_up(version, request_)
    with pytest.raises(ZooError, match=message):
        load(version)


def records(*contents):
    def write(path):
        with tf.io.TFRecordWriter(str(path)) as file:
            for content in contents:
                file.write(content)

    return write


CLASSIFY = prediction_log_pb2.PredictionLog()
CLASSIFY.classify_log.SetInParent()
PREDICT = prediction_log_pb2.PredictionLog()
PREDICT.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(X))


def cut_short(path):
    records(PREDICT.SerializeToString())(path)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"this is no TFRecord"),
        cut_short,
        records(b"no PredictionLog"),
        records(CLASSIFY.SerializeToString()),
        records(*[PREDICT.SerializeToString()] * 1001),
    ],
)
def test_a_damaged_warm_up_file_says_what_it_must_be(version, write):
    write(version / PLACE)
    with pytest.raises(ZooError, match="must be a TFRecord of at most 1000") as error:
        load(version)
    assert "\n" not in str(error.value)


def test_a_certified_version_is_served_with_its_certificate(version, toy):
    toys.certify(version)
    certified = load(version)
    certified.close()
    assert certified.certificate == replay.read(version)
    assert toy.certificate is None


def test_a_version_that_answers_otherwise_is_not_served(version):
    toys.certify(version, weight=3)
    with pytest.raises(ZooError, match="not what its certificate says: y of serving"):
        load(version)


def test_a_version_whose_files_were_changed_is_not_served(version, tmp_path):
    toys.certify(version)
    other = toys.save(tmp_path / "other", weight=2.5)
    shutil.copytree(other / "variables", version / "variables", dirs_exist_ok=True)
    with pytest.raises(ZooError, match="variables.* not the one that was exported"):
        load(version)


def test_a_damaged_certificate_is_not_taken_for_none(version):
    toys.certify(version)
    (version / replay.CERTIFICATE).write_text("{")
    with pytest.raises(ZooError, match="certificate.json is damaged"):
        load(version)


def test_it_answers_as_long_as_it_is_held_and_then_it_is_gone(version):
    toy = Servable("held", 1, version, metrics=Metrics())
    model = weakref.ref(toy._batcher._run)
    futures = [toy.submit("serving_default", {"x": X}) for _ in range(50)]
    thread = next(t for t in threading.enumerate() if t.name == "held version 1")
    del toy
    assert all(future.result(20)["y"].shape == (2, 2) for future in futures)
    thread.join(20)
    assert not thread.is_alive()
    gc.collect()
    assert model() is None


def test_after_the_end_it_refuses(version):
    toy = load(version)
    toy.close()
    with pytest.raises(Refused, match="toy version 1 is being unloaded") as refused:
        toy.submit("serving_default", {"x": X})
    assert refused.value.status == 503


def test_it_needs_no_keras(version):
    """TensorFlow imports Keras itself where it finds it: here it does not."""
    code = (
        "import sys; sys.modules['keras'] = None\n"
        "import numpy as np\n"
        "from zoo.serving.servable import Servable\n"
        "from zoo.serving.metrics import Metrics\n"
        f"toy = Servable('toy', 1, __import__('pathlib').Path({str(version)!r}), "
        "metrics=Metrics())\n"
        "x = np.ones((1, 2), np.float32)\n"
        "print(toy.submit('serving_default', {'x': x}).result(20)['sums'])\n"
        "toy.close()"
    )
    done = run_python("-c", code)
    assert done.stdout == "[4.]\n", done.stderr
