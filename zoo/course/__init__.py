"""The course: one experiment for each system of the lectures, with its number.

A recipe of the course is a module with

- a docstring that is a claim: what it shows, from where, and a table (`claims`);
- `Config`, a frozen dataclass that inherits `CourseOptions`, and `QUICK`, the setting
  that takes less than 20 s;
- `measure(run) -> (numbers, drawn)`: the experiment;
- `conclude(numbers) -> str`: the sentence that its numbers allow;
- `paint(figure, drawn)`: the picture;
- `main(argv=None)`, which is `course.run`.
"""

from zoo.course.experiment import Experiment, run
from zoo.course.options import CourseOptions, DataOptions

__all__ = ["CourseOptions", "DataOptions", "Experiment", "run"]
