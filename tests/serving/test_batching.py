import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import grpc
import numpy as np
import pytest

from zoo.serving import batching
from zoo.serving.batching import Batcher
from zoo.serving.errors import Refused, invalid

SOON = 20  # seconds that no test takes unless it fails


class Model:
    """Doubles its input; refuses batches with a negative number; can be held."""

    def __init__(self):
        self.calls, self.let_go, self.entered = [], threading.Event(), threading.Event()
        self.let_go.set()

    def __call__(self, signature, inputs):
        self.calls.append((signature, inputs["x"].ravel().tolist()))
        self.entered.set()
        assert self.let_go.wait(SOON)
        if (inputs["x"] < 0).any():
            raise invalid("negative")
        return {"y": 2 * inputs["x"]}

    def hold(self):
        self.entered.clear()
        self.let_go.clear()


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def start(model):
    batchers = []

    def start(run=model, max_batch_size=8, wait_seconds=0.0, observe=lambda rows: None):
        batchers.append(
            Batcher(
                run,
                name="toy version 1",
                max_batch_size=max_batch_size,
                wait_seconds=wait_seconds,
                observe=observe,
            )
        )
        return batchers[-1]

    yield start
    model.let_go.set()
    for batcher in batchers:
        batcher.close()


def submit(batcher, *values, signature="double", joint=True):
    inputs = {"x": np.array(values)}
    return batcher.submit(signature, inputs, len(values), joint=joint)


def answers(*futures):
    return [future.result(SOON)["y"].ravel().tolist() for future in futures]


def busy(model, batcher):
    """Occupy the batcher with a request, so that others have to wait."""
    model.hold()
    first = submit(batcher, 0)
    assert model.entered.wait(SOON)
    return first


def test_who_is_alone_never_waits_for_others(model, start):
    batcher = start(wait_seconds=1000)
    for value in range(3):
        assert answers(submit(batcher, value)) == [[2 * value]]
    assert model.calls == [("double", [0]), ("double", [1]), ("double", [2])]


def test_what_waits_is_run_together_and_each_gets_its_own_rows(model, start):
    sizes = []
    batcher = start(observe=sizes.append)
    first = busy(model, batcher)
    others = [submit(batcher, 1, 2), submit(batcher, 3), submit(batcher, 4, 5, 6)]
    model.let_go.set()
    assert answers(first, *others) == [[0], [2, 4], [6], [8, 10, 12]]
    assert model.calls == [("double", [0]), ("double", [1, 2, 3, 4, 5, 6])]
    assert sizes == [1, 6]


def after_two_together(model, batcher):
    first = busy(model, batcher)
    both = [submit(batcher, 1), submit(batcher, 2)]
    model.let_go.set()
    answers(first, *both)
    model.calls.clear()


def test_after_several_it_waits_for_as_many(model, start):
    batcher = start(wait_seconds=1000)
    after_two_together(model, batcher)
    one = submit(batcher, 1)
    assert not wait([one], timeout=0.1).done
    assert answers(one, submit(batcher, 2)) == [[2], [4]]
    assert model.calls == [("double", [1, 2])]


def test_it_does_not_wait_for_more_of_another_signature(model, start):
    batcher = start(wait_seconds=1000)
    after_two_together(model, batcher)
    assert answers(submit(batcher, 1, signature="other")) == [[2]]


def test_it_waits_no_longer_than_told(model, start):
    batcher = start(wait_seconds=0.02)
    after_two_together(model, batcher)
    assert answers(submit(batcher, 1)) == [[2]]


def test_it_does_not_wait_when_a_batch_is_full(model, start):
    batcher = start(wait_seconds=1000, max_batch_size=4)
    first = busy(model, batcher)
    three = [submit(batcher, value) for value in (1, 2, 3)]
    model.let_go.set()
    answers(first, *three)
    one = submit(batcher, 1)
    assert not wait([one], timeout=0.1).done
    assert answers(one, submit(batcher, 2, 3, 4)) == [[2], [4, 6, 8]]
    assert answers(submit(batcher, 1, 2, 3, 4)) == [[2, 4, 6, 8]]


def test_a_batch_has_at_most_the_largest_size_and_splits_no_small_request(model, start):
    batcher = start(max_batch_size=4)
    first = busy(model, batcher)
    others = [submit(batcher, 1, 1, 1), submit(batcher, 2, 2), submit(batcher, 3, 3)]
    model.let_go.set()
    answers(first, *others)
    assert [call for _, call in model.calls] == [[0], [1, 1, 1], [2, 2, 3, 3]]


