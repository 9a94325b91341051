"""The card of a pretrained model: Markdown with the metadata that model hubs read."""

import functools
from pathlib import Path

from zoo import pretrained
from zoo.files import replacing

# Of the data sets: how to name them, their licence, what they hold.
DATA = {
    "fashion_mnist": ("Fashion-MNIST", "MIT", "grey pictures of clothes, 28x28 pixels"),
    "mnist": ("MNIST", "CC BY-SA 3.0", "grey handwritten digits, 28x28 pixels"),
    "cifar10": ("CIFAR-10", "not stated", "colour photographs, 32x32 pixels"),
}


def write(facts: dict, folder: Path) -> Path:
    """Write a model's card into a folder, and return its path."""
    path = folder / f"{facts['name']}.md"
    with replacing(path) as beside:
        beside.write_text(card(facts), encoding="utf8")
    return path


def card(facts: dict) -> str:
    """Return the card of a pretrained model, from what was measured of it."""
    mean, spread = pretrained.recipe_accuracy(facts)
    title = DATA[facts["data"]["name"]]
    return _template().render(facts, title=title, mean=mean, spread=spread)


@functools.cache
def _template():
    import jinja2

    loader = jinja2.PackageLoader("zoo", "pretrained")
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": lambda value, places=2: f"{100 * value:.{places}f}",
        "thousands": lambda value: f"{value:,}",
    }
    return environment.get_template("card.md.j2")
