"""Dense layer from scratch: MyDenseLayer does what Keras's own Dense does.

The lecture (L4) builds a dense layer from a product of matrices, a sum and an
activation: z = xW + b, a = g(z). Here the same network is built twice, of
`zoo.MyDenseLayer` and of `keras.layers.Dense`, with the same weights, and asked the
same: outputs, gradients, a hundred steps of training on Fashion-MNIST. Then the one of
our layers is saved and loaded in a process of its own, and exported as a SavedModel.

    number      claim    measured   what
    outputs     <= 1e-6  0          largest difference of an output
    gradients   <= 1e-6  0          largest difference of a gradient's component
    losses      <= 1e-5  0          largest difference of a loss in 100 steps
    weights     <= 1e-4  0          largest difference of a weight after them
    learned     >= 0.5   2.1        by how much the loss fell in those steps
    reloaded    <= 1e-6  0          largest difference after loading in another process
    exported    <= 1e-6  0          largest difference of the SavedModel's outputs
    seconds     -        10         seconds on two CPU cores; quick the same

Both layers compute the same operations in the same order, so that on one machine no
bit differs; the claims leave room for a machine that adds in another order.
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
STEPS, BATCH = 100, 100
PIXELS = {"mean": 72.94, "std": 90.02}  # over all training pixels, 0 to 255
ELSEWHERE = """
import sys
import numpy as np
from zoo import console
keras = console.import_keras()
folder = sys.argv[1]
model = keras.models.load_model(f"{folder}/model.keras")
images = np.load(f"{folder}/images.npy")
np.save(f"{folder}/outputs.npy", model.predict(images, verbose=0))
"""


@dataclass(frozen=True)
class Config(DataOptions):
    """The options of a run."""


QUICK = Config(quick=True)


def build(layer):
    """Return a network of two layers, ready for training."""
    import zoo

    model = zoo.mlp(hidden_units=(64,), layer=layer, **PIXELS)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def gradients(model, x, y):
    """Return the gradient of the loss with respect to each of the weights."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=y, y_pred=model(x))
    return [g.numpy() for g in tape.gradient(loss, model.trainable_weights)]


def train(model, x, y):
    """Train for 100 steps; return the loss of each."""
    return [
        float(model.train_on_batch(x[i : i + BATCH], y[i : i + BATCH]))
        for i in range(0, STEPS * BATCH, BATCH)
    ]


def loaded_elsewhere(model, x):
    """Save the model, load it in another process; return what it answers there."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        np.save(f"{folder}/images.npy", x)
        command = [sys.executable, "-c", ELSEWHERE, folder]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
        return np.load(f"{folder}/outputs.npy")


def exported(model, x):
    """Export the model as a SavedModel, load it with TensorFlow; return its answers."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        loaded = tf.saved_model.load(folder)  # its variables live as long as it does
        return loaded.serve(x).numpy()


def difference(ours, theirs):
    """Return the largest difference between arrays of two lists."""
    pairs = zip(ours, theirs, strict=True)
    return max(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs)


def measure(run):
    """Compare the two networks, then the copies of ours."""
    import zoo

    splits = run.load("fashion_mnist", seed=run.config.seed)
    # The sample is smaller: it is gone through more than once.
    index = np.arange(STEPS * BATCH) % len(splits.train.y)
    x, y = splits.train.x[index], splits.train.y[index]
    probe = splits.test.x[:500]
    ours, theirs = build(zoo.MyDenseLayer), build(None)
    theirs.set_weights(ours.get_weights())
    both = ours, theirs
    numbers = {
        "outputs": difference(*([m.predict(probe, verbose=0)] for m in both)),
        "gradients": difference(*(gradients(m, x[:BATCH], y[:BATCH]) for m in both)),
    }
    losses = [train(model, x, y) for model in run.bar(both, "Training", "network")]
    numbers |= {
        "losses": difference(*losses),
        "weights": difference(ours.get_weights(), theirs.get_weights()),
        "learned": losses[0][0] - losses[0][-1],
    }
    answers = ours.predict(probe, verbose=0)
    numbers["reloaded"] = difference([answers], [loaded_elsewhere(ours, probe)])
    numbers["exported"] = difference([answers], [exported(ours, probe)])
    return numbers, (losses, numbers)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    worst = max(numbers[name] for name in ("outputs", "gradients", "losses"))
    copies = max(numbers["reloaded"], numbers["exported"])
    return (
        "MyDenseLayer and Dense differ by "
        f"{'nothing' if worst == 0 else f'{worst:.0e} at most'} in outputs, gradients "
        f"and {STEPS} losses, while the loss falls by {numbers['learned']:.1f}; loaded "
        "in another process and exported, the network's answers differ by "
        f"{'nothing' if copies == 0 else f'{copies:.0e} at most'}."
    )


def paint(figure, drawn):
    """Draw both loss curves, and each difference beside what float32 can tell apart."""
    losses, numbers = drawn
    curves, bars = figure.subplots(1, 2, width_ratios=[6, 5])
    curves.plot(losses[1], color="C0", linewidth=7, alpha=0.4, label="Dense")
    curves.plot(losses[0], color="C1", linestyle="--", label="MyDenseLayer")
    curves.set(xlabel="step", ylabel="loss", title="The same training")
    curves.legend()
    shown = {
        "outputs": "outputs",
        "gradients": "gradients",
        "losses": "100 losses",
        "weights": "weights after",
        "reloaded": "reloaded",
        "exported": "exported",
    }
    floor = 1e-9  # where a logarithm has no 0
    values = np.array([numbers[name] for name in shown])
    bars.barh(list(shown.values()), np.where(values > 0, values, 0), color="C0")
    for place, value in enumerate(values):
        text = f"{value:.0e}" if value else "0: not one bit"
        bars.text(max(value, floor) * 1.5, place, text, va="center")
    bars.axvline(2**-23, color="C5", linestyle=":", label="float32 resolution at 1")
    bars.set(xscale="log", xlim=(floor, 1e-4), xlabel="largest difference")
    bars.set_title("Every difference")
    bars.invert_yaxis()
    bars.legend(loc="upper right", bbox_to_anchor=(1.02, 0.12))


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
