"""The space of hyper-parameters, in Keras Tuner's terms: the whole of it, and grids."""

import itertools
from collections.abc import Callable, Iterator

import keras_tuner
from keras_tuner import HyperParameters

MOST_POINTS = 10  # of a grid, along one hyper-parameter


def explore(declare: Callable[[HyperParameters], object]) -> HyperParameters:
    """Return all hyper-parameters that a function declares, at their defaults.

    Those that exist under a condition only are found by calling it for each.

    Args:
        declare: calls `hp.Int(...)` and so on, as a Keras Tuner's `build(hp)` does.
    """
    space, known, waiting = HyperParameters(), [], [[]]
    while waiting:
        hp = space.copy()
        for condition in waiting.pop():
            hp.values[condition.name] = condition.values[0]
        for each in hp.space:
            if hp.is_active(each):
                hp.values.setdefault(each.name, each.default)
        declare(hp)
        space.merge(hp, overwrite=False)
        for scope in [*hp.active_scopes, *hp.inactive_scopes]:
            if scope not in known:
                known.append(scope)
                if scope not in hp.active_scopes:
                    waiting.append(scope)
    return defaults(space)


def defaults(space: HyperParameters) -> HyperParameters:
    """Return a space at the default of each hyper-parameter that is active."""
    result = HyperParameters()
    for hp in space.space:
        result.merge([hp])
    return result


def grid(space: HyperParameters, trials: int) -> HyperParameters:
    """Return a grid over a space that has no more points than there are trials.

    The hyper-parameters get a point more in turn, in the order in which the space
    declares them, as long as the whole grid fits; what is important comes first there.
    The points are spread evenly over the range, as it is sampled; of one point it is
    the default.

    Args:
        space: what to lay a grid over.
        trials: the most points that it may have.
    """
    counts = [1] * len(space.space)
    growing = list(range(len(counts)))
    while growing:
        for index in list(growing):
            more = [*counts[:index], counts[index] + 1, *counts[index + 1 :]]
            points = _points(space.space[index], more[index])
            enough = itertools.islice(configurations(_grid(space, more)), trials + 1)
            if len(points) < more[index] or len(list(enough)) > trials:
                growing.remove(index)
            else:
                counts = more
    return _grid(space, counts)


def _grid(space, counts):
    result = HyperParameters()
    for hp, count in zip(space.space, counts, strict=True):
        points = _points(hp, count)
        choice = keras_tuner.engine.hyperparameters.Choice(
            hp.name, points, conditions=hp.conditions
        )
        result.merge([choice])
    return result


def _points(hp, count):
    """Return up to `count` different values, spread over the range of `hp`."""
    if count == 1:
        return [hp.default]
    if count > MOST_POINTS:
        return []
    if hasattr(hp, "min_value"):
        values = [hp.prob_to_value((k + 0.5) / count) for k in range(count)]
    else:
        first = [hp.default, *(v for v in hp.values if v != hp.default)]
        values = [v for v in hp.values if v in first[:count]]
    return list(dict.fromkeys(values))


def configurations(space: HyperParameters) -> Iterator[dict]:
    """Go through the values of all configurations of a space of choices."""

    def further(values, rest):
        if not rest:
            yield values
            return
        first, *others = rest
        if all(condition.is_active(values) for condition in first.conditions):
            for value in first.values:
                yield from further({**values, first.name: value}, others)
        else:
            yield from further(values, others)

    yield from further({}, space.space)
