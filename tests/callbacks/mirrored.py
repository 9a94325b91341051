"""A process of `test_gradient_monitor`: two replicas on a processor split in two."""

import keras
import numpy as np
import tensorflow as tf

from tests.callbacks.test_gradient_monitor import (
    BATCH,
    X,
    Y,
    by_hand,
    check,
    compiled,
    dense_model,
)  # fmt: skip
from zoo.callbacks import GradientMonitor

(cpu,) = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)

for stop in (False, True):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = compiled(dense_model)
    monitor = GradientMonitor(X, detail_every=1, stop_on_nonfinite=stop)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    model.fit(
        data.with_options(options), epochs=2, verbose=0, shuffle=False,
        callbacks=[monitor],
    )  # fmt: skip
    alone = compiled(dense_model)
    check(alone, monitor, by_hand(alone))
    for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    with strategy.scope():
        model = compiled(dense_model)
    x = X.copy()
    x[2 * BATCH] = np.inf
    data = tf.data.Dataset.from_tensor_slices((x, Y)).batch(BATCH)
    monitor = GradientMonitor(stop_on_nonfinite=stop, verbose=0)
    model.fit(
        data.with_options(options), epochs=2, verbose=0, shuffle=False,
        callbacks=[monitor],
    )  # fmt: skip
    assert monitor.epochs[0]["model"]["nonfinite_step"] == 3
    assert model.optimizer.iterations.numpy() == (2 if stop else 12)
    assert np.isfinite(keras.tree.flatten(model.get_weights())[0]).all() == stop
print("same")
