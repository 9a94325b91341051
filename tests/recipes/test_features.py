"""Row 28: nearest neighbours and PCA against scikit-learn and NumPy."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo.recipes import features


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("features", tmp_path, monkeypatch, capsys)["numbers"]
    gain = numbers["mlp_tsne"]["mean"] - numbers["pixels_tsne"]["mean"]
    assert numbers["tsne_gain"]["mean"] == pytest.approx(gain)


def test_the_nearest_other_point_is_that_of_scikit_learn():
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    classes = np.arange(60) % 3
    points = rng.normal(size=(60, 2)) + classes[:, None]
    nearest = KNeighborsClassifier(1)
    theirs = cross_val_score(nearest, points, classes, cv=LeaveOneOut()).mean()
    assert features.neighbour_accuracy(points, classes) == pytest.approx(theirs)


def test_pca_is_the_singular_value_decomposition():
    vectors = np.random.default_rng(0).normal(size=(100, 6)) * [9, 5, 1, 1, 1, 1]
    plane, spread = features.planes(vectors, seed=0)
    u, s, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    assert np.allclose(np.abs(plane), np.abs(u[:, :2] * s[:2]))
    assert spread.shape == (100, 2)
