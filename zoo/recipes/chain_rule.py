"""Chain rule: gradients by hand, by autodiff and by finite differences agree.

Backpropagation is the chain rule, from the loss back to each weight (L1, L3, L5). Two
kinds of network are differentiated by hand, with the loss L = (F - y)^2 / 2:

- a chain 1-1-1-1 of sigmoids g with four parameters: a1 = g(w1 x + b1), a2 = g(w2 a1),
  F = g(w3 a2);
- two inputs and three ReLU neurons, z = W x + b, F = sum v max(0, z), where
  dL/dw11 = x1 1[z1 > 0] v1 (F - y).

For many random weights, in double precision, the formulas are compared with
TensorFlow's gradients and with the quotients (L(w + h) - L(w - h)) / 2h.

    number          claim       measured           what
    chain_autodiff  <= 1e-10    1.1e-14 ± 8.2e-15  1-1-1-1: hand, autodiff
    chain_finite    <= 1e-5     1.8e-10 ± 1.4e-10  1-1-1-1: hand, differences
    relu_autodiff   <= 1e-10    0.000000000000     ReLU: hand, autodiff
    relu_finite     <= 1e-5     1.6e-11 ± 2.4e-12  ReLU: hand, differences
    silent          = 0         0 ± 0              largest |dL/dw11| where z1 <= 0
    silent_share    30 to 70 %  50.8 ± 5.0 %       networks where z1 <= 0
    seconds         -           2                  seconds on two CPU cores; quick 0.5

A gap is relative, |a - b| / (|a| + |b|) over a network's gradient; the largest of all
networks is told. The quotient of the sigmoids is best at a step h near 1e-5: larger
ones see the curve bend (error h^2), smaller ones lose digits (error 1/h). The loss of
the ReLU network is a parabola in each weight between two kinks, on which the central
quotient has no error but rounding.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "chain_rule"
STEP = 1e-5  # h of the finite differences
STEPS = 10.0 ** np.arange(-11, 0)


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Draws of the random weights."""
    networks: int = 100
    """Random networks of each kind in a draw."""


QUICK = Config(quick=True, seeds=3, networks=50)


def sigmoid(z):
    """Return 1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


def chain(w, x, y):
    """Return the losses of 1-1-1-1 networks and their gradients by hand.

    Args:
        w: `w1`, `b1`, `w2` and `w3`: arrays with a value for each network.
        x: their inputs.
        y: their targets.
    """
    a1 = sigmoid(w["w1"] * x + w["b1"])
    a2 = sigmoid(w["w2"] * a1)
    f = sigmoid(w["w3"] * a2)
    d3 = (f - y) * f * (1 - f)  # dL/dz3: through the loss, then the sigmoid
    d2 = d3 * w["w3"] * a2 * (1 - a2)
    d1 = d2 * w["w2"] * a1 * (1 - a1)
    return (f - y) ** 2 / 2, {"w1": d1 * x, "b1": d1, "w2": d2 * a1, "w3": d3 * a2}


def relu(w, x, y):
    """Return the same of ReLU networks: `W` (n, 3, 2), `b` and `v` (n, 3)."""
    z = np.einsum("nki,ni->nk", w["W"], x) + w["b"]
    error = (w["v"] * np.maximum(z, 0)).sum(1) - y
    d = error[:, None] * w["v"] * (z > 0)  # dL/dz
    v = error[:, None] * np.maximum(z, 0)
    return error**2 / 2, {"W": d[:, :, None] * x[:, None], "b": d, "v": v}


def by_autodiff(w, x, y):
    """Return what `chain` or `relu` does, by TensorFlow through the zoo's layers."""
    import tensorflow as tf

    from zoo import EnsembleDense

    n = len(y)
    if "w1" in w:
        kernels = [w[name].reshape(n, 1, 1) for name in ("w1", "w2", "w3")]
        biases = [w["b1"].reshape(n, 1), np.zeros((n, 1)), np.zeros((n, 1))]
        activations = ["sigmoid"] * 3
    else:
        kernels = [w["W"].transpose(0, 2, 1), w["v"].reshape(n, 3, 1)]
        biases, activations = [w["b"], np.zeros((n, 1))], ["relu", None]
    layers, passed = [], tf.constant(x.reshape(1, n, -1))
    with tf.GradientTape() as tape:
        for kernel, bias, activation in zip(kernels, biases, activations, strict=True):
            layers.append(
                EnsembleDense(bias.shape[1], n, activation=activation, dtype="float64")
            )
            layers[-1].build((1, n, kernel.shape[1]))
            layers[-1].set_weights([kernel, bias])
            passed = layers[-1](passed)
        losses = (passed[0, :, 0] - y) ** 2 / 2
        total = tf.reduce_sum(losses)  # no two networks share a weight
    sources = [layer.kernel.value for layer in layers] + [layers[0].bias.value]
    *kernels, bias = (np.array(g) for g in tape.gradient(total, sources))
    if "w1" in w:
        w1, w2, w3 = (kernel.ravel() for kernel in kernels)
        return losses.numpy(), {"w1": w1, "b1": bias.ravel(), "w2": w2, "w3": w3}
    gradient = kernels[0].transpose(0, 2, 1)
    return losses.numpy(), {"W": gradient, "b": bias, "v": kernels[1][..., 0]}


def by_differences(kind, w, x, y, h=STEP):
    """Return (L(w + h) - L(w - h)) / 2h for every parameter of every network."""
    gradients = {name: np.empty_like(values) for name, values in w.items()}
    for name, values in w.items():
        for entry in np.ndindex(values.shape[1:]):
            at, losses = (slice(None), *entry), []
            for step in (h, -h):
                moved = values.copy()
                moved[at] += step
                losses.append(kind(w | {name: moved}, x, y)[0])
            gradients[name][at] = (losses[0] - losses[1]) / (2 * h)
    return gradients


