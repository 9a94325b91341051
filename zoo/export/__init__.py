"""From a trained model to a SavedModel that was reloaded and compared."""

from zoo.export.saved_model import copy, saved_model

__all__ = ["copy", "saved_model"]
