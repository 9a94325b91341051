"""Row 26: the reduction to bits against a mean over whole pixels, and the networks."""

import numpy as np

from tests.course.rows import check
from zoo.recipes import digits


def test_the_row(tmp_path, monkeypatch, capsys):
    metrics = check("digits", tmp_path, monkeypatch, capsys)
    numbers = metrics["numbers"]
    assert metrics["data"]["name"] == "mnist"
    lost = numbers["grey"]["mean"] - numbers["bits"]["mean"]
    assert np.isclose(numbers["lost"]["mean"], lost)


def test_it_runs_with_the_sample_alone(tmp_path, monkeypatch, capsys, only_the_sample):
    words = ["--quick", "--limit", "300", "--epochs", "1", "--cnn-epochs", "1"]
    check("digits", tmp_path, monkeypatch, capsys, *words, on_sample=True)


def test_a_cell_is_ink_where_its_area_is_a_quarter_ink():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28, 1), np.uint8)
    images[10:] = images[10:] // 2  # means near a quarter of full ink
    # 16 parts each way of every pixel: then a cell is 28x28 whole parts.
    parts = np.kron(images[..., 0].astype(int), np.ones((1, 16, 16), int))
    means = parts.reshape(20, 16, 28, 16, 28).mean((2, 4))
    bits = digits.reduce(images)
    assert bits.shape == (20, 16, 16, 1) and bits.dtype == np.uint8
    assert np.array_equal(bits[..., 0], means >= 255 / 4)
    assert 0.1 < bits[10:].mean() < 0.9


def test_a_quarter_of_a_cell_is_ink_and_less_is_not():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    images[0, 0, 0] = 255  # one of the 2x2 pixels of the first cell
    images[1, 0, 0] = 254
    assert digits.reduce(images, side=2)[..., 0].tolist() == [
        [[1, 0], [0, 0]],
        [[0, 0], [0, 0]],
    ]


def test_parameters_and_what_the_bits_become():
    images = np.arange(2 * 256).reshape(2, 16, 16, 1).astype(np.uint8) % 2
    config = digits.Config(hidden_units=(8,))
    model = digits.build("bits", images, config)
    assert model.count_params() == 256 * 8 + 8 + 8 * 10 + 10
    standardised = model.get_layer("standardise")(images)
    assert np.array_equal(np.unique(standardised), [-1, 1])
