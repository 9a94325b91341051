"""`zoo predict`: what a pretrained model sees in image files."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from zoo import pretrained
from zoo.errors import ZooError, positive_integer

GREYS = " .:-=+*#%@"  # from black to white


@dataclass(frozen=True)
class Predict:
    """Print the most probable classes of image files.

    An image is prepared as an exported model does it, to one level of 255: transparent
    pixels become black, colour becomes grey where the model takes grey, of 16 bits the
    upper 8 count, and it is resized. LiteRT answers: TensorFlow is not loaded.
    """

    images: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint=""),
    ]
    """Image files: PNG, JPEG, BMP, GIF, and what else Pillow reads."""
    model: str = "fashion_mnist_cnn"
    """A pretrained model: zoo list --models shows them."""
    top: int = 3
    """How many classes to print for each image."""
    show: bool = False
    """Draw each image in the terminal, as the model sees it."""

    def __call__(self):
        """Print file, classes and probabilities."""
        known = pretrained.facts(self.model)
        names = known["class_names"]
        if not self.images:
            raise ZooError("zoo predict needs image files: zoo predict coat.png")
        top = min(positive_integer("--top", self.top), len(names))
        shape = known["arguments"]["input_shape"]
        pixels = [read(path, shape) for path in self.images]
        probabilities = pretrained.probabilities(self.model, np.stack(pixels))
        for path, image, row in zip(self.images, pixels, probabilities, strict=True):
            print(path)
            if self.show:
                print(drawing(image))
            for index in (-row).argsort(kind="stable")[:top]:
                print(f"  {row[index]:7.2%}  {names[index]}")


def read(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image file as a model takes it, uint8 of that shape.

    Args:
        path: of the file.
        shape: `(height, width, channels)`, of 1 or 3 channels.

    Raises:
        ZooError: it is no image file, or one too large, or its pixels have more bits.
    """
    from PIL import Image

    height, width, channels = shape
    too_large = Image.DecompressionBombWarning
    as_error = warnings.catch_warnings(action="error", category=too_large)
    try:
        with as_error, Image.open(path) as image:
            mode, over_black = image.mode, Image.new("RGBA", image.size, "black")
            if mode.startswith("I;16"):  # which Pillow would cut off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            over_black.alpha_composite(image.convert("RGBA"))
    except (too_large, Image.DecompressionBombError):
        raise ZooError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller."
        ) from None
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or "it is not an image, or damaged"
        raise ZooError(f"{path} cannot be read as an image: {told}.") from None
    if mode in ("I", "F"):
        raise ZooError(f"{path} has pixels of 32 bits: save it with 8 bits a channel.")
    picture = over_black.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(shape)


def drawing(image: np.ndarray) -> str:
    """Return an image as text: two characters for each pixel, from black to white."""
    grey = image.mean(-1) / 255
    index = np.minimum((grey * len(GREYS)).astype(int), len(GREYS) - 1)
    return "\n".join("  " + "".join(2 * GREYS[i] for i in row) for row in index)
