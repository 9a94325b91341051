"""Row 27: the multiclass hinge against scikit-learn, templates against Wx + b."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import templates


def test_the_row(tmp_path, monkeypatch, capsys):
    metrics = check("templates", tmp_path, monkeypatch, capsys)
    assert metrics["data"]["name"] == "cifar10"
    assert metrics["numbers"]["linear_parameters"]["mean"] == 3072 * 10 + 10


def test_it_runs_with_the_sample_alone(tmp_path, monkeypatch, capsys, only_the_sample):
    words = "--quick --limit 200 --linear-epochs 1 --mlp-epochs 1 --cnn-epochs 1"
    words = words.split()
    metrics = check("templates", tmp_path, monkeypatch, capsys, *words, on_sample=True)
    assert metrics["numbers"]["inputs"]["mean"] == 784


def test_the_hinge_is_that_of_scikit_learn():
    from sklearn.metrics import hinge_loss

    rng = np.random.default_rng(0)
    y, scores = np.arange(40) % 5, rng.normal(size=(40, 5)).astype("float32") - 3
    ours = np.asarray(templates.multiclass_hinge(y, scores))
    assert ours.mean() == pytest.approx(hinge_loss(y, scores), rel=1e-5)


def test_the_hinge_by_hand_and_where_that_of_keras_is_another():
    import keras

    scores = np.array([[-1, -4, -3], [2, 1.5, 0], [0, 3, 1]], "float32")
    y = np.array([0, 0, 0])
    # It wins by 2, by a half, and loses by 3.
    ours = np.asarray(templates.multiclass_hinge(y, scores))
    assert ours.tolist() == [0, 0.5, 4]
    theirs = keras.losses.categorical_hinge(np.eye(3)[y], scores)
    assert np.asarray(theirs).tolist() == [2, 0.5, 4]


def test_a_score_is_the_product_with_the_template():
    config, shape = templates.Config(), (4, 4, 3)
    model, _ = templates.build("hinge", shape, 2, config)
    assert not model.get_layer("predictions").kernel.numpy().any()
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(48, 2)), rng.normal(size=2)
    model.get_layer("predictions").set_weights([kernel, bias])
    picture = rng.integers(0, 256, (1, *shape), np.uint8)
    x = (picture - templates.PIXELS["mean"]) / templates.PIXELS["std"]
    scores = (templates.templates(model, shape) * x).sum((1, 2, 3)) + bias
    assert np.allclose(model(picture)[0], scores, atol=1e-4)
