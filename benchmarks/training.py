"""How fast the zoo's recipe trains, beside what one would write without it.

    python benchmarks/training.py [--rounds 5] [--parts mlp cnn]

Two comparisons, each side by side in this one run, all on the whole of Fashion-MNIST:

1. An epoch of the MLP: the recipe's way, and `model.fit` on NumPy arrays with default
   settings, of the same model with the same optimizer; and of the same network built
   from MyDenseLayer.
2. An epoch of the CNN: the recipe's way, `model.fit` on NumPy arrays, and the same
   network in PyTorch where that is installed.
"""

import argparse
import importlib.util
import statistics

from timing import in_turns, table, whole_fashion_mnist

from zoo.data import pipeline
from zoo.recipes import fashion_mnist


def main() -> None:
    """Measure and print the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each")
    parts = {"mlp": mlp_epochs, "cnn": cnn_epochs}
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


def recipe_epoch(model_name, splits):
    """Return a function that trains for an epoch the recipe's way."""
    config = fashion_mnist.PRESETS[model_name]
    model = fashion_mnist.build(config, splits.num_train)
    batches = fashion_mnist.training_data(config, splits)
    steps, _ = pipeline.schedule(splits.num_train, config.batch_size)
    return lambda: model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)


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


if __name__ == "__main__":
    main()
