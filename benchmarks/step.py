"""Where the time of a training step goes, and how far it is from what can be had.

    python benchmarks/step.py [--models cnn resnet100k mlp] [--rounds 5]

For each preset of `fashion_mnist`: the median time of a step, of the recipe's own
batches; the share of the machine's arithmetic limit that it reaches; and a profile, the
share of each kind of operation in the time of all that are listed. Then, of the first,
what else can be tried with the same network, in turns, as ratios to the recipe's way.

The limit is what a product of two square matrices reaches here, timed in the same run.
The arithmetic of a step is taken as three times that of the forward pass, which is
counted; normalization and pooling in the backward pass are a little more than that.
"""

import argparse
import collections
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

from timing import in_turns, table, whole_fashion_mnist

from zoo import console

console.import_keras()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from zoo.data import pipeline  # noqa: E402
from zoo.pretrained import measuring  # noqa: E402
from zoo.recipes import fashion_mnist  # noqa: E402

STEPS = 100
SIDE = 3000  # of the matrices
KINDS = {  # TensorFlow's operations, without what oneDNN puts before their names
    "convolution, forward": ("Conv2D", "FusedConv2D"),
    "convolution, gradient of its input": ("Conv2DBackpropInput",),
    "convolution, gradient of its kernel": ("Conv2DBackpropFilter",),
    "matrix product": ("MatMul", "FusedMatMul"),
    "pooling, both ways": ("MaxPool", "MaxPoolGrad", "Max"),
    "activation, both ways": ("Relu", "ReluGrad"),
    "softmax and loss": ("Softmax", "SparseSoftmaxCrossEntropyWithLogits"),
    "normalization and what else is elementwise": (
        *("Mul", "Sub", "AddV2", "AddN", "RealDiv", "Square", "SquaredDifference"),
        *("Mean", "Sum", "BroadcastTo", "Rsqrt", "Sqrt", "Cast", "Neg"),
        *("ResourceApplyAdam", "AssignSubVariableOp", "AssignAddVariableOp"),
    ),
    "a batch: gather, augment (beside the step)": ("Map",),
}


def main() -> None:
    """Print a table for the time, and a profile of each preset."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    presets = fashion_mnist.PRESETS
    names = ["cnn", "resnet100k", "mlp"]
    parser.add_argument("--models", nargs="+", choices=presets, default=names)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    splits, limit = whole_fashion_mnist(), arithmetic_limit()
    print(f"Arithmetic limit: {limit / 1e9:.0f} GFLOP/s ({SIDE}x{SIDE} matrices)")
    for name in asked.models:
        model = fashion_mnist.build(presets[name], splits.num_train)
        batches = fashion_mnist.training_data(presets[name], splits)

        def fit(model=model, batches=batches):
            model.fit(batches, steps_per_epoch=STEPS, verbose=0, shuffle=False)

        fit()  # traces
        seconds = statistics.median(timed(fit) for _ in range(asked.rounds)) / STEPS
        steps, _ = pipeline.schedule(splits.num_train, presets[name].batch_size)
        images = splits.num_train / steps
        flops = 3 * measuring.size(model)["flops"] * images
        print(
            f"\n{name}: {1000 * seconds:.1f} ms a step of {images:.0f} images, "
            f"{flops / 1e9:.1f} GFLOP, {flops / seconds / limit:.0%} of the limit"
        )
        shares = profile(fit)
        for kind, share in shares.most_common():
            print(f"  {share:6.1%}  {kind}", flush=True)
    ways = {name: way(name, asked.models[0], splits) for name in WAYS}
    title = f"{asked.models[0]}: {STEPS} steps"
    table(title, in_turns(ways, asked.rounds), next(iter(WAYS)))


WAYS = {
    "as the recipe does it": contextlib.nullcontext,
    "mixed_bfloat16": lambda: policy("mixed_bfloat16"),
    "oneDNN's own choice of bfloat16": lambda: graph_rewriting(ONEDNN_BFLOAT16),
    "XLA": contextlib.nullcontext,
    "one step an execution": contextlib.nullcontext,
    "batch normalization in one operation": lambda: mock.patch.object(
        keras.layers.BatchNormalization, "call", fused_normalization
    ),
}
ONEDNN_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"


def way(name: str, model_name: str, splits):
    """Return a function that trains a preset for some steps, in one of the `WAYS`."""
    config = fashion_mnist.PRESETS[model_name]
    with WAYS[name]():
        model = fashion_mnist.build(config, splits.num_train)
    if name == "XLA":
        model.jit_compile = True
    if name == "one step an execution":
        model.steps_per_execution = 1
    batches = fashion_mnist.training_data(config, splits)

    def fit():
        with WAYS[name]():  # the first call traces
            model.fit(batches, steps_per_epoch=STEPS, verbose=0, shuffle=False)

    return fit


@contextlib.contextmanager
def policy(name: str):
    """Have Keras's layers that are built meanwhile compute in another precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    yield
    keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def graph_rewriting(option: str):
    """Have TensorFlow rewrite what is traced meanwhile."""
    tf.config.optimizer.set_experimental_options({option: True})
    yield
    tf.config.optimizer.set_experimental_options({option: False})


def fused_normalization(layer, inputs, training=None, mask=None):
    """Do what `keras.layers.BatchNormalization` does in training, in one operation."""
    normalized, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma.value, layer.beta.value, epsilon=layer.epsilon
    )
    for moving, batch in (
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        moving.assign(moving * layer.momentum + batch * (1 - layer.momentum))
    return normalized


def timed(call) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def arithmetic_limit() -> float:
    """Return the floating-point operations a second of a large matrix product."""
    a = tf.random.normal((SIDE, SIDE))
    product = tf.function(lambda: tf.reduce_sum(a @ a))
    product()
    return 2 * SIDE**3 / min(timed(lambda: product().numpy()) for _ in range(10))


def profile(call) -> collections.Counter:
    """Return the share of every kind of operation in a call, by TensorFlow's profiler.

    Operations are counted wherever they run; two that run at a time count twice.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            call()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    kind_of = {operation: kind for kind, names in KINDS.items() for operation in names}
    seconds = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # Such as `model/conv_1/convolution:_MklNativeConv2D#id=7#`.
                told = plane.event_metadata[event.metadata_id].name.split("#")[0]
                operation = told.rpartition(":")[2].removeprefix("_MklNative")
                kind = kind_of.get(operation.removeprefix("_Mkl"))
                if kind:
                    seconds[kind] += event.duration_ps
    whole = sum(seconds.values())
    return collections.Counter({kind: s / whole for kind, s in seconds.items()})


if __name__ == "__main__":
    main()
