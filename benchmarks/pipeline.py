"""What the data pipeline and its augmentation cost, beside NumPy arrays given to `fit`.

    python benchmarks/pipeline.py [--rounds 5]

Prints the median time of an epoch of all training images and its ratio to the first
row's. "No data work" repeats one batch: what the training itself takes.
"""

import argparse

from timing import in_turns, table, whole_fashion_mnist

from zoo.data import pipeline
from zoo.recipes import fashion_mnist

AUGMENTATIONS = {
    "zoo pipeline": pipeline.Augmentation(),
    "zoo pipeline, flip": pipeline.Augmentation(flip=True),
    "zoo pipeline, shift": pipeline.Augmentation(shift=2),
    "zoo pipeline, erase": pipeline.Augmentation(erase=8),
    "zoo pipeline, all three": pipeline.Augmentation(flip=True, shift=2, erase=8),
}


def main() -> None:
    """Measure the MLP and the CNN."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    train = whole_fashion_mnist().train
    for model_name in ("mlp", "cnn"):
        config = fashion_mnist.PRESETS[model_name]
        size = config.batch_size
        model = fashion_mnist.build(config, len(train.y))
        steps, _ = pipeline.schedule(len(train.y), size)

        def fit(x, y=None, model=model, **kwargs):
            return lambda: model.fit(x, y, verbose=0, **kwargs)

        stream = pipeline.training(train, size, seed=0)
        autotuned = stream.with_options(_autotuned())
        jobs = {
            "NumPy arrays": fit(*train, batch_size=size),
            "no data work": fit(
                stream.take(1).cache().repeat(), steps_per_epoch=steps, shuffle=False
            ),
            "zoo pipeline, autotuned by tf.data": fit(
                autotuned, steps_per_epoch=steps, shuffle=False
            ),
        }
        for name, augmentation in AUGMENTATIONS.items():
            batches = pipeline.training(train, size, seed=0, augmentation=augmentation)
            jobs[name] = fit(batches, steps_per_epoch=steps, shuffle=False)
        title = f"{model_name}: an epoch of {len(train.y):,} images, batch {size}"
        table(title, in_turns(jobs, rounds), "NumPy arrays")


def _autotuned():
    options = pipeline.options()
    options.autotune.enabled = True
    return options


if __name__ == "__main__":
    main()
