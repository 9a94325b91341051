"""From a trained model to an export that was reloaded, compared and certified."""

from zoo.export.certificate import facts
from zoo.export.saved_model import saved_model
from zoo.export.versions import copy

__all__ = ["copy", "facts", "saved_model"]
