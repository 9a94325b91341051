"""One perceptron by hand: a weighted sum, a sigmoid, and the line in the plane.

A perceptron with two inputs computes g(1 + 3 x1 - 2 x2), where g is the sigmoid (L4).
At the point (-1, 2) the sum is 1 - 3 - 4 = -6, and sigmoid(-6) is about 0.0025: a
firm no. Where the sum is 0 the answer is 1/2: a straight line, at right angles to the
weights (3, -2). Twice the weights and bias leave that line where it is, and make the
perceptron surer on both sides of it.

    number       claim      measured  what
    weighted     = -6       -6        weighted sum at (-1, 2)
    answer       = 0.0025   0.0025    answer at (-1, 2), sigmoid(-6)
    by_formula   <= 1e-6    0.000000  largest gap to 1 / (1 + exp(-z)) on a grid
    on_the_line  = 0.5000   0.5000    answer on the line 1 + 3 x1 - 2 x2 = 0
    distance     = 1.6641   1.6641    from (-1, 2) to the line, 6 / sqrt(13)
    doubled      = 6.14e-6  6.14e-6   answer at (-1, 2) with doubled weights
    seconds      -          0.1       seconds on two CPU cores; quick 0.1
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions

NAME = "perceptron_by_hand"
BIAS, WEIGHTS = 1.0, (3.0, -2.0)
POINT = (-1.0, 2.0)


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""


QUICK = Config(quick=True)


def perceptron(scale=1.0):
    """Return the perceptron as a layer, its weights and bias multiplied by `scale`."""
    import zoo

    layer = zoo.MyDenseLayer(1, activation="sigmoid")
    layer.build((None, 2))
    layer.set_weights([scale * np.transpose([WEIGHTS]), np.array([scale * BIAS])])
    return layer


def weighted(x):
    """Return the weighted sum of points `(..., 2)`."""
    return BIAS + x @ np.array(WEIGHTS)


def line(x1):
    """Return the x2 where the weighted sum is 0."""
    return -(BIAS + WEIGHTS[0] * x1) / WEIGHTS[1]


def nearest(point):
    """Return the point of the line that is nearest: a step along the weights."""
    w = np.array(WEIGHTS)
    return point - weighted(point) * w / (w @ w)


def measure(run):
    """Ask the perceptron at the point, on the line and on a grid."""
    layer, point = perceptron(), np.array(POINT)
    ticks = np.linspace(-4, 4, 81)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    answers = np.array(layer(grid.astype("float32")))[..., 0]
    on_it = np.stack([ticks, line(ticks)], axis=1)
    foot = nearest(point)
    numbers = {
        "weighted": weighted(point),
        "answer": float(layer(point[None])[0, 0]),
        "by_formula": np.abs(answers - 1 / (1 + np.exp(-weighted(grid)))).max(),
        "on_the_line": np.array(layer(on_it)).mean(),
        "distance": np.linalg.norm(point - foot),
        "doubled": float(perceptron(2.0)(point[None])[0, 0]),
    }
    return numbers, (ticks, answers, foot)


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    side = "no" if numbers["answer"] < numbers["on_the_line"] else "yes"
    return (
        f"At (-1, 2) the weighted sum is {numbers['weighted']:.0f} and the perceptron "
        f"answers {numbers['answer']:.4f}, a firm {side}; it answers "
        f"{numbers['on_the_line']:.1f} on a straight line that is "
        f"{numbers['distance']:.2f} away."
    )


def paint(figure, drawn):
    """Draw the answers in the plane, with the line, and the sigmoid."""
    ticks, answers, foot = drawn
    plane, curve = figure.subplots(1, 2, width_ratios=[1, 1.1])
    image = plane.contourf(ticks, ticks, answers, levels=np.linspace(0, 1, 21))
    figure.colorbar(
        image, ax=plane, label="answer", ticks=[0, 0.5, 1], location="bottom", aspect=30
    )
    plane.plot(ticks, line(ticks), "w--", linewidth=3)
    plane.text(0.0, -1.5, "1 + 3 x1 − 2 x2 = 0", color="black", fontsize=13)
    plane.plot(*zip(POINT, foot, strict=True), "w:", linewidth=2)
    plane.plot(*POINT, "C1o", markersize=12, markeredgecolor="white")
    plane.text(-1.2, 2.5, "(−1, 2): 0.0025", color="white", ha="center", fontsize=13)
    arrow = {"arrowstyle": "-|>", "linewidth": 2.5, "color": "black"}
    start = np.array([-2, line(-2.0)])
    plane.annotate("", start + np.array(WEIGHTS) / 2, start, arrowprops=arrow)
    plane.text(-0.4, -3.6, "weights (3, −2)", color="black", fontsize=13)
    plane.set(xlim=(-4, 4), ylim=(-4, 4), xlabel="x1", ylabel="x2", aspect="equal")
    plane.set_title("The line in the plane")
    z = np.linspace(-8, 8, 200)
    curve.plot(z, 1 / (1 + np.exp(-z)), label="sigmoid")
    curve.plot(z, 1 / (1 + np.exp(-2 * z)), "--", label="doubled")
    curve.plot(-6, 1 / (1 + np.exp(6)), "C1o", markersize=12)
    curve.annotate("z = −6", (-6, 0.0025), (-7.5, 0.2), arrowprops={"arrowstyle": "-"})
    curve.axvline(0, color="C5", linestyle=":")
    curve.set(xlabel="weighted sum z", ylabel="answer", title="From sum to answer")
    curve.legend(loc="upper left", bbox_to_anchor=(0, 0.8))
    curve.text(0.5, 0.03, "z = 0: the line")


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