def test_a_large_request_is_cut_and_its_answer_is_whole(model, start):
    batcher = start(max_batch_size=4)
    assert answers(submit(batcher, *range(10))) == [[2 * value for value in range(10)]]
    assert [len(call) for _, call in model.calls] == [4, 4, 2]


def test_a_part_that_fails_fails_the_large_request_and_spares_the_rest(model, start):
    batcher = start(max_batch_size=2)
    with pytest.raises(Refused, match="negative"):
        submit(batcher, 0, 1, -2, 3, 4, 5, 6, 7).result(SOON)
    assert answers(submit(batcher, 9)) == [[18]]
    assert [call for _, call in model.calls] == [[0, 1], [-2, 3], [9]]


def test_a_bad_request_fails_alone(model, start):
    batcher = start()
    first = busy(model, batcher)
    good = [submit(batcher, value) for value in (1, 2, 3)]
    bad = submit(batcher, -1)
    good += [submit(batcher, value) for value in (4, 5)]
    model.let_go.set()
    assert answers(first, *good) == [[0], [2], [4], [6], [8], [10]]
    with pytest.raises(Refused, match="negative") as refused:
        bad.result(SOON)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_what_a_request_is_refused_with_holds_no_inputs(model, start):
    refused = submit(start(), -1).exception(SOON)
    assert isinstance(refused, Refused) and refused.__traceback__ is None


@pytest.mark.parametrize("signature", ["double", "other"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2)])
def test_only_the_same_signature_and_row_shape_share_a_batch(
    signature, shape, model, start
):
    batcher = start()
    first = busy(model, batcher)
    one = submit(batcher, [1])
    two = batcher.submit(signature, {"x": np.full(shape, 2)}, 1)
    three = submit(batcher, [3])
    model.let_go.set()
    answers(first, one, two, three)
    together = signature == "double" and shape == (1, 1)
    twos = [2] * shape[1]
    expected = [[1, 2, 3]] if together else [[1, 3], twos]
    assert [call for _, call in model.calls[1:]] == expected


def test_signatures_take_turns_in_the_order_of_their_oldest_request(model, start):
    batcher = start()
    first = busy(model, batcher)
    order = [submit(batcher, 1, signature=name) for name in ("b", "a", "b")]
    model.let_go.set()
    answers(first, *order)
    assert model.calls[1:] == [("b", [1, 1]), ("a", [1])]


def test_what_is_left_of_a_signature_does_not_come_before_who_waits_longer(
    model, start
):
    batcher = start(max_batch_size=1)
    first = busy(model, batcher)
    order = [submit(batcher, 1, signature=name) for name in ("b", "a", "b")]
    model.let_go.set()
    answers(first, *order)
    assert [name for name, _ in model.calls[1:]] == ["b", "a", "b"]


def test_what_is_no_batch_runs_alone_and_uncut(model, start):
    batcher = start(max_batch_size=2)
    first = busy(model, batcher)
    others = [submit(batcher, *of, joint=False) for of in ((1, 2, 3), (4, 5))]
    model.let_go.set()
    assert answers(first, *others) == [[0], [2, 4, 6], [8, 10]]
    assert len(model.calls) == 3


def test_who_comes_when_the_queue_is_full_is_refused_at_once(model, start):
    batcher = start(max_batch_size=100)
    first = busy(model, batcher)
    waiting = [submit(batcher, *range(100)) for _ in range(16)]
    with pytest.raises(Refused, match="toy version 1 has 1600 rows waiting") as refused:
        submit(batcher, 1)
    assert refused.value.status == 503
    model.let_go.set()
    answers(first, *waiting)
    assert answers(submit(batcher, 1)) == [[2]]


def test_what_would_not_fit_is_refused_and_what_fits_an_empty_queue_is_not(
    model, start
):
    batcher = start(max_batch_size=2)
    first = busy(model, batcher)
    for joint in (True, False):
        with pytest.raises(Refused, match="most 1024 rows. Received: 1025") as refused:
            submit(batcher, *range(1025), joint=joint)
        assert refused.value.status == 413
    one = submit(batcher, 1)
    with pytest.raises(Refused, match="has 1 rows waiting, 1024 at most") as refused:
        submit(batcher, *range(1024))
    assert refused.value.status == 503
    model.let_go.set()
    answers(first, one)
    assert answers(submit(batcher, *range(1024))) == [[2 * x for x in range(1024)]]


