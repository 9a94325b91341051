"""MNIST: 60,000 handwritten digits, to a tested SavedModel.

`python -m zoo.recipes.mnist --model MODEL` does what `zoo.recipes.fashion_mnist` does:
it trains on 54,000 images, chooses the epoch on 6,000 and evaluates it once on the
10,000 of the test set:

    model      parameters  test accuracy    training
    mlp           535,818  99.11 ± 0.05 %       42 s
    resnet10k       9,538  99.51 ± 0.09 %      247 s

Accuracy: mean ± standard deviation over seeds 0 to 4. Training: median seconds on two
CPU cores (mlp: AMD EPYC; resnet10k: Intel Xeon, which is the slower one).
`python benchmarks/claims.py mnist` measures it again.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from zoo import console, data
from zoo.recipes import fashion_mnist

if TYPE_CHECKING:
    import keras_tuner

NAME = "mnist"
PIXELS = {"mean": 33.32, "std": 78.57}  # over all training pixels, 0 to 255


@dataclass(frozen=True)
class Config(fashion_mnist.Config):
    """The options of a run."""

    model: Literal["mlp", "resnet10k"]
    """Which network; the defaults below are this one's."""


PRESETS = {
    "mlp": Config(
        "mlp",
        widths=(512, 256),
        epochs=30,
        learning_rate=0.002,
        dropout=0.2,
        shift=1,
    ),
    "resnet10k": Config(
        "resnet10k",
        widths=(8, 12, 14, 14),
        epochs=16,
        learning_rate=0.01,
        activation="silu",
        shift=1,
    ),
}


def architecture(config: Config) -> tuple[str, dict]:
    """Return the name of a builder of `zoo.models`, and its arguments."""
    return fashion_mnist.architecture(config, pixels=PIXELS)


def build(config: Config, num_train: int = 54_000):
    """Return the compiled model, its learning rate laid out for `num_train` images."""
    model = fashion_mnist.network(architecture(config))
    return fashion_mnist.compiled(model, config, num_train)


def space(hp: "keras_tuner.HyperParameters", config: Config = PRESETS["mlp"]) -> Config:
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
