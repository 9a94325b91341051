"""Row 20: the steps of an epoch, and full batches against plain gradient descent."""

import numpy as np

from tests.course.rows import check
from zoo.data import pipeline
from zoo.recipes import batch_size


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("batch_size", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["rises_1"]["mean"] > numbers["rises_all"]["mean"]


def test_an_epoch_is_as_many_steps_as_batches():
    sizes = batch_size.sizes(1024)
    steps = {name: pipeline.schedule(1024, m)[0] for name, m in sizes.items()}
    assert steps == {"1": 1024, "32": 32, "256": 4, "all": 1}


def test_a_batch_of_all_images_holds_each_once():
    x = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1, 1)
    examples = pipeline.Examples(x, np.arange(256))
    batches = iter(pipeline.training(examples, 256, seed=0))
    for _ in range(2):
        assert sorted(next(batches)[1].numpy()) == list(range(256))
