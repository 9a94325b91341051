"""Keras callbacks that work with every compiled model."""

from zoo.callbacks.keep_best import KeepBest

__all__ = ["KeepBest"]
