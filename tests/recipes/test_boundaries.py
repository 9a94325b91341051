"""Row 10: linear classifiers against scikit-learn, and the gradient of a step."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.course.rows import check
from zoo.data import toys
from zoo.recipes import boundaries


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("boundaries", tmp_path, monkeypatch, capsys)["numbers"]
    for name, make in boundaries.SETS.items():
        train, new = make(1000, 0), make(2000, 10**6)
        line = LogisticRegression(C=np.inf).fit(*train).score(*new)
        ours = numbers[f"linear_{name.replace(' ', '_')}"]["mean"]
        assert ours == pytest.approx(line, abs=0.06)
    train, new = toys.quadrants(1000, 0), toys.quadrants(2000, 10**6)
    product = [np.column_stack([p.x, p.x.prod(1)]) for p in (train, new)]
    right = LogisticRegression(C=np.inf).fit(product[0], train.y)
    assert right.score(product[1], new.y) > 0.98
    assert numbers["product_quadrants"]["mean"] > 0.95


def test_a_step_is_a_sign_with_the_slope_of_a_hard_tanh():
    import tensorflow as tf

    z = tf.Variable([-2.0, -0.5, 0.5, 2.0])
    with tf.GradientTape() as tape:
        outputs = boundaries.step(z)
    assert outputs.numpy().tolist() == [-1, -1, 1, 1]
    assert tape.gradient(outputs, z).numpy().tolist() == [0, 1, 1, 0]


def test_all_networks_are_in_one_model():
    model, names = boundaries.network(2)
    widths = [width for _, width in names[2:]]
    assert names[:2] == [boundaries.LINEAR, boundaries.PRODUCT]
    assert sorted(set(widths)) == [1, 2, 3, 5, 10, 20, 50, 100, 200, 500]
    assert len(names) == 2 + 3 * 10
    assert model.output_shape == (None, 32 * 3 * 2, 1)
