"""Row 14: two dense layers against each other and against NumPy."""

import numpy as np

from tests.course.rows import check
from zoo.recipes import dense_layer as row


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("dense_layer", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["learned"]["mean"] < 0.7


def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (200, 8, 8, 1), np.uint8), np.arange(200) % 3


def test_the_twins_are_of_both_layers_and_say_what_numpy_says():
    x, _ = images()
    ours, theirs = row.twins(x, 3)
    kinds = [type(model.layers[-1]).__name__ for model in (ours, theirs)]
    assert kinds == ["MyDenseLayer", "Dense"]
    w, b, v, c = theirs.get_weights()
    z = np.maximum((x.reshape(200, -1) / 127.5 - 1) @ w + b, 0) @ v + c
    expected = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    for model in (ours, theirs):
        np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-6)


def test_the_last_biases_gradient_is_the_mean_error():
    x, y = images()
    for model in row.twins(x, 3):
        errors = np.array(model(x)) - np.eye(3)[y]
        np.testing.assert_allclose(
            row.gradients(model, x, y)[-3:], errors.mean(0), atol=1e-6
        )


def test_there_is_a_loss_for_each_step_and_it_is_that_batchs():
    x, y = images()
    model = row.twins(x, 3)[0]
    first = -np.log(np.array(model(x[:32]))[np.arange(32), y[:32]]).mean()
    losses = row.train(model, x, y)
    assert len(losses) == 7  # 200 images, 32 a step
    np.testing.assert_allclose(losses[0], first, rtol=1e-4)


def test_it_runs_on_the_sample(tmp_path, monkeypatch, capsys, only_the_sample):
    monkeypatch.setattr(row, "fresh_answers", lambda models, asked, folder: [
        [np.array(model(asked))] * 2 for model in models
    ])  # fmt: skip
    metrics = check("dense_layer", tmp_path, monkeypatch, capsys, on_sample=True)
    assert metrics["data"]["train"] == row.STEPS * row.BATCH
