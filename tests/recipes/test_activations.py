"""Row 8: values and slopes against closed forms and SciPy, the collapse by hand."""

import numpy as np
import pytest
from scipy import special

from tests.course.rows import check
from zoo.recipes import activations

Z = np.array([-3.0, -1.5, -0.3, 0.2, 1.0, 2.5])
FORMS = {
    "threshold": (lambda z: np.heaviside(z, 0), lambda z: 0 * z),
    "linear": (lambda z: z, lambda z: 1 + 0 * z),
    "sigmoid": (special.expit, lambda z: special.expit(z) * special.expit(-z)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "ReLU": (lambda z: np.maximum(z, 0), lambda z: z > 0),
    "leaky ReLU": (
        lambda z: np.maximum(z, 0.1 * z),
        lambda z: np.where(z > 0, 1, 0.1),
    ),
    "ELU": (
        lambda z: np.where(z > 0, z, np.expm1(z)),
        lambda z: np.where(z > 0, 1, np.exp(z)),
    ),
    # The pieces are -z - 1, z / 2 and z - 1: they meet at -2/3 and 2.
    "maxout": (
        lambda z: np.max([-z - 1, z / 2, z - 1], axis=0),
        lambda z: np.select([z < -2 / 3, z < 2], [-1, 0.5], 1),
    ),
    "softmax": (
        lambda z: special.softmax(np.stack([z, 0 * z], 1), axis=1)[:, 0],
        lambda z: special.expit(z) * (1 - special.expit(z)),
    ),
}


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("activations", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["linear_gap"]["mean"] < numbers["relu_gap"]["mean"] / 1000


@pytest.mark.parametrize("name", FORMS)
def test_values_and_slopes_are_the_closed_forms(name):
    values, slopes = activations.slopes(activations.functions()[name], Z)
    value, slope = FORMS[name]
    np.testing.assert_allclose(values, value(Z), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes, slope(Z), rtol=1e-4, atol=1e-6)


def test_every_activation_has_a_form():
    assert list(activations.functions()) == list(FORMS)


def test_a_linear_stack_is_its_product_by_hand():
    model = activations.stack(None, 2, 2, seed=0)
    first, second = np.array([[1, 2], [0, 1]]), np.array([[2, 0], [1, -1]])
    model.set_weights([first, np.array([1, 0]), second, np.array([0, 3])])
    kernel, bias = activations.collapsed(model)
    # [[1, 2], [0, 1]] [[2, 0], [1, -1]]; (1, 0) times the second kernel plus (0, 3)
    assert kernel.tolist() == [[4, -2], [1, -1]] and bias.tolist() == [2, 3]
    outputs = np.array(model(np.array([[1, 1], [0, 2]], "float32")))
    assert outputs.tolist() == [[7, 0], [4, 1]]


def test_gap_is_a_share_of_the_outputs():
    assert activations.gap(np.array([3.0, 4.0]), np.array([0.0, 4.0])) == 0.6