def gaps(a, b):
    """Return each network's relative difference between two gradients."""
    a, b = (
        np.concatenate([g.reshape(len(g), -1) for g in each.values()], axis=1)
        for each in (a, b)
    )
    size = np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    return np.linalg.norm(a - b, axis=1) / np.where(size > 0, size, 1)


def draw(kind, n, seed):
    """Return weights, inputs and targets of `n` random networks."""
    rng = np.random.default_rng(seed)
    if kind is chain:
        w = {name: rng.normal(size=n) for name in ("w1", "b1", "w2", "w3")}
        return w, rng.normal(size=n), rng.uniform(size=n)
    w = {"W": rng.normal(size=(n, 3, 2)), "b": rng.normal(size=(n, 3))}
    w["v"] = rng.normal(size=(n, 3))
    x, y = rng.normal(size=(n, 2)), rng.normal(size=n)
    z = np.einsum("nki,ni->nk", w["W"], x) + w["b"]
    w["b"] += 0.01 * np.sign(z)  # no kink within a step, where there is no derivative
    return w, x, y


def measure(run):
    """Compare the gradients of random networks; return the largest gaps."""
    numbers, drawn = {}, {}
    for kind in (chain, relu):
        name = kind.__name__
        numbers[f"{name}_autodiff"], numbers[f"{name}_finite"] = [], []
        for seed in run.seeds:
            networks = draw(kind, run.config.networks, seed)
            _, hand = kind(*networks)
            _, auto = by_autodiff(*networks)
            finite = by_differences(kind, *networks)
            numbers[f"{name}_autodiff"].append(gaps(hand, auto).max())
            numbers[f"{name}_finite"].append(gaps(hand, finite).max())
            if kind is relu:
                w, x, _ = networks
                z1 = (w["W"][:, 0] * x).sum(1) + w["b"][:, 0]
                slope, silent = auto["W"][:, 0, 0], z1 <= 0
                for key, value in (
                    ("silent", np.abs(slope[silent]).max(initial=0)),
                    ("silent_share", silent.mean()),
                ):
                    numbers.setdefault(key, []).append(value)
                drawn["z1"] = z1, hand["W"][:, 0, 0], slope
        drawn[name] = [
            np.median(gaps(hand, by_differences(kind, *networks, h))) for h in STEPS
        ]
    return numbers, drawn


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    auto, finite = (
        max(numbers[f"{name}_{how}"] for name in ("chain", "relu"))
        for how in ("autodiff", "finite")
    )
    return (
        f"The chain rule by hand agrees with autodiff to {auto:.0e} and with finite "
        f"differences to {finite:.0e}, {'which are worse' if finite > auto else 'too'};"
        f" in the {numbers['silent_share']:.0%} of ReLU networks whose first neuron is "
        f"silent, dL/dw11 is {numbers['silent']:.0f}."
    )


def paint(figure, drawn):
    """Draw one chain with its gradients, the gap over h, and dL/dw11 over z1."""
    above, below = figure.subfigures(2, 1, height_ratios=[1, 2.1])
    draw_chain(above.subplots())
    left, right = below.subplots(1, 2)
    for name, style, label in (("chain", "C0-o", "1-1-1-1"), ("relu", "C1--s", "ReLU")):
        left.loglog(STEPS, drawn[name], style, label=label)
    left.set(xlabel="step h", ylabel="relative gap")
    left.set_title("Differences against hand")
    left.legend()
    z1, hand, auto = drawn["z1"]
    right.axvline(0, color="C5", linestyle=":")
    right.plot(z1, hand, "C0o", markersize=10, fillstyle="none", label="by hand")
    right.plot(z1, auto, "C1x", label="autodiff")
    right.set_yscale("symlog", linthresh=1)
    right.set(xlabel="z1", ylabel="dL/dw11", title="Silent where z1 ≤ 0")
    right.legend(loc="upper left", fontsize=12, borderaxespad=0)


def draw_chain(axes):
    """Draw a 1-1-1-1 network: its values on the nodes, its gradients below."""
    one = {"w1": np.array([2.0]), "b1": np.array([-1.0])}
    one |= {"w2": np.array([-2.0]), "w3": np.array([3.0])}
    x, y = np.array([1.0]), np.array([0.0])
    _, gradients = chain(one, x, y)
    a1 = sigmoid(one["w1"] * x + one["b1"])
    a2 = sigmoid(one["w2"] * a1)
    values = (x, a1, a2, sigmoid(one["w3"] * a2))
    axes.plot([0, 3], [0, 0], "C5-", zorder=0)
    for place, (label, value) in enumerate(
        zip(("x", "a1", "a2", "F"), values, strict=True)
    ):
        axes.plot(place, 0, "o", color="white", markersize=54, markeredgecolor="C0")
        text = f"{label}\n{value[0]:.2f}"
        axes.text(place, 0, text, ha="center", va="center", fontsize=13)
    for place, names in enumerate((("w1", "b1"), ("w2",), ("w3",))):
        given = ", ".join(f"{n} = {one[n][0]:.0f}" for n in names)
        slopes = "\n".join(f"dL/d{n} = {gradients[n][0]:.4f}" for n in names)
        axes.text(
            place + 0.5, 0.12, given, ha="center", va="bottom", color="C0", fontsize=13
        )
        axes.text(
            place + 0.5, -0.12, slopes, ha="center", va="top", color="C1", fontsize=12
        )
    axes.text(3.25, 0, "target\ny = 0", va="center")
    axes.set(xlim=(-0.3, 3.7), ylim=(-1, 0.7))
    axes.axis("off")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
