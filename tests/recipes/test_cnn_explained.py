"""Row 29: counts against Keras's layers, moves against np.roll, and the ascent."""

import keras
import numpy as np

from tests.course.rows import check
from zoo.accuracy import moved
from zoo.recipes import cnn_explained


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("cnn_explained", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["made_over_best"]["mean"] > 1


def test_counts_are_those_of_layers():
    counts = cnn_explained.parameters(5, 4, 3, filters=2, kernel=3)
    convolution = keras.layers.Conv2D(2, 3, padding="same")
    convolution.build((None, 5, 4, 3))
    dense = keras.layers.Dense(5 * 4 * 2)
    dense.build((None, 5 * 4 * 3))
    assert counts["shared"] == convolution.count_params()
    assert counts["dense"] == dense.count_params()
    # One small dense layer of 3x3x3 inputs and 2 outputs at each of the 20 places.
    patch = keras.layers.Dense(2)
    patch.build((None, 27))
    assert counts["local"] == 20 * patch.count_params()


def test_moved_images_keep_what_stays_inside():
    images = np.arange(1, 17, dtype=np.uint8).reshape(1, 4, 4, 1)
    down = moved(images, 1, 0)[0, ..., 0]
    assert down.tolist() == [[0] * 4, [1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    left = moved(images, 0, -3)[0, ..., 0]
    assert left.tolist() == [[4, 0, 0, 0], [8, 0, 0, 0], [12, 0, 0, 0], [16, 0, 0, 0]]
    assert np.array_equal(moved(images, 0, 0), images)


def test_the_ascent_finds_the_image_that_a_linear_unit_asks_for():
    weights = np.random.default_rng(0).normal(size=(16, 1))
    inputs = keras.Input((4, 4, 1))
    layer = keras.layers.Dense(1)
    units = keras.Model(inputs, layer(keras.layers.Flatten()(inputs)))
    layer.set_weights([weights, np.zeros(1)])
    made = cnn_explained.ascend(units, 0, (4, 4, 1), seed=0)
    far = np.abs(weights[:, 0]) > 0.2  # the others may not have arrived
    wanted = np.where(weights[:, 0] > 0, 255, 0)
    assert np.array_equal(made.ravel()[far], wanted[far])
