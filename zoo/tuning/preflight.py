"""Before the first trial: does the space hold models that cannot be trained?

The smallest and the largest model of the space are searched for without allocating any,
and one batch goes through each. What is asked of is a `Problem`: how to build a model
of the space, its batch size, and a training of one batch.
"""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zoo import console
from zoo.errors import ZooError, unknown
from zoo.tuning import memory

if TYPE_CHECKING:
    from zoo.tuning.trials import Problem


@dataclass(frozen=True)
class Size:
    """How large a configuration is.

    Attributes:
        values: hyper-parameter -> value, those that are active.
        parameters: of the model.
        batch_size: the examples of a step.
        bytes: what its training needs of memory, at least; `memory.needed` says how
            it is estimated.
    """

    values: dict
    parameters: int
    batch_size: int
    bytes: int


class Extremes(NamedTuple):
    """The smallest and the largest configuration of a space, by memory."""

    smallest: Size
    largest: Size


def check(problem: "Problem", objective: str) -> Extremes:
    """Raise what would go wrong in a trial, in seconds; return the extremes.

    They are found by moving one hyper-parameter at a time, to its ends or through its
    choices, for as long as that helps. That is exact where each by itself makes the
    model larger or smaller, whatever the others are; else it is a good guess.

    Args:
        problem: what is searched.
        objective: the number that decides; one measured on validation.

    Raises:
        ZooError: (a `ValueError`) the largest model needs more memory than there is,
            one of them cannot be built or trained, or the objective is not logged, or
            is not one number.
    """
    space = _Space(problem)
    found = Extremes(space.extreme(-1), space.extreme(1))
    _refuse_too_large(space, found.largest)
    for size in found if found.smallest != found.largest else found[:1]:
        _refuse_other_objective(objective, space.one_batch(size.values))
    return found


class _Space:
    """The hyper-parameters seen so far, and the sizes of configurations."""

    def __init__(self, problem):
        import keras_tuner

        self._new = keras_tuner.HyperParameters
        self._problem, self._seen, self._sizes = problem, self._new(), {}

    def extreme(self, sign):
        """Return the largest (sign 1) or the smallest (-1) configuration."""
        best, before = self.size({}), None
        while best is not before:
            before = best
            for parameter in self._seen.space:  # it grows: build tells of more
                for size in self._others(best, parameter):
                    best = max(best, size, key=lambda s: sign * s.bytes)
        return best

    def reasons(self, size):
        """Return the values that make a configuration large, the worst first."""
        least = {
            parameter.name: min(s.bytes for s in self._others(size, parameter))
            for parameter in self._seen.space
            if self._is_active(parameter, size.values)
        }
        names = [name for name in least if least[name] < size.bytes]
        return {name: size.values[name] for name in sorted(names, key=least.get)}

    def _others(self, size, parameter):
        """Yield the configurations that differ from one in a hyper-parameter alone."""
        for value in self._ends(parameter):
            if self._is_active(parameter, size.values):
                yield self.size({**size.values, parameter.name: value})

    def _ends(self, parameter):
        """Return the values to try: all choices, or both ends of a range."""
        if not hasattr(parameter, "min_value"):
            return list(parameter.values)
        ends = [parameter.min_value, parameter.max_value]
        if parameter.step is not None:  # the last step may end before the maximum
            ends = [parameter.prob_to_value(prob) for prob in (0, 1 - 1e-9)]
        conditions = [c for other in self._seen.space for c in other.conditions]
        switching = [c.values for c in conditions if c.name == parameter.name]
        return list(dict.fromkeys(sum(switching, ends)))

    @staticmethod
    def _is_active(parameter, values):
        return all(condition.is_active(values) for condition in parameter.conditions)

    def size(self, values):
        """Return the size of a configuration; what it does not name is the default."""
        values = self._complete(values)
        key = frozenset(values.items())
        if key not in self._sizes:
            with blaming("build", values):
                hp, model = memory.sparing(lambda: self._build(values))
                parameters = model.count_params()
            with blaming("batch_size", hp.values):
                batch_size = self._problem.batch_size(hp)
                needed = memory.needed(model, batch_size)
            size = Size(dict(hp.values), parameters, batch_size, needed)
            self._seen.merge(hp, overwrite=False)
            self._sizes[key] = self._sizes[frozenset(hp.values.items())] = size
        return self._sizes[key]

    def _complete(self, values):
        """Return the values of those that are active."""
        result = {}
        for parameter in self._seen.space:  # in which parents come first
            if self._is_active(parameter, result):
                value = values.get(parameter.name, parameter.default)
                result.setdefault(parameter.name, value)
        return result

    def _build(self, values):
        hp = self._new()
        hp.values = dict(values)
        return hp, self._problem.build(hp)

    def one_batch(self, values):
        """Return the logs of a training of one batch."""
        with blaming("build", values):
            hp, model = self._build(values)
        with blaming("fit", values):
            return self._problem.one_batch(hp, model)


@contextlib.contextmanager
def blaming(where, values):
    """Turn an exception into one line that says which configuration it comes from."""
    try:
        yield
    except Exception as error:
        said = str(error) if isinstance(error, ZooError) else console.one_line(error)
        raise ZooError(
            f"a trial would fail in {where}: {said} The hyper-parameters tried: "
            f"{_listed(values)}. Mend it, or take it out of the space."
        ) from error


def _listed(values):
    return ", ".join(f"{name}={value!r}" for name, value in values.items()) or "none"


def _refuse_too_large(space, largest):
    available = memory.available()
    if available is not None and largest.bytes > available:
        raise ZooError(
            f"the largest model of the space needs {_gigabytes(largest.bytes)} of "
            f"memory or more ({largest.parameters:,} parameters, batches of "
            f"{largest.batch_size}), {_gigabytes(available)} are free: lower what "
            "makes it so large in the space, or hold it fixed. It is: "
            f"{_listed(space.reasons(largest))}"
        )


def _gigabytes(number):
    return f"{number / 1e9:,.1f} GB"


def _refuse_other_objective(objective, logs):
    measured = [name for name in logs if name.startswith("val_")]
    if not measured:
        raise ZooError(
            "nothing is measured on validation, so no objective can decide: give fit "
            f"validation data. What is logged: {', '.join(logs)}"
        )
    if objective not in measured:
        raise unknown("objective", objective, measured)
    if np.ndim(logs[objective]):
        raise ZooError(
            f"the objective {objective} must be one number, but a model logs "
            f"{np.size(logs[objective])} of them: have its metric average them, as "
            "keras.metrics.F1Score(average='macro') does."
        )
