import math

import numpy as np
import pytest

from zoo.errors import ZooError, integer, number, positive_integer, unknown


def test_unknown_names_the_nearest():
    message = str(unknown("model", "tin", ["cnn", "tiny"]))
    assert (
        message
        == "model must be one of cnn, tiny. Received: 'tin'. Did you mean 'tiny'?"
    )
    assert "Did you mean" not in str(unknown("model", "zzzzz", ["cnn", "tiny"]))


def test_errors_are_value_errors():
    assert issubclass(ZooError, ValueError)


@pytest.mark.parametrize(
    "value", [0, -3, 1.5, 3.0, True, None, "3", math.inf, math.nan]
)
def test_positive_integer_refuses(value):
    with pytest.raises(ZooError, match=f"units must be a positive .*units={value!r}"):
        positive_integer("units", value)


def test_integers():
    assert positive_integer("units", 3) == 3
    assert type(positive_integer("units", np.int64(3))) is int
    with pytest.raises(ZooError, match="seed must be an integer, at least 0.*seed=-1"):
        integer("seed", -1, least=0)
    with pytest.raises(ZooError, match="at least 0 and below 9"):
        integer("seed", 9, least=0, below=9)


@pytest.mark.parametrize("value", [-0.1, 1, math.nan, "0.5", True, None])
def test_number_refuses(value):
    with pytest.raises(ZooError, match="dropout must be at least 0 and below 1"):
        number("dropout", value, least=0, below=1)


def test_number_accepts_its_bounds():
    assert number("dropout", 0, least=0, below=1) == 0
    with pytest.raises(ZooError, match="std must be above 0"):
        number("std", 0, above=0)
    with pytest.raises(ZooError, match="mean must be a finite number"):
        number("mean", "x")
