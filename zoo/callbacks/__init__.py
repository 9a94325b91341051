"""Keras callbacks that work with every compiled model."""

import importlib

# Name -> its module. Loaded when first used: a report draws the heat map without Keras.
_HOMES = {
    "EarlyStopping": "early_stopping",
    "GradientMonitor": "gradient_monitor",
    "KeepBest": "keep_best",
    "LearningRateFinder": "learning_rate_finder",
    "Resume": "resume",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return sorted(__all__)
