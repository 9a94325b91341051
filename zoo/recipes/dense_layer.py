"""A Dense layer from scratch: MyDenseLayer does what keras.layers.Dense does.

`zoo.MyDenseLayer` is a matrix product, a sum and an activation in a dozen lines (L4).
Two networks for pictures of clothes, 784-64-10, start from the same weights: one is
made of it, one of `keras.layers.Dense`. They are asked for their outputs and gradients
and trained for 100 steps of Adam on the same batches. Then ours is saved as a .keras
file and exported as a SavedModel, and a fresh Python process answers from both files.

    number     claim    measured      what
    outputs    <= 1e-5  0.000000      largest difference of the outputs
    gradients  <= 1e-5  0.000000      of the gradients
    losses     <= 1e-4  0.000000      of the losses in 100 steps
    trained    <= 1e-3  0.000000      of the outputs after training
    reloaded   <= 1e-5  0.000000      saved, loaded in a fresh process
    exported   <= 1e-5  0.000000      exported, loaded in a fresh process
    learned    <= 70 %  39.6 ± 0.7 %  last 10 losses, of the first 10
    seconds    -        9             seconds on two CPU cores; quick 7
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo import console, course
from zoo.course import DataOptions

NAME = "dense_layer"
STEPS, BATCH, ASKED = 100, 32, 500
# What the fresh process does: it knows nothing but the files.
ANSWER = """
import sys
from pathlib import Path
import numpy as np
from zoo import console
console.import_keras()
import tensorflow as tf
from zoo.export import loading
images = np.load(Path(sys.argv[1]) / "images.npy")
for folder in sys.argv[2:]:
    folder = Path(folder)
    model = loading.load(folder / "model.keras")
    assert type(model.layers[-1]).__name__ == "MyDenseLayer"
    np.save(folder / "reloaded.npy", model(images))
    served = tf.saved_model.load(str(folder / "exported"))
    np.save(folder / "exported.npy", served.serve(images))
"""


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""

    seeds: int = 3
    """Pairs of networks."""


QUICK = Config(quick=True, seeds=1)


def twins(images, classes):
    """Return a network of MyDenseLayers and one of Dense layers, the same weights."""
    import keras

    import zoo

    pair = [
        zoo.mlp(images.shape[1:], (64,), layer=layer, classes=classes)
        for layer in (zoo.MyDenseLayer, keras.layers.Dense)
    ]
    pair[0].set_weights(pair[1].get_weights())
    for model in pair:
        model.compile("adam", "sparse_categorical_crossentropy")
    return pair


def gradients(model, x, y):
    """Return the gradient of the loss in all parameters, as one array."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
    found = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return np.concatenate([np.ravel(g) for g in found])


def train(model, x, y):
    """Train for a pass in order; return the loss of each step."""
    import keras

    losses = []
    watch = keras.callbacks.LambdaCallback(
        # Keras logs the mean since the epoch began: begin anew with each step.
        on_train_batch_begin=lambda batch, logs: model.reset_metrics(),
        on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]),
    )
    model.fit(x, y, batch_size=BATCH, shuffle=False, callbacks=[watch], verbose=0)
    return np.array(losses)


def fresh_answers(models, images, folder):
    """Save and export models; return what a fresh process reads from the files.

    Args:
        models: some models of `MyDenseLayer`s.
        images: what they are asked.
        folder: an empty one.

    Returns:
        For each model, the outputs of the `.keras` file and of the SavedModel.
    """
    np.save(folder / "images.npy", images)
    places = [folder / str(number) for number in range(len(models))]
    for place, model in zip(places, models, strict=True):
        place.mkdir()
        model.save(place / "model.keras")
        model.export(place / "exported", verbose=False)
    subprocess.run(
        [sys.executable, "-c", ANSWER, str(folder), *map(str, places)], check=True
    )
    return [
        [np.load(place / f"{how}.npy") for how in ("reloaded", "exported")]
        for place in places
    ]


def measure(run):
    """Compare pairs of networks, seed by seed; then ask a fresh process."""
    import keras

    splits = run.load("fashion_mnist", limit=STEPS * BATCH, validation=0)
    (x, y), asked = splits.train, splits.test.x[:ASKED]
    numbers = {name: [] for name in ("outputs", "gradients", "losses", "trained")}
    numbers |= {"reloaded": [], "exported": [], "learned": []}
    ours = []

    def note(name, a, b):
        numbers[name].append(np.abs(np.subtract(a, b)).max())

    for seed in run.bar(run.seeds, "Training", "pair"):
        keras.utils.set_random_seed(seed)
        pair = twins(x, len(splits.class_names))
        note("outputs", *(np.array(model(asked)) for model in pair))
        note("gradients", *(gradients(model, x[:BATCH], y[:BATCH]) for model in pair))
        losses = [train(model, x, y) for model in pair]
        note("losses", *losses)
        note("trained", *(np.array(model(asked)) for model in pair))
        numbers["learned"].append(losses[0][-10:].mean() / losses[0][:10].mean())
        ours.append(pair[0])
    with tempfile.TemporaryDirectory() as folder:
        answers = fresh_answers(ours, asked, Path(folder))
    for model, (reloaded, exported) in zip(ours, answers, strict=True):
        now = np.array(model(asked))
        note("reloaded", now, reloaded)
        note("exported", now, exported)
    return numbers, (losses, numbers)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    pair = [numbers[name] for name in ("outputs", "gradients", "losses", "trained")]
    return (
        "A layer of a dozen lines equals Keras's Dense in outputs, gradients and 100 "
        f"steps, in which its loss falls to {numbers['learned']:.0%}, "
        f"{to(max(pair))}; a fresh process gets the same outputs from its .keras file "
        f"and its SavedModel, {to(max(numbers['reloaded'], numbers['exported']))}."
    )


def to(gap):
    """Return in words how well two things agree."""
    return f"to {gap:.0e}" if gap else "to the last bit"


def paint(figure, drawn):
    """Draw both curves of the loss, one on the other, and the largest differences."""
    (ours, theirs), numbers = drawn
    left, right = figure.subplots(1, 2)
    steps = np.arange(1, len(ours) + 1)
    left.plot(steps, theirs, "C1", linewidth=7, alpha=0.5, label="Dense")
    left.plot(steps, ours, "C0--", linewidth=1.8, label="MyDenseLayer")
    left.set(xlabel="step", ylabel="loss of the batch", ylim=(0, None))
    left.set_title("Training: the same curve")
    left.legend()
    names = ("outputs", "gradients", "losses", "trained", "reloaded", "exported")
    least = 1e-9  # where 0 is drawn
    for place, name in enumerate(names):
        values = np.maximum(numbers[name], least)
        right.plot(values, [place] * len(values), "C0o", markersize=10)
    epsilon = np.finfo("float32").eps
    right.axvline(epsilon, color="C5", linestyle="--")
    right.set_xscale("log")
    right.set_xlim(least / 3, 1e-4)
    right.set_xticks([1e-9, 1e-7, 1e-5], ["0", "1e-7", "1e-5"])
    right.minorticks_off()
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set(xlabel="largest difference", ylabel="compared")
    right.set_title("All differences")
    right.text(2e-7, 4.5, "float32\nprecision", va="center")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
