"""Activations: nine of them, their slopes, and why a stack without them is one layer.

Each is Keras's own (maxout is `zoo.Maxout`, Goodfellow et al. 2013); its slope comes
from automatic differentiation and is compared with central differences (L1 to L5). Then
random linear layers are stacked and compared with the one layer whose kernel is the
product of theirs; with ReLU between them no such layer exists.

    number         claim        measured     what
    sigmoid_slope  = 0.25       0.25         steepest slope of the sigmoid, at 0
    tanh_slope     = 1          1            steepest slope of tanh, at 0
    step_slope     = 0          0            slope of the threshold, where it is
    slope_error    <= 0.002     0.00002      largest autodiff - differences
    softmax_sum    <= 0.000001  0.0000002    largest error of softmax's sum of 1
    linear_gap     <= 0.00001   0.0000003    stack of linear layers - one layer
    relu_gap       >= 0.2       0.42 ± 0.05  stack with ReLU - best one layer
    seconds        -            0.3          seconds on two CPU cores; quick 0.2

The gaps are root mean squares over the outputs', as a share of their own; "best" is
the layer that least squares fits to the stack's outputs. Slopes are compared away from
the corners, where they have no value: Keras calls the slope of ReLU at 0 a 0.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "activations"
PLANES = ((-1.0, 0.5, 1.0), (-1.0, 0.0, -1.0))  # slopes and biases of maxout's pieces


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Stacks of layers, each with weights and inputs of its own."""
    depth: int = 8
    """Layers of a stack."""
    width: int = 32
    """Inputs, and units of every layer."""


QUICK = Config(quick=True, seeds=3)


def functions():
    """Return the activations by name, each from `(n,)` to `(n,)`.

    Softmax is the first of two outputs whose logits are z and 0.
    """
    import keras
    from keras import ops

    import zoo

    g = keras.activations
    maxout = zoo.Maxout(1, pieces=len(PLANES[0]))
    maxout.build((None, 1))
    maxout.set_weights([np.array(PLANES[:1]), np.array(PLANES[1])])
    return {
        "threshold": lambda z: ops.cast(z > 0, "float32") + 0 * z,
        "linear": g.linear,
        "sigmoid": g.sigmoid,
        "tanh": g.tanh,
        "ReLU": g.relu,
        "leaky ReLU": lambda z: g.leaky_relu(z, negative_slope=0.1),
        "ELU": g.elu,
        "maxout": lambda z: maxout(z[:, None])[:, 0],
        "softmax": lambda z: g.softmax(ops.stack([z, 0 * z], axis=-1))[:, 0],
    }


def slopes(function, z):
    """Return the values and, by automatic differentiation, the slopes at `z`."""
    import tensorflow as tf

    z = tf.constant(z, "float32")
    with tf.GradientTape() as tape:
        tape.watch(z)
        values = function(z)
    return np.array(values), np.array(tape.gradient(values, z))


def gap(outputs, others):
    """Return the root mean square of the difference, as a share of the outputs'."""
    return np.sqrt(np.mean((outputs - others) ** 2) / np.mean(outputs**2))


def stack(activation, depth, width, seed):
    """Return a model of `depth` dense layers with random weights and biases."""
    import keras

    import zoo

    layers = [keras.Input((width,))]
    for index in range(depth):
        start = keras.initializers.HeNormal(seed=1000 * seed + index)
        shift = keras.initializers.RandomNormal(stddev=0.1, seed=1000 * seed + index)
        layers.append(zoo.MyDenseLayer(width, activation, start, shift))
    return keras.Sequential(layers)


def collapsed(model):
    """Return the kernel and bias of the one layer that a linear stack equals."""
    kernel, bias = np.eye(model.input_shape[-1]), np.zeros(model.input_shape[-1])
    for layer in model.layers:
        w, b = (np.array(weight, "float64") for weight in layer.get_weights())
        kernel, bias = kernel @ w, bias @ w + b
    return kernel, bias


def measure(run):
    """Compute values, slopes and gaps; return the numbers and what to draw."""
    z, step = np.linspace(-4, 4, 801), 0.005  # 801: 0 is one of them
    drawn, errors = {}, []
    for name, function in functions().items():
        values, slope = slopes(function, z)
        above, below = (slopes(function, z + d)[0] for d in (step, -step))
        corners = np.abs(np.diff(slope, prepend=slope[0], append=slope[-1])) > 0.05
        smooth = ~(corners[1:] | corners[:-1]) & (np.abs(z) > 2 * step)
        differences = (above - below) / (2 * step)
        errors.append(np.abs(differences - slope)[smooth].max())
        drawn[name] = z, values, slope
    steepest = {name: slope.max() for name, (_, _, slope) in drawn.items()}
    linear, relu, sums = [], [], []
    for seed in run.bar(run.seeds, "Stacking", "network"):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(1000, run.config.width)).astype("float32")
        model = stack(None, run.config.depth, run.config.width, seed)
        kernel, bias = collapsed(model)
        linear.append(gap(np.array(model(x)), x @ kernel + bias))
        outputs = np.array(stack("relu", run.config.depth, run.config.width, seed)(x))
        padded = np.insert(x, 0, 1, axis=1)
        relu.append(gap(outputs, padded @ np.linalg.lstsq(padded, outputs)[0]))
        sums.append(softmax_error(x))
    numbers = {
        "sigmoid_slope": steepest["sigmoid"],
        "tanh_slope": steepest["tanh"],
        "step_slope": np.abs(drawn["threshold"][2]).max(),
        "slope_error": max(errors),
        "softmax_sum": max(sums),
        "linear_gap": max(linear),
        "relu_gap": relu,
    }
    return numbers, drawn


def softmax_error(x):
    """Return by how much the softmax of a row of `x` misses a sum of 1, at most."""
    import keras

    return np.abs(np.array(keras.activations.softmax(x)).sum(-1) - 1).max()


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"The slope of the sigmoid is at most {numbers['sigmoid_slope']:.2f}, that of "
        f"tanh {numbers['tanh_slope']:.0f}, that of the threshold "
        f"{numbers['step_slope']:.0f}: it cannot be learned by gradients. A stack of "
        f"linear layers is one layer, up to {numbers['linear_gap']:.0e} of its "
        f"outputs; with ReLU the best single layer misses {numbers['relu_gap']:.0%}."
    )


def paint(figure, drawn):
    """Draw every activation and its slope in axes of their own."""
    from matplotlib.ticker import MaxNLocator

    grid = figure.subplots(3, 3, sharex=True)
    for index, (axes, (name, (z, values, slope))) in enumerate(
        zip(grid.flat, drawn.items(), strict=True)
    ):
        broken = np.abs(np.diff(slope, append=slope[-1])) > 0.05
        jump = np.abs(np.diff(values, append=values[-1])) > 0.5
        axes.plot(z, np.where(jump, np.nan, values), "C0", label="value g(z)")
        axes.plot(z, np.where(broken, np.nan, slope), "C1--", label="slope g'(z)")
        axes.set(title=name, ylabel="g, g'", xticks=[-4, 0, 4])
        axes.set_xlabel("z" if index > 5 else "")
        axes.margins(y=0.12)
        axes.grid(True)
        axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2
    )


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
