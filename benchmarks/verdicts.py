"""Does `GradientMonitor` tell broken networks from healthy ones? The gallery.

    python benchmarks/verdicts.py [--seeds 5] [--parts broken odd healthy]

Trains each broken network for two epochs on 6,000 images, small healthy ones that look
odd, and four presets of `fashion_mnist` as they are, whole; prints the verdicts.
A broken network counts as told if one of its verdicts is the right one.
"""

import argparse
import collections
import dataclasses

import keras
import numpy as np
from keras import layers
from timing import whole_fashion_mnist

from zoo.callbacks import GradientMonitor
from zoo.data import pipeline
from zoo.recipes import fashion_mnist

FEW = 6_000
HEALTHY = ("cnn", "mlp", "my-dense", "tiny")  # presets of the recipe


def _head():
    return [layers.Rescaling(1 / 90, offset=-73 / 90), layers.Flatten()]


def _compiled(model, learning_rate=0.01):
    optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9)
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=8,
    )
    return model


def dense_stack(
    depth, activation, initializer, width=64, bias="zeros", learning_rate=0.01
):
    """Return a compiled network of equal hidden layers, to be trained with momentum."""
    model = keras.Sequential([keras.Input((28, 28, 1)), *_head()], name="stack")
    for number in range(1, depth + 1):
        model.add(
            layers.Dense(
                width,
                activation,
                kernel_initializer=initializer,
                bias_initializer=bias,
                name=f"hidden_{number}",
            )
        )
    model.add(layers.Dense(10, "softmax", name="predictions"))
    return _compiled(model, learning_rate)


def detached_branch():
    """Return a compiled network with a branch that no gradient reaches."""
    inputs = keras.Input((28, 28, 1))
    x = inputs
    for layer in _head():
        x = layer(x)
    trunk = layers.Dense(64, "relu", name="trunk")(x)
    branch = layers.Dense(64, "relu", name="branch")(x)
    branch = layers.Lambda(keras.ops.stop_gradient)(branch)
    x = layers.Concatenate()([trunk, branch])
    x = layers.Dense(10, "softmax", name="predictions")(x)
    return _compiled(keras.Model(inputs, x))


def a_thousand_times(name):
    """Return a recipe's network, compiled with a thousand times its learning rate."""
    config = fashion_mnist.PRESETS[name]
    rate = 1000 * config.learning_rate
    config = dataclasses.replace(config, learning_rate=rate, epochs=2)
    return fashion_mnist.build(config, FEW)


def gain(factor, width=64):
    """Return an initializer under which a linear layer multiplies norms by `factor`."""
    return keras.initializers.RandomNormal(stddev=factor / width**0.5)


# What is broken -> the verdict it must get, and how to build it.
BROKEN = {
    "10 sigmoid layers": (
        "vanishing gradients",
        lambda: dense_stack(10, "sigmoid", "glorot_uniform"),
    ),
    "30 ReLU layers, Xavier": (
        "vanishing gradients",
        lambda: dense_stack(30, "relu", "glorot_uniform"),
    ),
    "cnn, learning rate × 1000": (
        "learning rate too high",
        lambda: a_thousand_times("cnn"),
    ),
    "mlp, learning rate × 1000": (
        "learning rate too high",
        lambda: a_thousand_times("mlp"),
    ),
    "all biases -10": (
        "dead units",
        lambda: dense_stack(
            2, "relu", "he_normal", bias=keras.initializers.Constant(-10.0)
        ),
    ),
    "zero initialization, ReLU": (
        "not learning",
        lambda: dense_stack(2, "relu", "zeros"),
    ),
    "zero initialization, sigmoid": (
        "not learning",
        lambda: dense_stack(2, "sigmoid", "zeros"),
    ),
    "20 linear layers, gain 2": (
        "exploding gradients",
        lambda: dense_stack(20, None, gain(2)),
    ),
    "20 linear layers, gain 1.5": (
        "exploding gradients",
        lambda: dense_stack(20, None, gain(1.5)),
    ),
    "a NaN among the pixels": (
        "non-finite gradients",
        lambda: dense_stack(2, "relu", "he_normal"),
    ),
    "a detached branch": ("not learning", detached_branch),
    "tanh, weights of size 1": (
        "saturated units",
        lambda: dense_stack(2, "tanh", gain(8)),
    ),
    "learning rate / 1000": (
        "learning rate too low",
        lambda: dense_stack(2, "relu", "he_normal", learning_rate=1e-5),
    ),
}


def fitted(layer_list, optimizer, loss, x, y, **options):
    """Train a Sequential model; return its verdicts."""
    model = keras.Sequential([keras.Input(x.shape[1:]), *layer_list])
    model.compile(optimizer, loss)
    monitor = GradientMonitor(x[: fashion_mnist.PROBE], verbose=0)
    model.fit(x, y, verbose=0, callbacks=[monitor], **options)
    return [finding.verdict for finding in monitor.findings]


