"""Data sets as whole arrays in memory, and the pipeline that feeds them to `fit`."""

from zoo.data.datasets import Examples, Splits, fetch, folder, load

__all__ = ["Examples", "Splits", "fetch", "folder", "load"]
