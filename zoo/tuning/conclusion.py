"""What a search found, in words."""

import statistics

from zoo.tuning.importance import Importance
from zoo.tuning.records import Search
from zoo.tuning.scales import Objective


def conclusion(
    search: Search, objective: Objective, found: Importance | str
) -> list[str]:
    """Say what a search found, in sentences.

    Args:
        search: finished or not.
        objective: what is scored.
        found: the importance of the hyper-parameters, or why it cannot be told.
    """
    failed = [trial for trial in search.trials if trial.status == "failed"]
    if not search.best:
        return [*_unfinished(search), _of_none(failed)]
    return [
        *_unfinished(search),
        *_of_the_best(search, objective),
        *_of_the_final(search, objective),
        *([f"{_counted(len(failed), 'trial')} failed."] if failed else []),
        _of_the_importance(found),
    ]


def _unfinished(search):
    ended = sum(trial.status != "running" for trial in search.trials)
    over, asked = search.facts["over"], search.facts["trials"]
    if not over:
        yield (
            f"The search still runs, or was stopped: {ended} of {asked} trials have "
            "ended."
        )
    elif ended < asked:
        yield f"The search ended early: {over}."


def _counted(count, noun):
    return f"{count} {noun}{'s' * (count != 1)}"


def _of_none(failed):
    if not failed:
        return "No trial is completed yet."
    return f"No trial is completed: {len(failed)} failed, first with {failed[0].error}."


def _of_the_best(search, objective):
    best, completed = search.best, [t for t in search.trials if t.score is not None]
    how = "trained once: how much of that is luck cannot be told"
    if best.spread is not None:
        how = f"mean and standard deviation of {len(best.scores)} trainings"
    yield (
        f"The best of {_counted(len(completed), 'completed trial')} is trial "
        f"{best.number}: {objective.name} "
        f"{objective.text(best.score, best.spread)}, {how}."
    )
    if best.spread is not None and completed[1:]:
        near = sum(abs(t.score - best.score) <= best.spread for t in completed) - 1
        others = f"{near or 'No'} other trial{' is' if near < 2 else 's are'}"
        yield f"{others} within that deviation of it."
    default = next((t for t in completed if _is_default(t, search.space)), None)
    if default is best:
        yield "It is that of the defaults: no other is better."
    elif default is not None:
        gain = objective.difference(best.score - default.score)
        yield f"The defaults, trial {default.number}, are {gain} worse."


def _is_default(trial, space):
    """Return whether a trial has the default of each hyper-parameter."""
    defaults = {(hp.name, hp.default) for hp in space}
    own = {item for item in trial.values.items() if not item[0].startswith("tuner/")}
    return own <= defaults


def _of_the_final(search, objective):
    if not search.result:
        return
    seeds, gap = len(search.result["seeds"]), search.result["gap"]  # above 0: worse
    final = of_result(search, "final_scores")
    test = of_result(search, "test_accuracies")
    yield (
        f"Trained anew on {_counted(seeds, 'other seed')}, it has "
        f"{objective.name} {objective.text(*final)}, "
        f"{objective.difference(gap)} {'better' if gap < 0 else 'worse'} than in the "
        f"search, and a test accuracy of {_share(*test)}."
    )


def _share(mean, spread):
    return f"{mean:.2%}" + ("" if spread is None else f"\u00a0±\u00a0{spread:.2%}")


def _of_the_importance(found):
    if isinstance(found, str):
        return found
    if not found.notable:
        return "No hyper-parameter stands out from chance."
    return f"What moved the score most: {', '.join(found.notable)}."


def of_result(search: Search, key: str) -> tuple[float, float | None] | None:
    """Return mean and sample standard deviation of what there is for each seed."""
    if not search.result:
        return None
    values = search.result[key]
    return statistics.mean(values), statistics.stdev(values) if values[1:] else None
