"""Will I pass this class? A probability by cross-entropy, a grade by squared error.

Two features of a student, lectures attended and hours on the project, and two questions
of L4: does she pass, and with which grade? The same network with one hidden layer
answers the first through a sigmoid and cross-entropy, the second through a linear
output and squared error. The students are drawn (`zoo.data.toys.exam`), so that the
right answers are known: the example of L4, 4 lectures and 5 hours, passes in 86 %.

    number           claim       measured      what
    untrained        -           50.0 ± 2.2 %  an untrained network's chance for her
    trained          75 to 95 %  86.0 ± 4.5 %  after training; the truth is 86 %
    untrained_error  >= 20 %     40.0 ± 2.1 %  mean error of chances, untrained
    trained_error    <= 5 %      1.6 ± 1.1 %   and trained
    cross_entropy    <= 0.05     0.00 ± 0.01   above the best possible, new students
    grade            53 to 60    56.3 ± 0.6    her grade; the truth is 56.5
    grade_error      <= 2.5      1.0 ± 0.3     root mean square error of mean grades
    grade_rmse       5.5 to 6.8  6.04 ± 0.13   of new students' grades: luck is 6
    seconds          -           5             seconds on two CPU cores; quick 3

L4's untrained network says 0.1, because nobody has told it anything yet; ours say what
their random weights make of her, on average about a half.
"""

import sys
from dataclasses import dataclass

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions
from zoo.data import toys

NAME = "exam"
STUDENT = (4.0, 5.0)  # lectures, hours
AXIS = np.linspace(0, 10, 41)


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    seeds: int = 5
    """Classes of students, each with networks of its own."""
    students: int = 2000
    """Of a class; as many new ones test the network."""
    epochs: int = 60
    """Passes over the students."""


QUICK = Config(quick=True, seeds=3, students=1000, epochs=40)


def network(members, passes):
    """Return `members` networks for the chance to pass, or else for the grade."""
    import keras

    from zoo.ensembles import EnsembleDense, total_loss

    layers = [
        keras.Input((members, 2)),
        keras.layers.Rescaling(0.2, offset=-1),  # 0 to 10 becomes -1 to 1
        EnsembleDense(16, members, activation="relu"),
        EnsembleDense(1, members, activation="sigmoid" if passes else None),
    ]
    if not passes:
        layers.append(keras.layers.Rescaling(20, offset=50))  # to the size of a grade
    model = keras.Sequential(layers)
    loss = "binary_crossentropy" if passes else "mean_squared_error"
    model.compile(keras.optimizers.Adam(0.01), total_loss(loss), steps_per_execution=20)
    return model


def ask(model, x):
    """Return the answers of all members about the same students, `(n, members)`."""
    members = model.input_shape[1]
    repeated = np.repeat(np.asarray(x, "float32")[:, None], members, axis=1)
    return np.array(model(repeated))[..., 0]


def classes(students, seeds):
    """Return a class for each seed, side by side: `(students, seeds, ...)`."""
    made = [toys.exam(students, seed) for seed in seeds]
    return toys.Exam(*(np.stack(part, axis=1) for part in zip(*made, strict=True)))


def cross_entropy(y, p):
    """Return the mean cross-entropy over the students, `(members,)`."""
    p = np.clip(np.asarray(p, float), 1e-7, 1 - 1e-7)
    return -np.where(y, np.log(p), np.log1p(-p)).mean(0)


def measure(run):
    """Train both networks; return what they say of the student and of the plane."""
    config, members = run.config, len(run.seeds)
    known = classes(config.students, run.seeds)
    new = classes(config.students, [seed + 10**6 for seed in run.seeds])
    plane = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)
    chance, mean = toys.exam_truth(plane)
    options = {"batch_size": 50, "epochs": config.epochs, "verbose": 0}

    model = network(members, passes=True)
    untrained, before = ask(model, [STUDENT])[0], ask(model, plane)
    bar = run.epochs(config.epochs, "Learning to tell who passes")
    model.fit(known.x, known.y[..., None], callbacks=[bar], **options)
    after = ask(model, plane)
    guesses = np.array(model(new.x))[..., 0]
    best = cross_entropy(new.y, toys.exam_truth(new.x)[0])

    grader = network(members, passes=False)
    bar = run.epochs(config.epochs, "Learning to tell grades")
    grader.fit(known.x, known.grade[..., None], callbacks=[bar], **options)
    grades = ask(grader, plane)
    told = np.array(grader(new.x))[..., 0]

    numbers = {
        "untrained": untrained,
        "trained": ask(model, [STUDENT])[0],
        "untrained_error": np.abs(before - chance[:, None]).mean(0),
        "trained_error": np.abs(after - chance[:, None]).mean(0),
        "cross_entropy": cross_entropy(new.y, guesses) - best,
        "grade": ask(grader, [STUDENT])[0],
        "grade_error": np.sqrt(((grades - mean[:, None]) ** 2).mean(0)),
        "grade_rmse": np.sqrt(((told - new.grade) ** 2).mean(0)),
    }
    students = toys.Exam(*(part[:60, 0] for part in known))
    drawn = {"students": students, "chance": after[:, 0], "grade": grades[:, 0]}
    return numbers, drawn | {"mean": mean}


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        "Of the student with 4 lectures and 5 hours the untrained network says that "
        f"she passes in {numbers['untrained']:.0%}, the trained one "
        f"{numbers['trained']:.0%}, and {numbers['grade']:.0f} points; its chances are "
        f"wrong by {numbers['trained_error']:.1%} on average, before training by "
        f"{numbers['untrained_error']:.0%}."
    )


def paint(figure, drawn):
    """Draw the chance to pass and the grade over lectures and hours."""
    left, right = figure.subplots(1, 2)
    shape = (len(AXIS), len(AXIS))
    chance, grade, mean = (drawn[k].reshape(shape) for k in ("chance", "grade", "mean"))
    for axes, values, label, top in (
        (left, chance, "probability to pass", 1),
        (right, grade, "final grade", 100),
    ):
        bands = np.linspace(0, top, 11)
        image = axes.contourf(
            AXIS, AXIS, np.clip(values, 0, top), bands, cmap="cividis"
        )
        figure.colorbar(image, ax=axes, label=label)
        axes.plot(
            *STUDENT,
            "*",
            color="white",
            markeredgecolor="black",
            markersize=22,
            label="the student",
            linestyle="",
        )
        axes.set(xlabel="lectures attended", ylabel="hours on the project")
        axes.set(xlim=(0, 10), ylim=(0, 10), xticks=range(0, 11, 2))
    for value, mark, colour in ((1, "o", "white"), (0, "X", "C1")):
        left.plot(
            *drawn["students"].x[drawn["students"].y == value].T, mark, color=colour,
            markeredgecolor="black", markersize=6, linestyle="",
            label=["failed", "passed"][value],
        )  # fmt: skip
    levels = [20, 35, 50, 65]
    lines = right.contour(AXIS, AXIS, grade, levels, colors="white")
    right.clabel(lines, fontsize=12)
    right.contour(AXIS, AXIS, mean, levels, colors="black", linestyles="--")
    right.plot([], [], "w-", label="network")
    right.plot([], [], "k--", label="truth")
    left.set_title("Cross-entropy")
    right.set_title("Squared error")
    handles, labels = left.get_legend_handles_labels()
    more = right.get_legend_handles_labels()
    figure.legend(
        handles + more[0][1:], labels + more[1][1:], ncols=5, frameon=True,
        loc="outside lower center", facecolor="#b0b0b0",  # white and black are seen
    )  # fmt: skip


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
