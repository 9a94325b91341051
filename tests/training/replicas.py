"""A process of `test_distribute`: trains models under a strategy, notes what came out.

Arguments: the strategy's name, virtual devices (0: none), the folder for the results.
"""

import json
import sys
from pathlib import Path

import numpy as np

from zoo import console

keras = console.import_keras()

import tensorflow as tf  # noqa: E402

from zoo import replicas  # noqa: E402
from zoo.callbacks import EarlyStopping, GradientMonitor  # noqa: E402
from zoo.data import pipeline  # noqa: E402
from zoo.data.datasets import Examples  # noqa: E402
from zoo.training import distribute  # noqa: E402

SIZE, BATCH, EPOCHS = 331, 32, 2
rng = np.random.default_rng(0)
X = rng.integers(0, 256, (SIZE, 8, 8, 3), np.uint8)
Y = rng.integers(0, 5, SIZE)


class Seen(keras.metrics.Metric):
    """Counts the examples."""

    def __init__(self, name="seen", **kwargs):
        super().__init__(name=name, **kwargs)
        self.count = self.add_variable((), initializer="zeros", dtype="int32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign_add(keras.ops.shape(y_true)[0])

    def result(self):
        return self.count


class OwnStep(keras.Model):
    """A subclassed model with a step of its own, which returns more than metrics."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(16, activation="tanh")
        self.last = keras.layers.Dense(5, activation="softmax")
        self.mean_loss = keras.metrics.Mean(name="mean_loss")

    def call(self, images):
        flat = keras.ops.reshape(images, (-1, 192))
        return self.last(self.hidden(keras.ops.cast(flat, "float32") / 255))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            prediction = self(x, training=True)
            loss = self.compute_loss(x, y, prediction)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.mean_loss.update_state(
            keras.losses.sparse_categorical_crossentropy(y, prediction)
        )
        metrics = self.compute_metrics(x, y, prediction)
        return metrics | {"confidence": tf.reduce_max(prediction)}


def functional():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(16, activation="relu", kernel_regularizer="l2")(x)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(x))


def sequential():  # its first batch builds it
    return keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )


def dataset(batch_size):
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(batch_size)
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return data.with_options(options)


def own_batches(strategy):
    def share_of(share):
        change = pipeline.Augmentation(flip=True, shift=1, erase=2)
        images = Examples(X, Y)
        return pipeline.training(
            images, BATCH, seed=1, augmentation=change, share=share
        )

    return distribute.batches(strategy, share_of)


def cases(strategy):
    """Yield name, model, steps per execution, what `fit` gets.

    331 examples in batches of 32 leave a last one of 11; in batches of 66, of 1: with
    several replicas some have no example then.
    """
    yield "arrays", functional, 1, {"x": X, "y": Y, "batch_size": BATCH}
    yield "tf_data", sequential, 4, {"x": dataset(66), "shuffle": False}
    steps = pipeline.schedule(SIZE, BATCH).steps_per_epoch
    batches = {"x": own_batches(strategy), "steps_per_epoch": steps, "shuffle": False}
    yield "own_step", OwnStep, steps, batches


def digests(strategy, model):
    """Return a text for each replica of this worker, the same for the same weights."""
    copies = [strategy.experimental_local_results(v.value) for v in model.weights]
    return [
        b"".join(copy.numpy().tobytes() for copy in replica).hex()[:20000]
        for replica in zip(*copies, strict=True)
    ]


def train(strategy, make, steps_per_execution, fit):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = distribute.prepare(make())
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.3),
            "sparse_categorical_crossentropy",
            metrics=["accuracy", Seen()],
            steps_per_execution=steps_per_execution,
        )
        monitor = GradientMonitor(verbose=0, stop_on_nonfinite=True, detail_every=1)
    stopping = EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    history = model.fit(
        **fit,
        epochs=EPOCHS,
        verbose=0,
        validation_data=dataset(50),
        callbacks=[monitor, stopping],
    ).history
    return model, {
        "history": history,
        "gradients": [epoch["model"] for epoch in monitor.epochs],
        "evaluated": model.evaluate(dataset(66), verbose=0, return_dict=True),
        "predicted": model.predict(dataset(66), verbose=0).tolist(),
        "weights": digests(strategy, model),
        "iterations": int(model.optimizer.iterations.numpy()),
    }


def main():
    name, virtual, folder = sys.argv[1:]
    strategy = distribute.strategy(
        name, batch_size=BATCH, virtual_devices=int(virtual) or None
    )
    results = {"replicas": strategy.num_replicas_in_sync}
    for case, make, steps, fit in cases(strategy):
        model, results[case] = train(strategy, make, steps, fit)
        if case == "tf_data" and replicas.is_chief(strategy):
            model.save(Path(folder) / "model.keras")
    path = Path(folder) / f"{replicas.worker(strategy)}.json"
    path.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
