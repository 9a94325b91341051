"""Seconds of training until validation accuracy reaches 90, 92, 93 and 94 %.

    python benchmarks/time_to_accuracy.py [--seeds 5] [--presets cnn tiny ...]
        [--runs-dir FOLDER]

Fashion-MNIST, 54,000 images to learn from and 6,000 to look at after every epoch, which
counts. In turns, in this one run: presets of the recipe, each by its own command and to
its end; the convolutional network of the Keras documentation's MNIST example, for the
15 epochs that it is given there; and the same network in PyTorch, where installed.

Prints a Markdown table of the medians over the seeds. An accuracy that only some of the
seeds reach tells how many, and one that not all reach is not counted as reached.
With --runs-dir the records of the presets' runs are kept there.
"""

import argparse
import functools
import importlib.util
import math
import statistics
import time
from unittest import mock

from timing import metrics_of, whole_fashion_mnist

from zoo import data
from zoo.recipes import fashion_mnist
from zoo.training.run import Run

TARGETS = (0.90, 0.92, 0.93, 0.94)
EPOCHS_OF_THE_CONVNET = 15
BATCH_SIZE = 128
Progress = list[tuple[float, float]]  # (seconds, validation accuracy) of every epoch


def main() -> None:
    """Train everything on every seed and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    presets = [name for name in fashion_mnist.PRESETS if name != "my-dense"]
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--presets", nargs="+", choices=presets, default=presets)
    parser.add_argument("--runs-dir")
    asked = parser.parse_args()
    whole_fashion_mnist()
    own = {
        f"zoo, {name}": functools.partial(preset, name, asked.runs_dir)
        for name in asked.presets
    }
    others = {"Keras documentation's convnet": keras_convnet}
    if importlib.util.find_spec("torch"):
        others["the same in PyTorch"] = torch_convnet
    seconds = {name: [] for name in own | others}
    for seed in range(asked.seeds):
        for name, contender in (own | others).items():
            progress = contender(seed)
            seconds[name].append([until(progress, t) for t in TARGETS])
            best = max(accuracy for _, accuracy in progress)
            print(
                f"seed {seed}: {name:30} {progress[-1][0]:6.1f} s, "
                f"{len(progress):2} epochs, best {best:.2%}",
                flush=True,
            )
    print(table(seconds, list(own)))


def until(progress: Progress, target: float) -> float:
    """Return the seconds until the accuracy first reaches a target, or infinity."""
    return next((at for at, accuracy in progress if accuracy >= target), math.inf)


def table(seconds: dict[str, list], own: list[str]) -> str:
    """Return the medians as Markdown, and how many times faster the best of `own` is.

    Args:
        seconds: of each contender, for each seed, the seconds until each target.
        own: the contenders that are the zoo's.
    """
    lines = ["| until validation reaches | " + " | ".join(f"{t:.0%}" for t in TARGETS)]
    lines += ["|---" * (len(TARGETS) + 1)]
    medians = {}
    for name, rows in seconds.items():
        cells, medians[name] = [], []
        for reached in zip(*rows, strict=True):
            finite = [value for value in reached if value < math.inf]
            median = statistics.median(reached)
            whole = len(finite) == len(reached)
            medians[name].append(median if whole else math.inf)
            some = f"{len(finite)} of {len(reached)} seeds" if finite else "never"
            cells.append(f"{median:.1f} s" if whole else some)
        lines.append(" | ".join([f"| {name}", *cells]))
    ratios = []
    for index in range(len(TARGETS)):
        mine = min(medians[name][index] for name in own)
        theirs = min(medians[name][index] for name in seconds if name not in own)
        ratios.append(f"{theirs / mine:.1f}" if theirs < math.inf else "-")
    lines.append(" | ".join(["| the zoo's best is faster, times", *ratios]))
    return "\n".join(f"{line} |" for line in lines)


class Clock:
    """Notes `(seconds, validation accuracy)` after every epoch of a `fit`."""

    def __init__(self):
        self.progress: Progress = []

    def callback(self):
        """Return the Keras callback that does it."""
        import keras

        def begin(logs):
            self.began = time.perf_counter()

        def note(epoch, logs):
            elapsed = time.perf_counter() - self.began
            self.progress.append((elapsed, logs["val_accuracy"]))

        return keras.callbacks.LambdaCallback(on_train_begin=begin, on_epoch_end=note)


def preset(name: str, runs_dir: str | None, seed: int) -> Progress:
    """Run the recipe's own command, and return how it went."""
    clock = Clock()

    class Clocked(Run):
        def callbacks(self, probe):
            *others, resume = super().callbacks(probe)  # which must be the last
            return [*others, clock.callback(), resume]

    words = ["--model", name, "--seed", str(seed)]
    with mock.patch.object(fashion_mnist, "Run", Clocked):
        metrics_of(fashion_mnist, words, runs_dir)
    return clock.progress


def keras_convnet(seed: int) -> Progress:
    """Train the Keras documentation's convnet by `fit` on NumPy arrays.

    Source: keras.io, "Simple MNIST convnet" (Chollet, 2015), for 28x28x1 images.
    """
    import keras
    from keras import layers

    splits, clock = data.load("fashion_mnist", seed=seed), Clock()
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        *splits.train,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS_OF_THE_CONVNET,
        validation_data=tuple(splits.validation),
        callbacks=[clock.callback()],
        verbose=0,
    )
    return clock.progress


def torch_convnet(seed: int) -> Progress:
    """Train the same network in PyTorch, on tensors in memory, channels last."""
    import torch
    from torch import nn

    splits = data.load("fashion_mnist", seed=seed)
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10)),
    ).to(memory_format=torch.channels_last)
    for layer in model:  # as Keras begins
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(model.parameters(), 0.001, eps=1e-7)

    def tensors(examples):
        x = torch.from_numpy(examples.x.transpose(0, 3, 1, 2)).float() / 255
        x = x.contiguous(memory_format=torch.channels_last)
        return x, torch.from_numpy(examples.y)

    (x, y), (held_x, held_y) = tensors(splits.train), tensors(splits.validation)
    progress, began = [], time.perf_counter()
    for _ in range(EPOCHS_OF_THE_CONVNET):
        model.train()
        for index in torch.randperm(len(y)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = (model(held_x).argmax(1) == held_y).float().mean()
        progress.append((time.perf_counter() - began, float(right)))
    return progress


if __name__ == "__main__":
    main()
