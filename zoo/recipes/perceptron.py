"""The perceptron rule learns AND and OR, circles on XOR; a hidden layer solves it.

Rosenblatt's rule changes the weights of a threshold neuron after every mistake. Where
a line separates the classes it ends (Novikoff 1962: after at most R²|w|²/m² mistakes,
which is 51 for AND and 27 for OR); no line separates XOR, as Minsky and Papert wrote in
1969, and there the weights come back to where they were. One hidden layer, trained by
gradient descent, solves XOR, if it does not get stuck on the way (L2).

    number       claim       measured       what
    and_updates  1 to 51     8.2 ± 2.8      mistakes until AND is learned
    or_updates   1 to 27     2.8 ± 1.1      mistakes until OR is learned
    xor_cycle    >= 1        1              passes until XOR's weights come again
    xor_loop     >= 1        4              mistakes in each of those passes
    xor_least    >= 1        1.0 ± 0.0      fewest in a pass in random order
    stuck_1      = 100 %     100.0 ± 0.0 %  XOR not solved by 1 hidden sigmoid
    stuck_2      2 to 35 %   14.6 ± 2.1 %   not solved by 2 hidden sigmoids
    stuck_4      <= 3 %      0.0 ± 0.0 %    not solved by 4 hidden sigmoids
    relu_2       60 to 97 %  77.2 ± 3.3 %   not solved by 2 hidden ReLUs
    relu_8       <= 25 %     10.0 ± 1.4 %   not solved by 8 hidden ReLUs
    seconds      -           10             seconds on two CPU cores; quick 3

The rule starts at weights of 0 and sees the inputs in a random order, for the cycle in
the order of the truth table. Novikoff's bound has R² = 3, the largest squared input
with its 1 for the bias, and a squared weight over margin of 17 for AND and 9 for OR.

The networks start uniformly in [-1, 1], biases at 0, and learn from all four inputs by
squared error, learning rate 0.5, momentum 0.9. Rumelhart, Hinton and Williams (1986)
met a local minimum twice in hundreds of runs on XOR (as cited, not checked): fewer than
our two sigmoids do, from starting weights that we do not know.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions
from zoo.data import toys

NAME = "perceptron"
GATES = ("and", "or", "xor")
WIDTHS = (1, 2, 3, 4, 8)
LABELS = {"sigmoid": "sigmoid", "relu": "ReLU"}


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Orders in which the rule sees a gate, and groups of networks."""
    starts: int = 100
    """Networks of each width, activation and seed: each starts elsewhere."""
    steps: int = 3000
    """Steps of gradient descent on all four inputs of XOR."""
    passes: int = 200
    """Passes over XOR after which the perceptron rule is given up."""


QUICK = Config(quick=True, seeds=3, starts=30, steps=1000)


def learn(x, y, passes, rng=None):
    """Train a threshold neuron by the perceptron rule, from weights of 0.

    Args:
        x: `(n, features)`; a 1 for the bias is put in front.
        y: 0 or 1, `(n,)`.
        passes: are made at most; one without a mistake is the last.
        rng: shuffles the examples before every pass; without it they keep their order.

    Returns:
        The weights after every pass and the mistakes made in it.
    """
    x = np.insert(x, 0, 1, axis=1)
    weights, mistakes = [np.zeros(x.shape[1])], []
    while len(mistakes) < passes and 0 not in mistakes:
        w, wrong = weights[-1].copy(), 0
        for i in range(len(x)) if rng is None else rng.permutation(len(x)):
            error = y[i] - (x[i] @ w > 0)
            w += error * x[i]
            wrong += error != 0
        weights.append(w)
        mistakes.append(int(wrong))
    return np.array(weights[1:]), mistakes


def cycle(weights):
    """Return after how many passes the last weights come again; 0 if they never do."""
    same = np.flatnonzero((weights[:-1] == weights[-1]).all(1))
    return len(weights) - 1 - int(same[-1]) if len(same) else 0


