"""Fashion-MNIST: 60,000 pictures of clothes in 10 classes, to a tested SavedModel.

`python -m zoo.recipes.fashion_mnist --model MODEL` trains on 54,000 images, chooses the
epoch on 6,000 and evaluates it once on the 10,000 of the test set:

    model      parameters  test accuracy    training
    cnn            80,730  92.34 ± 0.12 %       23 s
    mlp           235,146  89.79 ± 0.17 %        9 s
    my-dense      235,146  89.79 ± 0.17 %        9 s
    tiny            9,850  91.38 ± 0.19 %       18 s
    mlp-bn        538,890  90.76 ± 0.11 %       64 s
    resnet10k       9,538  92.09 ± 0.33 %      173 s
    resnet100k     96,154  93.69 ± 0.29 %      326 s

Accuracy: mean ± standard deviation over seeds 0 to 4. Training: median seconds on two
CPU cores (AMD EPYC). `python benchmarks/claims.py` measures both again.
"""

import dataclasses
import functools
import itertools
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

import zoo
from zoo import console, data, export, replicas, report
from zoo.data import pipeline, stream
from zoo.data.pipeline import ALONE
from zoo.errors import number, positive_integer
from zoo.files import writable
from zoo.training import distribute, options
from zoo.training.options import RunOptions
from zoo.training.run import Run

if TYPE_CHECKING:
    import keras_tuner

NAME = "fashion_mnist"
PIXELS = {"mean": 72.94, "std": 90.02}  # over all training pixels, 0 to 255
DENSE = ("mlp", "my-dense", "mlp-bn", "linear")  # the others see a picture
PROBE = 128  # images that the gradient monitor looks at the units with
Activation = Literal["relu", "gelu", "silu", "elu", "tanh"]


@dataclass(frozen=True)
class Config(RunOptions):
    """The options of a run."""

    model: Literal[
        "cnn", "mlp", "my-dense", "tiny", "mlp-bn", "resnet10k", "resnet100k"
    ]
    """Which network; the defaults below are this one's."""
    widths: tuple[int, ...]
    """Filters of each block, first to last, or units of each hidden layer."""
    epochs: int
    """How often to go through the training images."""
    learning_rate: float
    """Its peak: it rises for a tenth of the training, then falls to zero."""
    activation: Activation = "relu"
    """What follows each block or hidden layer."""
    batch_size: int = 128
    """The largest number of images in a step."""
    weight_decay: float = 0.1
    """Of the kernels, as a share of the learning rate (AdamW)."""
    dropout: float = 0.0
    """The share of features that is dropped in training."""
    flip: bool = False
    """Mirror each training image or not, at random."""
    shift: int = 0
    """Move each training image by up to so many pixels."""
    erase: int = 0
    """Blank a random square of so many pixels a side in each training image."""

    def __post_init__(self):
        super().__post_init__()
        for width in self.widths:
            positive_integer("widths", width)
        positive_integer("epochs", self.epochs)
        positive_integer("batch_size", self.batch_size)
        number("learning_rate", self.learning_rate, above=0)
        number("weight_decay", self.weight_decay, least=0)


PRESETS = {
    "cnn": Config("cnn", widths=(16, 64, 96), epochs=5, learning_rate=0.005),
    "mlp": Config("mlp", widths=(256, 128), epochs=12, learning_rate=0.002),
    "my-dense": Config("my-dense", widths=(256, 128), epochs=12, learning_rate=0.002),
    "tiny": Config("tiny", widths=(16, 24, 16), epochs=6, learning_rate=0.01),
    "mlp-bn": Config(
        "mlp-bn",
        widths=(512, 256),
        epochs=40,
        learning_rate=0.003,
        dropout=0.3,
    ),
    "resnet10k": Config(
        "resnet10k",
        widths=(8, 12, 14, 14),
        epochs=20,
        learning_rate=0.01,
        flip=True,
    ),
    "resnet100k": Config(
        "resnet100k",
        widths=(16, 32, 44, 56),
        epochs=20,
        learning_rate=0.01,
        flip=True,
        erase=8,
    ),
}


def architecture(
    config: Config, input_shape=(28, 28, 1), pixels=PIXELS
) -> tuple[str, dict]:
    """Return the name of a builder of `zoo.models`, and its arguments."""
    dense = config.model in DENSE
    arguments = {
        "input_shape": input_shape,
        "hidden_units" if dense else "filters": config.widths,
        "activation": config.activation,
        "dropout": config.dropout,
        "name": config.model.replace("-", "_"),
        **pixels,
    }
    if config.model == "my-dense":
        arguments["layer"] = zoo.MyDenseLayer
    if config.model == "mlp-bn":
        arguments["batch_normalization"] = True
    if config.model.startswith("resnet"):
        return "small_resnet", arguments
    return "mlp" if dense else "small_cnn", arguments


