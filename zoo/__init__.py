"""A Keras 3 model zoo that keeps its word.

Importing `zoo` costs next to nothing: its names are loaded when they are first
used (PEP 562), and neither Keras nor TensorFlow is imported before that.

Example:
    >>> import zoo
    >>> zoo.mlp(input_shape=(28, 28, 1), hidden_units=(64,)).count_params()
    50890
"""

import importlib

import wrapt

__version__ = "0.1.0"

# Public name -> the module that defines it.
_HOMES = {
    "MyDenseLayer": "zoo.layers",
    "Maxout": "zoo.layers",
    "EnsembleDense": "zoo.ensembles",
    "mlp": "zoo.models",
    "small_cnn": "zoo.models",
    "small_resnet": "zoo.models",
    "list_models": "zoo.pretrained",
    "load": "zoo.pretrained",
    "ZooError": "zoo.errors",
}
_MODULES = (
    "data",
    "layers",
    "models",
    "pretrained",
    "callbacks",
    "export",
    "training",
    "tuning",
    "course",
    "recipes",
)
__all__ = ["__version__", *_HOMES, *_MODULES]


@wrapt.when_imported("keras")
def _register_layers(keras):
    # `import zoo` is all that keras.models.load_model may ask for: Keras itself
    # never imports the module that a saved model's custom layers come from.
    importlib.import_module("zoo.ensembles")  # and zoo.layers


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"zoo.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return globals().setdefault(name, getattr(home, name))


def __dir__():
    return sorted(__all__)
