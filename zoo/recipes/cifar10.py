"""CIFAR-10: 60,000 small photographs of 10 classes, to a tested SavedModel.

`python -m zoo.recipes.cifar10 --model MODEL` does what `zoo.recipes.fashion_mnist`
does: it trains on 45,000 images, chooses the epoch on 5,000 and evaluates it once on
the 10,000 of the test set:

    model       parameters  test accuracy    training
    resnet100k     96,442  88.00 ± 0.26 %     1782 s
    linear         30,730  41.49 ± 0.16 %        8 s

Accuracy: mean ± standard deviation over seeds 0 to 4. Training: median seconds on two
CPU cores (`linear`: AMD EPYC; `resnet100k`: Intel Xeon, two trainings at a time; one
alone took 1125 s). `python benchmarks/claims.py cifar10` measures it again.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from zoo import console, data
from zoo.errors import ZooError
from zoo.recipes import fashion_mnist

if TYPE_CHECKING:
    import keras_tuner

NAME = "cifar10"
PIXELS = {"mean": 120.71, "std": 64.15}  # over all training pixels, 0 to 255


@dataclass(frozen=True)
class Config(fashion_mnist.Config):
    """The options of a run."""

    model: Literal["resnet100k", "linear"]
    """Which network; the defaults below are this one's."""

    def __post_init__(self):
        super().__post_init__()
        hidden = self.widths, self.activation, self.dropout
        if self.model == "linear" and hidden != ((), "relu", 0):
            raise ZooError(
                "a linear classifier has no hidden layers: leave out --widths, "
                "--activation and --dropout."
            )


PRESETS = {
    "resnet100k": Config(
        "resnet100k",
        widths=(16, 32, 44, 56),
        epochs=30,
        learning_rate=0.01,
        activation="silu",
        flip=True,
        shift=2,
        erase=8,
    ),
    "linear": Config(
        "linear",
        widths=(),
        epochs=20,
        learning_rate=0.001,
        flip=True,
        shift=1,
    ),
}


def architecture(config: Config) -> tuple[str, dict]:
    """Return the name of a builder of `zoo.models`, and its arguments."""
    return fashion_mnist.architecture(config, (32, 32, 3), PIXELS)


def build(config: Config, num_train: int = 45_000):
    """Return the compiled model, its learning rate laid out for `num_train` images."""
    model = fashion_mnist.network(architecture(config))
    return fashion_mnist.compiled(model, config, num_train)


def space(
    hp: "keras_tuner.HyperParameters", config: Config = PRESETS["resnet100k"]
) -> Config:
    """Return the options of one trial; `zoo tune` searches among them."""
    return fashion_mnist.space(hp, config, PRESETS)


def load(config: Config) -> data.Splits:
    """Return the images for training, validation and test."""
    return fashion_mnist.load(config, NAME)


training_data = fashion_mnist.training_data


def main(argv: list[str] | None = None) -> dict:
    """Train, evaluate, export; return what `metrics.json` holds."""
    return fashion_mnist.train(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
