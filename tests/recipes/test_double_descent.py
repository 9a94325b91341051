"""Row 31: random features against the pseudo-inverse and a kernel; wrong labels."""

import numpy as np
import pytest

from tests.course.rows import check, run
from zoo.recipes import double_descent


def test_the_row(tmp_path, monkeypatch, capsys):
    check("double_descent", tmp_path, monkeypatch, capsys)


def test_on_the_sample_it_runs_too(tmp_path, only_the_sample):
    words = ["--quick", "--seeds", "1", "--steps", "50", "--images", "60"]
    assert run("double_descent", tmp_path, *words)["holds"] is None


@pytest.mark.parametrize("features", [10, 30, 90])
def test_the_solution_is_that_of_the_pseudo_inverse(features):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, features)), rng.integers(0, 4, 30)
    weights = double_descent.least_squares(x, y, 4)
    np.testing.assert_allclose(weights, np.linalg.pinv(x) @ np.eye(4)[y], atol=1e-8)
    if features >= 30:
        np.testing.assert_allclose(x @ weights, np.eye(4)[y], atol=1e-8)


def test_products_of_features_approximate_a_gaussian_kernel():
    """Rahimi and Recht 2007: E[cos(p(a - b))] = exp(-s²|a - b|²/2) for p ~ N(0, s²)."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 5))
    projections = 0.4 * rng.normal(size=(5, 100_000))
    features = [double_descent.fourier(v, projections)[0] for v in (a, b)]
    kernel = np.exp(-(0.4**2) * ((a - b) ** 2).sum() / 2)
    assert features[0] @ features[1] / 100_000 == pytest.approx(kernel, abs=0.01)


def test_a_fifth_of_the_labels_is_wrong():
    y = np.arange(1000) % 10
    noisy = double_descent.wrong(y, 10, seed=1)
    assert (noisy != y).sum() == 200 and set(noisy) == set(range(10))
    assert not np.array_equal(noisy, double_descent.wrong(y, 10, seed=2))


def test_pixels_are_means_of_blocks():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    expected = np.array([[2.5, 4.5, 10.5, 12.5]]) / 255
    np.testing.assert_allclose(double_descent.pixels(image, 2), expected)


def test_peak_and_valley_are_read_from_the_errors():
    features = np.full((1, 14), 0.5)
    features[0, [3, 7, 13]] = 0.3, 0.9, 0.2
    net = np.array([[0.8, 0.5, 0.4, 0.45, 0.5, 0.6, 0.5, 0.4, 0.4, 0.4, 0.35, 0.3]])
    misfit = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.04, *[0] * 6])
    numbers = double_descent.numbers_of(features, net, misfit)
    assert (numbers["before"], numbers["peak"], numbers["far"]) == ([0.3], [0.9], [0.2])
    assert numbers["peak_at"] == 1 and numbers["net_fits"] == 8
    nets = [numbers[f"net_{name}"][0] for name in ("before", "peak", "far")]
    assert nets == [0.4, 0.6, 0.3]