@pytest.mark.parametrize("value", [1.0, b"12345678"])
def test_an_answer_is_bounded(value, start, monkeypatch):
    """Its ten values have 80 bytes; the limit is reached in the third call."""
    monkeypatch.setattr(batching, "MAX_ANSWER_BYTES", 40)
    calls = []

    def echo(signature, inputs):
        calls.append(len(inputs["x"]))
        return {"y": inputs["x"]}

    batcher = start(echo, max_batch_size=2)
    inputs = {"x": np.array([value] * 10, object if value != 1 else float)}
    with pytest.raises(Refused, match="the answer has more than .* MiB") as refused:
        batcher.submit("echo", inputs, 10).result(SOON)
    assert refused.value.status == 413
    batcher.close()
    assert calls == [2, 2, 2]


def test_what_is_left_of_a_request_whose_client_has_gone_is_not_run(model, start):
    batcher = start(max_batch_size=1)
    model.hold()
    large = submit(batcher, 1, 2, 3)
    assert model.entered.wait(SOON)
    assert large.cancel()
    model.let_go.set()
    assert answers(submit(batcher, 4)) == [[8]]
    assert [call for _, call in model.calls] == [[1], [4]]


def test_a_request_that_nobody_waits_for_is_not_run(model, start):
    batcher = start(max_batch_size=2)
    first = busy(model, batcher)
    gone, cut, stays = submit(batcher, 1), submit(batcher, 2, 2, 2), submit(batcher, 3)
    assert gone.cancel() and cut.cancel()
    model.let_go.set()
    assert answers(first, stays) == [[0], [6]]
    assert [call for _, call in model.calls] == [[0], [3]]


def test_what_is_queued_is_answered_before_the_end(model, start):
    batcher = start()
    first = busy(model, batcher)
    waiting = [submit(batcher, 1), submit(batcher, 2, signature="other")]
    batcher.stop()
    with pytest.raises(Refused, match="is being unloaded") as refused:
        submit(batcher, 3)
    assert refused.value.status == 503
    model.let_go.set()
    batcher.close()
    assert all(future.done() for future in [first, *waiting])
    assert "toy version 1" not in [thread.name for thread in threading.enumerate()]


def test_at_the_end_nothing_waits_for_more(model, start):
    batcher = start(wait_seconds=2 * SOON)
    after_two_together(model, batcher)
    one = submit(batcher, 1)
    while batcher._awaited == 1:  # until the thread waits for another
        time.sleep(0.001)
    batcher.stop()
    assert answers(one) == [[2]]


def test_no_client_gets_the_answer_of_another(start):
    """A model that says it takes batches, but returns another number of rows."""
    model = Model()
    batcher = start(lambda *asked: {"y": model(*asked)["y"][1:]}, max_batch_size=4)
    first = busy(model, batcher)
    both = [submit(batcher, 1, 2), submit(batcher, 3, 4)]
    model.let_go.set()
    assert answers(first, *both) == [[], [4], [8]]
    with pytest.raises(RuntimeError, match="y has 3 rows for 4 of inputs"):
        submit(batcher, 1, 2, 3, 4, 5).result(SOON)


def test_an_answer_that_cannot_be_put_together_fails_and_the_next_is_answered(start):
    """A model whose outputs are as wide as the largest number of their batch."""
    batcher = start(
        lambda _, inputs: {"y": np.zeros((len(inputs["x"]), int(inputs["x"].max())))},
        max_batch_size=2,
    )
    with pytest.raises(ValueError, match="concatenat"):
        submit(batcher, 1, 1, 3, 3).result(SOON)
    assert submit(batcher, 2).result(SOON)["y"].shape == (1, 2)


def test_many_clients_at_once(model, start):
    batcher = start(max_batch_size=16, wait_seconds=0.002)

    def client(number):
        for value in range(30):
            values = [1000 * number + value] * (1 + (number + value) % 20)
            if value % 10 == 9:
                with pytest.raises(Refused):
                    submit(batcher, -1).result(SOON)
            (answer,) = answers(submit(batcher, *values))
            assert answer == [2 * v for v in values]

    with ThreadPoolExecutor(12) as clients:
        list(clients.map(client, range(12)))
    assert max(len(call) for _, call in model.calls) <= 16
