"""Which way to ask a pretrained model: the time of an image, alone and in a batch.

    python benchmarks/inference.py [--model fashion_mnist_cnn] [--rounds 30]

For `model.predict`, `model(x)`, a compiled function of it, the SavedModel, ONNX Runtime
and LiteRT (float and int8), all timed in turns in one run on real test images. Prints a
Markdown table of ratios to `model(x)` for one image and for a batch of 1,000, and each
one's share of images that get the class that `model(x)` gives.
"""

import argparse
import functools
import statistics
import tempfile
from pathlib import Path

import numpy as np
from timing import in_turns

from zoo import console

console.import_keras()

import tensorflow as tf  # noqa: E402

import zoo  # noqa: E402
from zoo import data, pretrained  # noqa: E402
from zoo.export import certificate, formats, runtimes  # noqa: E402
from zoo.export.classifier import Classifier  # noqa: E402
from zoo.export.saved_model import write  # noqa: E402


def main() -> None:
    """Export, time in turns, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="fashion_mnist_cnn")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    splits = data.load(pretrained.facts(options.model)["data"]["name"])
    with tempfile.TemporaryDirectory() as folder:
        ways = _ways(zoo.load(options.model), splits, Path(folder))
        one, many = (_times(ways, splits.test.x[:n], options.rounds) for n in (1, 1000))
        expected = ways["model(x)"](splits.test.x[:1000]).argmax(1)
        reference = one["model(x)"], many["model(x)"]
        print("| way | one image | ratio | 1,000 images | ratio | same class |")
        print("|---|---|---|---|---|---|")
        for name, way in ways.items():
            same = (way(splits.test.x[:1000]).argmax(1) == expected).mean()
            print(
                f"| {name} | {1e3 * one[name]:.2f} ms | {one[name] / reference[0]:.2f} "
                f"| {1e3 * many[name]:.1f} ms | {many[name] / reference[1]:.2f} "
                f"| {same:.1%} |",
                flush=True,
            )


def _ways(model, splits, folder: Path) -> dict:
    """Return a function from uint8 images to probabilities for each way."""
    classifier = Classifier(model, splits.test.x[:64], splits.class_names)
    proof = certificate.certify(classifier, *splits.test, {"name": "model"})
    some = splits.validation.x[:500]  # to choose the ranges of integers by
    versions = [
        write(classifier, folder / "saved", proof),
        formats.onnx(classifier, folder / "onnx", proof),
        formats.litert(classifier, folder / "litert", proof, some),
    ]
    compiled = tf.function(model, reduce_retracing=True)
    ways = {
        "model.predict": lambda x: model.predict(x, batch_size=1000, verbose=0),
        "model(x)": lambda x: model(x, training=False).numpy(),
        "tf.function(model)": lambda x: compiled(x, training=False).numpy(),
    }
    for version in versions:
        for runtime in runtimes.of_version(version):
            ways[runtime.format] = _asking(runtime.open(runtime.path))
    return ways


def _asking(ask):
    return lambda x: np.asarray(ask("serving_default", {"images": x})["probabilities"])


def _times(ways: dict, images, rounds: int) -> dict[str, float]:
    """Return the median seconds of each way, all timed in turns."""
    jobs = {name: functools.partial(way, images) for name, way in ways.items()}
    seconds = in_turns(jobs, rounds)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