def build(config: Config, num_train: int = 54_000):
    """Return the compiled model, its learning rate laid out for `num_train` images."""
    return compiled(network(architecture(config)), config, num_train)


def network(architecture: tuple[str, dict]):
    """Return the untrained model of an `architecture`."""
    builder, arguments = architecture
    return getattr(zoo.models, builder)(**arguments)


def compiled(model, config: Config, num_train: int):
    """Return a model, compiled as `build` does."""
    import keras

    schedule = pipeline.schedule(num_train, config.batch_size)
    steps = config.epochs * schedule.steps_per_epoch
    rising = max(1, steps // 10)
    peak = distribute.learning_rate(config)
    one_cycle = keras.optimizers.schedules.CosineDecay(
        peak / 10,
        decay_steps=max(1, steps - rising),
        warmup_target=peak,
        warmup_steps=rising,
    )
    optimizer = keras.optimizers.AdamW(one_cycle, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=schedule.steps_per_execution,
    )
    return model


def space(
    hp: "keras_tuner.HyperParameters", config: Config = PRESETS["cnn"], presets=PRESETS
) -> Config:
    """Return the options of one trial; `zoo tune` searches among them.

    The default is the model's preset. Of cnn and tiny no configuration has more
    parameters than that: what is searched is how to spend them. The widths of a resnet
    are not searched.

    Args:
        hp: where the values come from; it learns the space.
        config: the model, and the options that are not searched.
        presets: the recipe's.
    """
    preset, dense = presets[config.model], config.model in DENSE
    rate, epochs = preset.learning_rate, preset.epochs
    rate = hp.Float("learning_rate", rate / 5, rate * 5, sampling="log", default=rate)
    widths = preset.widths
    if widths and not config.model.startswith("resnet"):
        width = widths[0]
        width = hp.Int("width", width // 4, width * 2, sampling="log", default=width)
        # Of 28x28 pixels four blocks leave 2x2.
        depth = hp.Int("depth", *((1, 3) if dense else (2, 4)), default=len(widths))
        widths = (_units if dense else _filters)(widths, width, depth)
    # Without hidden layers there is nothing to drop out, and no activation.
    ways = ["none", "weight_decay", *(["dropout", "both"] if preset.widths else [])]
    hp.Choice(
        "regularization", ways, default="both" if preset.dropout else "weight_decay"
    )
    with hp.conditional_scope("regularization", ["weight_decay", "both"]):
        weight_decay = hp.Float(
            "weight_decay", 0.01, 1, sampling="log", default=preset.weight_decay
        )
    dropout = 0
    if preset.widths:
        with hp.conditional_scope("regularization", ["dropout", "both"]):
            dropout = hp.Float("dropout", 0.05, 0.5, default=preset.dropout or 0.2)
    searched = {
        "widths": widths,
        "learning_rate": short(rate),
        "weight_decay": short(weight_decay or 0),
        "dropout": short(dropout or 0),
        "batch_size": hp.Choice("batch_size", [64, 128, 256, 512], default=128),
        "epochs": hp.Int("epochs", epochs // 2, epochs * 2, default=epochs),
    }
    if preset.widths:
        kinds = get_args(Activation)
        default = preset.activation
        searched["activation"] = hp.Choice("activation", kinds, default=default)
    if not dense:
        searched["flip"] = hp.Boolean("flip", default=preset.flip)
        searched["shift"] = hp.Int("shift", 0, 2, default=preset.shift)
        searched["erase"] = hp.Int("erase", 0, 8, step=4, default=preset.erase)
    return dataclasses.replace(config, **searched)


def _filters(preset, width, depth):
    """Return `width` filters, then as many as the preset's parameters allow.

    The last block relates to those between as in the preset.
    """
    *_, middle, last = preset
    filters = (width,)
    for count in itertools.count(1):
        more = (width, *[count] * (depth - 2), max(1, count * last // middle))
        if num_parameters(more) > num_parameters(preset):
            return filters
        filters = more


def num_parameters(filters: tuple[int, ...]) -> int:
    """Return the parameters of a `cnn` or `tiny`, without building it."""
    side = -(-28 // 2 ** len(filters))
    kernels = sum(9 * n * m for n, m in itertools.pairwise((1, *filters)))
    normalization = 4 * sum(filters)
    return kernels + normalization + (side**2 * filters[-1] + 1) * 10


def _units(preset, width, depth):
    """Return `width` units, then half as many in each further layer."""
    return tuple(width // 2**index for index in range(depth))


def short(value):
    """Round to three digits, so that a command line stays readable."""
    return float(f"{value:.3g}")


def load(config: Config, name: str = NAME, validation: float = 0.1) -> data.Splits:
    """Return the images of a data set for training, validation and test."""
    how = {"limit": config.limit, "validation": validation}
    if config.stream:
        return stream.load(name, data_dir=config.data_dir, **how)
    return data.load(
        name,
        data_dir=config.data_dir,
        mirror=config.mirror,
        seed=config.seed,
        **how,
    )


def training_data(config: Config, splits: data.Splits, share=ALONE, first_step=0):
    """Return the endless training batches from a step on, or a worker's share."""
    training, images = pipeline.training, splits.train
    if config.stream:
        training, images = stream.training, splits
    return training(
        images,
        config.batch_size,
        seed=config.seed,
        augmentation=augmentation(config),
        first_step=first_step,
        share=share,
    )


def augmentation(config: Config) -> pipeline.Augmentation:
    """Return what is done to the training images."""
    return pipeline.Augmentation(config.flip, config.shift, config.erase)


def main(argv: list[str] | None = None) -> dict:
    """Train, evaluate, export; return what `metrics.json` holds."""
    return train(sys.modules[__name__], argv)


def train(recipe: ModuleType, argv: list[str] | None) -> dict:
    """Do what `main` says, for this recipe or another one of image classification."""
    name, presets = recipe.NAME, recipe.PRESETS
    config = options.parse_recipe(name, presets, argv, recipe.__doc__)
    served = config.saved_models_dir / f"{name}_{config.model}"
    print("Loading TensorFlow ...", flush=True)
    keras = console.import_keras()

    strategy = distribute.of_recipe(config)
    if replicas.is_chief(strategy):
        writable(served, "--saved-models-dir")
    splits = recipe.load(config)
    print(splits, flush=True)
    pipeline.check_fits(augmentation(config), splits.test.x.shape)
    steps, _ = pipeline.schedule(splits.num_train, config.batch_size)
    keras.utils.set_random_seed(config.seed)
    with replicas.losing_no_worker(strategy), strategy.scope():
        model = distribute.prepare(recipe.build(config, splits.num_train))
        run = Run(config.runs_dir, name, config, data=splits.digest)
    if config.summary:
        model.summary()
    batches = distribute.batches(
        strategy,
        functools.partial(
            recipe.training_data, config, splits, first_step=run.first_step
        ),
    )
    validation = pipeline.evaluation(splits.validation)
    metrics = {
        "recipe": name,
        "model": config.model,
        "seed": config.seed,
        "parameters": model.count_params(),
        "replicas": strategy.num_replicas_in_sync,
        "data": splits.record(),
        "command": options.command(name, presets, config),
    }
    print(
        f"Model: {config.model}, {model.count_params():,} parameters\n"
        f"Training: {config.epochs} epochs of {steps} steps, recorded in {run.path}",
        flush=True,
    )
    with run.training(model, metrics, splits.num_train):
        model.fit(
            batches,
            steps_per_epoch=steps,
            epochs=config.epochs,
            validation_data=validation,
            callbacks=run.callbacks(probe=splits.validation.x[:PROBE]),
            shuffle=False,  # the batches are shuffled already
        )
    if not run.chief:
        run.finish(metrics)
        return metrics

    print("Evaluating ...", flush=True)
    model = keras.models.load_model(run.model)  # of the epoch best on validation
    _, metrics["validation_accuracy"] = model.evaluate(validation, verbose=0)
    metrics["test_loss"], metrics["test_accuracy"] = model.evaluate(
        pipeline.evaluation(splits.test), verbose=0
    )
    print("Measuring what the report shows ...", flush=True)
    metrics["training_accuracy"] = report.measure(
        model, splits, run.path / "evaluation.npz"
    )
    run.write("metrics.json", metrics)  # so that a failing export loses nothing
    print("Exporting ...", flush=True)
    metrics["saved_model"] = export.saved_model(
        model, served, splits.class_names, *splits.test, facts=export.facts(metrics)
    )
    run.finish(metrics)
    return metrics


if __name__ == "__main__":
    console.command_line(main)
