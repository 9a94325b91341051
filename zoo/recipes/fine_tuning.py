"""Fine-tuning: clothes from 1,000 labelled images, by a network that knows photographs.

`python -m zoo.recipes.fine_tuning --model MODEL` trains a network on 1,000 images of
Fashion-MNIST, chooses the epoch on another 1,000 and evaluates it once on the 10,000 of
the test set:

    model         parameters  test accuracy    training
    fine-tuned        96,154  85.79 ± 0.39 %       63 s
    from-scratch      96,154  84.27 ± 0.51 %       63 s

`fine-tuned` begins with the weights of `cifar10_resnet100k`, learned from photographs
in colour; of grey pictures a pixel has the same value in all three colours, so the
first kernels are summed over them. `from-scratch` is the same network, from random
weights. Each has the learning rate that was best for it, without the test set: see
`docs/pretrained.md`.

Accuracy: mean ± standard deviation over seeds 0 to 4, each of which picks images of
its own. Training: median seconds on one core of an Intel Xeon.
`python benchmarks/claims.py fine_tuning` measures it again.
"""

import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tyro.conf import Suppress

import zoo
from zoo import console, data, pretrained
from zoo.recipes import fashion_mnist

if TYPE_CHECKING:
    import keras_tuner

NAME = "fine_tuning"
PRETRAINED = "cifar10_resnet100k"
_NETWORK = pretrained.facts(PRETRAINED)["arguments"]


@dataclass(frozen=True)
class Config(fashion_mnist.Config):
    """The options of a run."""

    model: Literal["fine-tuned", "from-scratch"]
    """Where the weights begin; the defaults below are this one's."""
    widths: Suppress[tuple[int, ...]]  # the pretrained network's, as the next two
    activation: Suppress[fashion_mnist.Activation] = _NETWORK["activation"]
    dropout: Suppress[float] = _NETWORK["dropout"]
    limit: int | None = dataclasses.field(default=2000, kw_only=True)
    """So many labelled images: half to learn from, half to choose the epoch by."""


_FINE_TUNED = Config(
    "fine-tuned",
    widths=tuple(_NETWORK["filters"]),
    epochs=40,
    learning_rate=0.01,
    batch_size=64,
    flip=True,
)
PRESETS = {
    "fine-tuned": _FINE_TUNED,
    "from-scratch": dataclasses.replace(
        _FINE_TUNED, model="from-scratch", learning_rate=0.03
    ),
}


def architecture(config: Config) -> tuple[str, dict]:
    """Return the name of a builder of `zoo.models`, and its arguments."""
    changed = {
        "name": config.model.replace("-", "_"),
        "input_shape": (28, 28, 1),
        **fashion_mnist.PIXELS,
    }
    return pretrained.facts(PRETRAINED)["builder"], _NETWORK | changed


def build(config: Config, num_train: int = 1000):
    """Return the compiled model, its learning rate laid out for `num_train` images."""
    model = fashion_mnist.network(architecture(config))
    if config.model == "fine-tuned":
        *learned, _ = zoo.load(PRETRAINED).layers  # all but the classifier
        for layer in learned:
            weights = layer.get_weights()
            if layer.name == "conv_0":
                weights = [kernel.sum(axis=2, keepdims=True) for kernel in weights]
            model.get_layer(layer.name).set_weights(weights)
    return fashion_mnist.compiled(model, config, num_train)


def space(hp: "keras_tuner.HyperParameters", config: Config = _FINE_TUNED) -> Config:
    """Return the options of one trial; `zoo tune` searches among them."""
    preset = PRESETS[config.model]
    rate, epochs = preset.learning_rate, preset.epochs
    return dataclasses.replace(
        config,
        learning_rate=fashion_mnist.short(
            hp.Float(
                "learning_rate", rate / 10, rate * 10, sampling="log", default=rate
            )
        ),
        epochs=hp.Int("epochs", epochs // 3, epochs * 3, default=epochs),
        shift=hp.Int("shift", 0, 2, default=preset.shift),
    )


def load(config: Config) -> data.Splits:
    """Return the images for training, validation and test."""
    return fashion_mnist.load(config, validation=0.5)


training_data = fashion_mnist.training_data


def main(argv: list[str] | None = None) -> dict:
    """Train, evaluate, export; return what `metrics.json` holds."""
    return fashion_mnist.train(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
