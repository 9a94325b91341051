"""Row 25: the three networks of the lecture's main example."""

import numpy as np

from tests.course.rows import check
from zoo.recipes import clothes


def test_the_row(tmp_path, monkeypatch, capsys):
    words = "--quick", "--limit", 4000, "--mlp-epochs", 4, "--cnn-epochs", 4
    numbers = check("clothes", tmp_path, monkeypatch, capsys, *words)["numbers"]
    # Weights and biases of each layer.
    dense = [(784, 256), (256, 128), (128, 10)]
    assert numbers["mlp_parameters"]["mean"] == sum((i + 1) * o for i, o in dense)
    assert numbers["my_dense_parameters"] == numbers["mlp_parameters"]
    blocks = [(1, 16), (16, 64), (64, 96)]
    convolutions = sum(9 * i * o + 4 * o for i, o in blocks)
    top = (4 * 4 * 96 + 1) * 10  # 28 -> 14 -> 7 -> 4
    assert numbers["cnn_parameters"]["mean"] == convolutions + top
    assert numbers["difference"]["mean"] < 1e-4


def test_a_preset_is_shortened_and_else_as_it_is():
    config = clothes.Config(mlp_epochs=3, cnn_epochs=2)
    for model in clothes.MODELS.values():
        short = clothes.preset(model, config, 7)
        whole = clothes.fashion_mnist.PRESETS[model]
        assert (short.epochs, short.seed) == (2 if model == "cnn" else 3, 7)
        assert (short.widths, short.learning_rate) == (
            whole.widths,
            whole.learning_rate,
        )


def test_the_sentence_says_whether_the_two_are_the_same():
    numbers = dict.fromkeys(["cnn", "mlp", "cnn_parameters", "mlp_parameters"], 0.5)
    assert "to the last bit" in clothes.conclude(numbers | {"difference": 0.0})
    assert "2e-07" in clothes.conclude(numbers | {"difference": np.float32(2e-7)})
