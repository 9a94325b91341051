"""Row 30: labels by lot are learned by heart; the numbers against hand computation."""

import math

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import random_labels


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("random_labels", tmp_path, monkeypatch, capsys)["numbers"]
    weights = 784 * 128 + 128 + 128 * 10 + 10
    assert numbers["per_image"]["mean"] == pytest.approx(weights / 500)


@pytest.mark.usefixtures("only_the_sample")
def test_it_runs_on_the_sample(tmp_path, monkeypatch, capsys):
    words = ["--quick", "--epochs", "2", "--images", "100", "--units", "8"]
    words += ["--data-dir", tmp_path / "data"]
    check("random_labels", tmp_path, monkeypatch, capsys, *words, on_sample=True)


def test_labels_by_lot_have_nothing_to_do_with_the_true_ones():
    true = np.arange(50_000) % 10
    drawn = random_labels.draw_by_lot(true, 10, seed=1)
    assert abs((drawn == true).mean() - 0.1) < 5 * math.sqrt(0.09 / 50_000)
    assert np.bincount(drawn).min() > 4_600  # uniform: 5,000 with sd 67
    assert (drawn != random_labels.draw_by_lot(true, 10, seed=2)).any()


def test_loss_and_accuracy_by_hand():
    probabilities = np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.25, 0.75], [1.0, 0.0]]])
    loss, accuracy = random_labels.loss_and_accuracy(
        probabilities, np.array([[0, 0], [1, 1]])
    )
    expected = [-math.log(0.5 * 0.75) / 2, -math.log(0.9 * 1e-7) / 2]
    np.testing.assert_allclose(loss, expected)
    assert accuracy.tolist() == [1, 0.5]


def test_the_summary_compares_the_last_epoch_with_the_lowest_test_loss():
    curves = np.zeros((3, 2, 2, 2, 1))
    curves[:, 1, 0, 0, 0] = 0.8, 0.5, 1.0  # test loss, true labels
    curves[:, 1, 1, 0, 0] = 0.7, 0.75, 0.8  # test accuracy, true labels
    curves[-1, 0, 1, :, 0] = 0.99, 0.98  # training accuracy: true, random
    curves[-1, 1, 1, 1] = 0.1
    numbers = {
        name: value.item() for name, value in random_labels.summary(curves).items()
    }
    assert numbers == pytest.approx(
        {
            "random_train": 0.98,
            "random_test": 0.1,
            "true_train": 0.99,
            "true_test": 0.8,
            "lowest_loss": 0.5,
            "lowest_epoch": 2,
            "last_loss": 1.0,
            "loss_ratio": 2.0,
            "accuracy_change": 0.05,
        }
    )
