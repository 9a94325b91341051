"""Builders that return a plain `keras.Model`."""

from zoo.models.cnn import small_cnn
from zoo.models.mlp import mlp

__all__ = ["mlp", "small_cnn"]
