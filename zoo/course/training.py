"""How the rows that read whole data sets train a network."""

BATCH = 128


def train(
    model, examples, epochs, seed, rate=2e-3, loss=None, optimizer="adam", callbacks=()
):
    """Train with a step size that falls to 0 along half a cosine.

    Args:
        model: takes uint8 images.
        examples: `zoo.data.Examples`.
        epochs: how often to go through them.
        seed: decides their order.
        rate: the first step size.
        loss: a loss of labels and outputs; cross-entropy if there is none.
        optimizer: the name of a Keras optimizer.
        callbacks: of `fit`.
    """
    import keras

    from zoo.data import pipeline

    steps, together = pipeline.schedule(len(examples.y), BATCH)
    falling = keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    config = {"learning_rate": falling}
    model.compile(
        keras.optimizers.get({"class_name": optimizer, "config": config}),
        loss or "sparse_categorical_crossentropy",
        steps_per_execution=together,
    )
    batches = pipeline.training(examples, BATCH, seed=seed)
    model.fit(
        batches,
        steps_per_epoch=steps,
        epochs=epochs,
        shuffle=False,  # the batches are
        callbacks=callbacks,
        verbose=0,
    )