def xor(rng):
    """One step an epoch, at a high rate: 100 % in the end."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    hidden, answer = layers.Dense(4, "tanh"), layers.Dense(1, "sigmoid")
    rate = keras.optimizers.SGD(2.0)
    return fitted(
        [hidden, answer], rate, "binary_crossentropy", x, x.sum(1) == 1, epochs=400
    )


def softmax_regression(rng):
    """Weights that start at zero, as they may without a hidden layer."""
    x = rng.normal(size=(400, 20)).astype("float32")
    y = (x @ rng.normal(size=(20, 3))).argmax(1)
    answer = layers.Dense(3, "softmax", kernel_initializer="zeros")
    loss = "sparse_categorical_crossentropy"
    return fitted([answer], keras.optimizers.SGD(0.1), loss, x, y, epochs=20)


def unscaled_targets(rng):
    """Gradients of thousands, which Adam normalizes."""
    x = rng.normal(size=(1000, 8)).astype("float32")
    y = 190 + 80 * np.tanh(x @ rng.normal(size=8))
    hidden = [layers.Dense(64, "relu") for _ in range(2)]
    adam = keras.optimizers.Adam(0.01)
    return fitted([*hidden, layers.Dense(1)], adam, "mse", x, y, epochs=30)


def autoencoder(rng):
    """Sigmoids that are right to saturate, behind a Reshape."""
    x = (rng.random((1000, 8, 8)) < 0.1).astype("float32")
    stack = [layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(64, "sigmoid")]
    stack.append(layers.Reshape((8, 8)))
    return fitted(stack, keras.optimizers.Adam(0.01), "mse", x, x, epochs=20)


def recurrent(rng):
    """Token ids, an embedding and an LSTM."""
    y = rng.integers(0, 2, 1000)
    x = rng.integers(10, 500, (1000, 30))
    x[:, -5] = np.where(y, 3, 7)
    stack = [layers.Embedding(500, 32), layers.LSTM(32), layers.Dense(1, "sigmoid")]
    return fitted(stack, "adam", "binary_crossentropy", x, y, epochs=4)


def converged(rng):
    """Linear regression that has nothing left to learn: gradient and update are 0."""
    x = rng.normal(size=(256, 3)).astype("float32")
    y = x @ np.array([1.0, 2.0, 3.0])
    sgd = keras.optimizers.SGD(0.1)
    return fitted([layers.Dense(1)], sgd, "mse", x, y, epochs=40)


ODD = (xor, softmax_regression, unscaled_targets, autoencoder, recurrent, converged)


def broken(name, x, y, epochs=2):
    """Train one of `BROKEN`; return its verdicts."""
    if "NaN" in name:
        x = x.astype("float32")
        x[len(x) // 2, 14, 14] = np.nan
    monitor = GradientMonitor(x[: fashion_mnist.PROBE], verbose=0)
    model = BROKEN[name][1]()
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=0, callbacks=[monitor])
    return [finding.verdict for finding in monitor.findings]


def healthy(name, train, seed):
    """Train a preset as it is, without validation; return its verdicts."""
    config = fashion_mnist.PRESETS[name]
    model = fashion_mnist.build(config, len(train.y))
    steps, _ = pipeline.schedule(len(train.y), config.batch_size)
    monitor = GradientMonitor(train.x[: fashion_mnist.PROBE], verbose=0)
    model.fit(
        pipeline.training(train, config.batch_size, seed=seed),
        steps_per_epoch=steps,
        epochs=config.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[monitor],
    )
    return [finding.verdict for finding in monitor.findings]


def main() -> None:
    """Run the gallery, then the recipes; print a table and the two rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["broken", "odd", "healthy"])
    arguments = parser.parse_args()
    train = whole_fashion_mnist().train
    few = train.x[:FEW], train.y[:FEW]
    jobs = {
        "broken": {name: lambda _, name=name: broken(name, *few) for name in BROKEN},
        "odd": {
            job.__name__: lambda seed, job=job: job(np.random.default_rng(seed))
            for job in ODD
        },
        "healthy": {
            name: lambda seed, name=name: healthy(name, train, seed) for name in HEALTHY
        },
    }
    for part in arguments.parts:
        right = 0
        for name, job in jobs[part].items():
            counts = collections.Counter()
            for seed in range(arguments.seeds):
                keras.utils.set_random_seed(seed)
                verdicts = job(seed)
                counts.update(verdicts or ["none"])
                right += (
                    (BROKEN[name][0] in verdicts) if part == "broken" else not verdicts
                )
            told = ", ".join(f"{verdict} {n}" for verdict, n in counts.most_common())
            print(f"{name:32} {told}", flush=True)
        print(f"{part}: right in {right} of {len(jobs[part]) * arguments.seeds}\n")


if __name__ == "__main__":
    main()
