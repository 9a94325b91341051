"""The space of hyper-parameters, in Keras Tuner's terms: the whole of it, and grids."""

import itertools
from collections.abc import Callable, Iterator

from keras_tuner import HyperParameters

MOST_POINTS = 10  # of a grid, along one hyper-parameter


def explore(declare: Callable[[HyperParameters], object]) -> HyperParameters:
    """Return all hyper-parameters that a function declares, at their defaults.

    Those that it declares under a condition, or for some values only, are found by
    calling it for each condition, and with each hyper-parameter at its ends or choices.

    Args:
        declare: calls `hp.Int(...)` and so on, as a Keras Tuner's `build(hp)` does.
    """
    space, waiting, asked = HyperParameters(), [{}], []
    while waiting:
        hp, before = space.copy(), len(space.space)
        hp.values.update(waiting.pop(0))
        for each in hp.space:
            if hp.is_active(each):
                hp.values.setdefault(each.name, each.default)
        declare(hp)
        space.merge(hp, overwrite=False)
        settings = [_meeting(scope) for scope in hp.inactive_scopes]
        for new in space.space[before:]:
            settings += [{**_meeting(new.conditions), new.name: v} for v in ends(new)]
        new_ones = [each for each in settings if each not in asked]
        waiting += new_ones
        asked += new_ones
    return defaults(space)


def _meeting(conditions):
    """Return values under which conditions hold."""
    return {condition.name: condition.values[0] for condition in conditions}


def ends(hp) -> list:
    """Return the lowest and the highest value of a hyper-parameter, or all choices."""
    if hasattr(hp, "min_value"):
        return [hp.min_value, hp.max_value]
    return list(hp.values)


def defaults(space: HyperParameters) -> HyperParameters:
    """Return a space at the default of each hyper-parameter that is active."""
    result = HyperParameters()
    for hp in space.space:
        result.merge([hp])
    return result


def grid(space: HyperParameters, most: int) -> list[dict]:
    """Return the configurations of a grid over a space.

    The hyper-parameters get a point more in turn, in the order in which the space
    declares them, as long as the whole grid fits: what is important comes first there.
    The points are spread evenly over the range, as it is sampled; of one point it is
    the default.

    Args:
        space: what to lay a grid over.
        most: the most configurations that it may have.
    """
    points, size = [[hp.default] for hp in space.space], 1
    growing, before = list(range(len(points))), None
    while points != before:
        before = points
        for index in list(growing):
            finer = _points(space.space[index], len(points[index]) + 1)
            more = [*points[:index], finer, *points[index + 1 :]]
            found = itertools.islice(_configurations(space, more), most + 1)
            grown = len(list(found))
            if len(finer) <= len(points[index]) or grown > most:
                growing.remove(index)
            elif grown > size:  # else it is active nowhere yet
                points, size = more, grown
    return list(_configurations(space, points))


def _points(hp, count):
    """Return up to `count` different values, spread over the range of `hp`."""
    if count > MOST_POINTS:
        return []
    if hasattr(hp, "min_value"):
        values = [hp.prob_to_value((k + 0.5) / count) for k in range(count)]
        return list(dict.fromkeys(values))
    first = [hp.default, *(value for value in hp.values if value != hp.default)]
    return [value for value in hp.values if value in first[:count]]


def _configurations(space, points) -> Iterator[dict]:
    """Go through the values of all configurations; the last hyper-parameter first."""

    def further(values, rest):
        if not rest:
            yield values
            return
        (hp, choices), *others = rest
        if all(condition.is_active(values) for condition in hp.conditions):
            for value in choices:
                yield from further({**values, hp.name: value}, others)
        else:
            yield from further(values, others)

    yield from further({}, list(zip(space.space, points, strict=True)))