def networks(activation, copies):
    """Return one model of `copies` networks of each of `WIDTHS`, ready to train."""
    import keras

    from zoo.ensembles import EnsembleDense, total_loss

    widths = [width for width in WIDTHS for _ in range(copies)]
    start = keras.initializers.RandomUniform(-1, 1)
    options = {"members": len(widths), "kernel_initializer": start}
    model = keras.Sequential(
        [
            keras.Input((2,)),
            EnsembleDense(widths, activation=activation, **options),
            EnsembleDense(1, activation="sigmoid", **options),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        total_loss("mean_squared_error"),
        steps_per_execution=100,
        jit_compile=True,
    )
    return model


def measure(run):
    """Apply the rule to the gates, train networks on XOR; return numbers, drawing."""
    config, numbers, drawn = run.config, {}, {"rule": {}, "stuck": {}}
    for name in GATES:
        gate = toys.gate(name)
        rngs = [np.random.default_rng(seed) for seed in run.seeds]
        runs = [learn(*gate, config.passes, rng)[1] for rng in rngs]
        drawn["rule"][name] = runs[0]
        if name == "xor":
            numbers["xor_least"] = [min(mistakes) for mistakes in runs]
        else:
            numbers[f"{name}_updates"] = [sum(mistakes) for mistakes in runs]
    x, y = toys.gate("xor")
    weights, mistakes = learn(x, y, config.passes)  # in the order of the truth table
    numbers |= {"xor_cycle": cycle(weights), "xor_loop": mistakes[-1]}
    for activation in LABELS:
        model = networks(activation, len(run.seeds) * config.starts)
        many = np.tile(x, (100, 1)), np.tile(y, 100)  # 100 steps are an epoch
        epochs = -(-config.steps // 100)
        bar = run.epochs(epochs, f"Training with {activation}")
        options = {"batch_size": 4, "epochs": epochs, "shuffle": False, "verbose": 0}
        model.fit(*many, callbacks=[bar], **options)
        outputs = model.predict(x, verbose=0)[..., 0]
        solved = ((outputs > 0.5) == y[:, None]).all(0)
        stuck = 1 - solved.reshape(len(WIDTHS), len(run.seeds), -1).mean(-1)
        drawn["stuck"][activation] = stuck
        name = {"sigmoid": "stuck", "relu": "relu"}[activation]
        numbers |= {f"{name}_{w}": list(s) for w, s in zip(WIDTHS, stuck, strict=True)}
        if activation == "sigmoid":
            copies = len(run.seeds) * config.starts
            of_two_units = solved[copies : 2 * copies]
            # The first that solves it; if none does, the first.
            drawn |= plane(model, copies + int(of_two_units.argmax()))
    return numbers, drawn


def plane(model, member):
    """Return what one network of two hidden units answers all over the plane."""
    axis = np.linspace(-0.4, 1.4, 61)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype("float32")
    answers = model.predict(grid, batch_size=500, verbose=0)[:, member, 0]
    kernel, bias = model.layers[0].get_weights()
    return {
        "axis": axis,
        "answers": answers.reshape(61, 61),
        "hidden": (kernel[member, :, :2].T, bias[member, :2]),
    }


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"The perceptron rule learns AND after {numbers['and_updates']:.1f} mistakes "
        f"and OR after {numbers['or_updates']:.1f}; on XOR it makes "
        f"{numbers['xor_loop']:.0f} mistakes in a pass and is back at the same weights "
        f"(period in passes: {numbers['xor_cycle']:.0f}), for ever. "
        "A hidden layer solves XOR, but gradient descent gets stuck in "
        f"{numbers['stuck_2']:.0%} of the starts with 2 sigmoids, in "
        f"{numbers['stuck_4']:.1%} with 4."
    )


def paint(figure, drawn):
    """Draw the rule's mistakes, a network that solves XOR, and how many are stuck."""
    from zoo.report.figures import DASHES, MARKERS

    rule, solved, stuck = figure.subplots(1, 3)
    for index, (name, mistakes) in enumerate(drawn["rule"].items()):
        rule.plot(
            range(1, len(mistakes[:12]) + 1), mistakes[:12], label=name.upper(),
            linestyle=DASHES[index], marker=MARKERS[index],
        )  # fmt: skip
    rule.set(title="Perceptron rule", xlabel="pass", ylabel="mistakes in the pass")
    rule.set(xticks=[1, 4, 8, 12], yticks=range(5))
    axis = drawn["axis"]
    image = solved.pcolormesh(
        axis, axis, drawn["answers"], cmap="cividis", vmin=0, vmax=1, rasterized=True
    )
    figure.colorbar(
        image, ax=solved, location="bottom", label="network's output", ticks=[0, 0.5, 1]
    )
    for unit, (slopes, bias) in enumerate(zip(*drawn["hidden"], strict=True)):
        ends = np.array([axis[0], axis[-1]])
        solved.plot(
            ends, -(bias + slopes[0] * ends) / slopes[1], f"w{DASHES[unit + 1]}"
        )
    for point, y in zip(*toys.gate("xor"), strict=True):
        solved.annotate(
            y, point, ha="center", va="center", weight="bold", color="black",
            bbox={"boxstyle": "circle", "facecolor": "white"},
        )  # fmt: skip
    solved.set(title="XOR, 2 hidden units", xlabel="x1", ylabel="x2", aspect="equal")
    solved.set(xlim=axis[[0, -1]], ylim=axis[[0, -1]], xticks=[0, 1], yticks=[0, 1])
    places = np.arange(len(WIDTHS))
    for index, (name, shares) in enumerate(drawn["stuck"].items()):
        stuck.bar(
            places + 0.4 * index, 100 * shares.mean(-1), 0.4, label=LABELS[name],
            color=f"C{index}", hatch=["", "//"][index], edgecolor="white",
        )  # fmt: skip
    stuck.set_xticks(places + 0.2, WIDTHS)
    stuck.set(title="XOR not solved", xlabel="hidden units", ylabel="starts in 100")
    for axes in (rule, stuck):
        axes.legend()


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
