"""How fast the zoo's recipe trains, beside what one would write without it.

    python benchmarks/training.py [--rounds 5] [--seeds 3]

Three comparisons, each side by side in this one run, all on the whole of Fashion-MNIST:

1. An epoch of the MLP: the recipe's way, and `model.fit` on NumPy arrays with default
   settings, of the same model with the same optimizer; and of the same network built
   from MyDenseLayer.
2. An epoch of the CNN: the recipe's way, `model.fit` on NumPy arrays, and the same
   network in PyTorch where that is installed.
3. Seconds of training until test accuracy first passes 90 %: the recipe's CNN, and the
   convolutional network of the Keras documentation's MNIST example (Conv32-pool-Conv64-
   pool-dropout, Adam, batch 128, `fit` on NumPy arrays). Both are evaluated four times
   an epoch, which is not counted.
"""

import argparse
import dataclasses
import importlib.util
import statistics
import time

from timing import in_turns, table, whole_fashion_mnist

from zoo.data import pipeline
from zoo.recipes import fashion_mnist

TARGET = 0.90
MOST_EPOCHS = 30


def main() -> None:
    """Measure and print the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each (1, 2)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (3)")
    parts = {"mlp": mlp_epochs, "cnn": cnn_epochs, "target": time_to_target}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    splits = whole_fashion_mnist()
    for part in options.parts:
        parts[part](splits, options)


def mlp_epochs(splits, options):
    """Compare an epoch of the MLP."""
    seconds = in_turns(
        {
            "model.fit on NumPy arrays": numpy_epoch("mlp", splits),
            "recipe, mlp": recipe_epoch("mlp", splits),
            "recipe, my-dense": recipe_epoch("my-dense", splits),
        },
        options.rounds,
    )
    title = f"MLP: an epoch of {len(splits.train.y):,} images, batch 128"
    table(title, seconds, "model.fit on NumPy arrays")
    mine, theirs = (
        statistics.median(seconds[f"recipe, {name}"]) for name in ("my-dense", "mlp")
    )
    print(f"  my-dense takes {mine / theirs:.2f} of the mlp's time")


def cnn_epochs(splits, options):
    """Compare an epoch of the CNN."""
    jobs = {
        "model.fit on NumPy arrays": numpy_epoch("cnn", splits),
        "recipe, cnn": recipe_epoch("cnn", splits),
    }
    if importlib.util.find_spec("torch"):
        jobs["the same network in PyTorch"] = torch_epoch(splits)
    title = f"CNN: an epoch of {len(splits.train.y):,} images, batch 128"
    table(title, in_turns(jobs, options.rounds), "model.fit on NumPy arrays")


def time_to_target(splits, options):
    """Compare the seconds until test accuracy passes the target."""
    contenders = {"Keras documentation's convnet": keras_convnet, "recipe, cnn": recipe}
    seconds = {name: [] for name in contenders}
    print(f"\nUntil test accuracy passes {TARGET:.0%}:")
    for seed in range(options.seeds):
        for name, contender in contenders.items():
            taken, epochs = until_target(*contender(splits, seed), splits.test)
            seconds[name].append(taken)
            print(
                f"  seed {seed}: {name:32} {taken:6.1f} s, {epochs:5.2f} epochs",
                flush=True,
            )
    table("seconds of training", seconds, "Keras documentation's convnet")


def recipe_epoch(model_name, splits):
    """Return a function that trains for an epoch the recipe's way."""
    model, fit = _recipe(fashion_mnist.PRESETS[model_name], splits)
    return lambda: fit(epochs=1)


def numpy_epoch(model_name, splits):
    """Return a function that trains the same compiled model by a default `fit`."""
    model = fashion_mnist.build(fashion_mnist.PRESETS[model_name], len(splits.train.y))
    model.compile(model.optimizer, model.loss, metrics=["accuracy"])
    return lambda: model.fit(*splits.train, batch_size=128, verbose=0)


def torch_epoch(splits):
    """Return a function that trains the recipe's CNN for an epoch in PyTorch."""
    import torch
    from torch import nn

    config = fashion_mnist.PRESETS["cnn"]
    blocks, channels = [], 1
    for filters in config.widths:
        stride = 1 if channels == 1 else 2
        blocks += [nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)]
        blocks += [nn.MaxPool2d(2)] if channels == 1 else []
        blocks += [nn.BatchNorm2d(filters), nn.ReLU()]
        channels = filters
    model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(16 * channels, 10))
    model = model.to(memory_format=torch.channels_last)
    built = fashion_mnist.build(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(v.shape.num_elements() for v in built.trainable_variables)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate)
    x = torch.from_numpy(splits.train.x.transpose(0, 3, 1, 2).copy())
    y = torch.from_numpy(splits.train.y)

    def epoch():
        for index in torch.randperm(len(y)).split(config.batch_size):
            images = (x[index].float() - 72.94) / 90.02
            images = images.to(memory_format=torch.channels_last)
            loss = nn.functional.cross_entropy(model(images), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def recipe(splits, seed):
    """Return the recipe's model, and a function that trains it."""
    config = dataclasses.replace(fashion_mnist.PRESETS["cnn"], seed=seed)
    return _recipe(config, splits)


def _recipe(config, splits):
    import keras

    keras.utils.set_random_seed(config.seed)
    model = fashion_mnist.build(config, len(splits.train.y))
    batches = pipeline.training(splits.train, config.batch_size, seed=config.seed)
    steps, _ = pipeline.schedule(len(splits.train.y), config.batch_size)

    def fit(epochs=config.epochs, **kwargs):
        model.fit(
            batches,
            epochs=epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            **kwargs,
        )

    return model, fit


def keras_convnet(splits, seed):
    """Return the Keras documentation's convnet, and a function that trains it.

    Source: keras.io, "Simple MNIST convnet" (Chollet, 2015), for 28x28x1 images.
    """
    import keras
    from keras import layers

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

    def fit(**kwargs):
        model.fit(
            *splits.train, batch_size=128, epochs=MOST_EPOCHS, verbose=0, **kwargs
        )

    return model, fit


def until_target(model, fit, test):
    """Train until test accuracy passes the target; return (seconds, epochs).

    It is evaluated four times an epoch, and the clock stands still meanwhile.
    """
    import keras

    class Clock(keras.callbacks.Callback):
        seconds, epochs, reached = 0.0, 0.0, False

        def on_train_begin(self, logs=None):
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            epochs = self.epoch + (batch + 1) / self.params["steps"]
            if epochs - self.epochs < 0.25:
                return
            self.seconds += time.perf_counter() - self.began
            self.epochs = epochs
            _, accuracy = self.model.evaluate(pipeline.evaluation(test), verbose=0)
            self.reached = self.model.stop_training = accuracy >= TARGET
            self.began = time.perf_counter()

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

    clock = Clock()
    fit(callbacks=[clock])
    return (clock.seconds if clock.reached else float("inf")), clock.epochs


if __name__ == "__main__":
    main()
