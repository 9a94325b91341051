"""Row 16: gradients through depth, and the monitor's verdicts."""

import numpy as np

from tests.course.rows import check
from zoo.recipes import vanishing_gradients


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("vanishing_gradients", tmp_path, monkeypatch, capsys)["numbers"]
    step, ratio = (numbers[f"sigmoid_{key}"]["values"] for key in ("step", "ratio"))
    np.testing.assert_allclose(np.power(step, 8), ratio, rtol=1e-6)  # 9 layers of 64


def test_a_linear_layer_doubles_what_passes():
    model = vanishing_gradients.build(3, None, seed=0)
    for name in ("hidden_2", "hidden_3"):
        kernel = model.get_layer(name).get_weights()[0]
        x = np.random.default_rng(0).normal(size=(500, 64))
        for way in (kernel, kernel.T):  # forwards, and backwards
            gain = np.linalg.norm(x @ way) / np.linalg.norm(x)
            np.testing.assert_allclose(gain, 2, rtol=0.05)
