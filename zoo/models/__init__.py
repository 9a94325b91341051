"""Builders that return a plain `keras.Model`."""

from zoo.models.cnn import small_cnn
from zoo.models.mlp import mlp
from zoo.models.resnet import small_resnet

__all__ = ["mlp", "small_cnn", "small_resnet"]
