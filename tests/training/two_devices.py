"""A process of `test_distribute`: unusual models on one device and on two.

Prints a JSON object: case -> the histories on one device and on two.
"""

import gc
import json
import warnings

import numpy as np

from tests.training.replicas import SIZE, Seen, X, Y, dataset, keras, tf
from zoo.errors import ZooError
from zoo.training import distribute

layers = keras.layers
rng = np.random.default_rng(1)
TARGETS = rng.normal(size=(SIZE, 1)).astype("float32")
WEIGHTS = rng.uniform(size=SIZE).astype("float32")
LENGTHS = rng.integers(1, 9, (SIZE, 1))


class Unit(layers.Layer):
    """Scales to length 1: NaN for zeros."""

    def call(self, x):
        return x / keras.ops.norm(x, axis=-1, keepdims=True)


def stack(*more):
    first = [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Flatten()]
    return keras.Sequential([*first, *more, layers.Dense(5, activation="softmax")])


def two_outputs():
    inputs = keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    outputs = {
        "label": layers.Dense(5, activation="softmax", name="label")(x),
        "number": layers.Dense(1, name="number")(x),
    }
    return keras.Model(inputs, outputs)


def compiled(model, loss="sparse_categorical_crossentropy", optimizer=None, **options):
    distribute.prepare(model)
    optimizer = optimizer or keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, loss, **options)
    return model


def fitted(model, *data, **options):
    options = {"batch_size": 66, "epochs": 2, "verbose": 0, "shuffle": False} | options
    return model.fit(*data, **options).history


def outputs_and_losses():
    losses = {"label": "sparse_categorical_crossentropy", "number": "mse"}
    model = compiled(two_outputs(), losses, loss_weights={"label": 1.0, "number": 0.5})
    targets = {"label": Y, "number": TARGETS}
    return fitted(model, X, targets, validation_data=(X, targets))


def not_finite_at_zeros():
    model = compiled(stack(Unit(), layers.BatchNormalization()))
    return fitted(model, X, Y)


def summed_loss():
    loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    return fitted(compiled(stack(), loss, keras.optimizers.SGD(1e-4)), X, Y)


def far_from_zero():
    images = X.astype("float32") + 10_000
    inputs = [keras.Input((8, 8, 3)), layers.BatchNormalization(), layers.Flatten()]
    model = keras.Sequential([*inputs, layers.Dense(5, activation="softmax")])
    return fitted(compiled(model), images, Y)


def weighted():
    model = compiled(stack(), weighted_metrics=["accuracy"])
    return fitted(model, X, Y, sample_weight=WEIGHTS)


def masked_sequences():
    tokens = np.where(np.arange(9) < LENGTHS, Y[:, None] + 1, 0)
    model = keras.Sequential(
        [
            layers.Embedding(7, 4, mask_zero=True),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling1D(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(0.1, global_clipnorm=0.5)
    return fitted(compiled(model, optimizer=optimizer), tokens, Y)


def compiled_again():
    model = compiled(stack(layers.BatchNormalization()))
    model.evaluate(dataset(66), verbose=0)
    fitted(model, X, Y)
    compiled(model, metrics=["accuracy", Seen()])
    gc.collect()
    fitted(model, X, Y)
    return model.evaluate(dataset(66), verbose=0, return_dict=True)


def read_once():
    batches = iter([(X[i : i + 50], Y[i : i + 50]) for i in range(0, SIZE, 50)])
    signature = (
        tf.TensorSpec([None, 8, 8, 3], tf.uint8),
        tf.TensorSpec([None], tf.int64),
    )
    data = tf.data.Dataset.from_generator(lambda: batches, output_signature=signature)
    model = compiled(keras.Sequential(stack().layers), metrics=[Seen()])
    return fitted(model, data, batch_size=None, epochs=1)


class OwnLoss(keras.Model):
    def __init__(self):
        super().__init__()
        self.only = layers.Dense(1)

    def call(self, x):
        return self.only(keras.ops.cast(keras.ops.reshape(x, (-1, 192)), "float32"))

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(data[0])))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


CASES = (
    outputs_and_losses,
    not_finite_at_zeros,
    summed_loss,
    far_from_zero,
    weighted,
    masked_sequences,
    compiled_again,
    read_once,
)


def remarks():
    """Return what is said of what cannot be."""
    for option in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        ema = {"use_ema": True} if option.startswith("ema") else {}
        optimizer = keras.optimizers.SGD(0.1, **ema, **{option: 2})
        try:
            fitted(compiled(stack(), optimizer=optimizer), X, Y)
        except ZooError as error:
            yield str(error)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted(compiled(OwnLoss()), X, Y, epochs=1)
    yield from (str(one.message) for one in caught if "train_step" in str(one.message))


def main():
    strategy = distribute.strategy("mirrored", virtual_devices=2)
    results = {}
    for case in CASES:
        keras.utils.set_random_seed(0)
        one = case()
        keras.utils.set_random_seed(0)
        with strategy.scope():
            results[case.__name__] = one, case()
    with strategy.scope():
        results["remarks"] = list(remarks())
    print("\n" + json.dumps(results))


if __name__ == "__main__":
    main()
