"""Hyper-parameter search that can be trusted; its names are loaded when first used."""

import importlib
from typing import Literal

TunerName = Literal["random", "hyperband", "bayesian", "grid", "coarse-to-fine"]

_HOMES = {
    "search": "zoo.tuning.model",
    "Search": "zoo.tuning.records",
    "CoarseToFine": "zoo.tuning.coarse_to_fine",
}
__all__ = ["TunerName", *_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo.tuning' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
