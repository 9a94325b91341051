"""Row 22: penalties, normalization and stopping of members that share a model."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.ensembles import penalty
from zoo.recipes import regularization


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("regularization", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["none_gap"]["mean"] > numbers["dropout_closes"]["mean"] > 0


def test_biases_are_never_penalised():
    model = regularization.build(2, penalty(2, [1.0, 1.0]))
    before = float(sum(model.losses))
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, bias + 5])
    assert float(sum(model.losses)) == pytest.approx(before) and before > 0


def test_batch_normalization_keeps_the_members_apart():
    model = regularization.build(2, normalized=True)
    x = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)
    before = np.array(model(x, training=True))
    for weights in model.trainable_weights[:1]:  # the first kernel: change member 1
        weights.assign(
            np.array(weights) * np.array([1, 3]).reshape(2, 1, 1)
            + 0.01 * np.array([0, 1]).reshape(2, 1, 1) * np.ones(weights.shape)
        )
    after = np.array(model(x, training=True))
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=1e-5)
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3


def test_a_member_shows_its_own_weights():
    model = regularization.build(3)
    own = regularization.Member(model, 1).get_weights()
    for weights, whole in zip(own, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, whole[1])
