"""How much each hyper-parameter moved the score, as far as the trials can tell."""

from typing import NamedTuple

import numpy as np

from zoo.tuning.records import Trial
from zoo.tuning.scales import Axis

FEWEST = 10  # completed trials
_TREES, _REPEATS = 200, 10
_NOTABLE = 0.05  # of R²


class Importance(NamedTuple):
    """What is lost when the values of one hyper-parameter are shuffled.

    Attributes:
        names: of the hyper-parameters, the most important one first.
        mean: float `(n,)`: the loss of R², mean over the shuffles.
        spread: float `(n,)`: the sample standard deviation over the shuffles.
        r2: R² of the forest on the trials that its trees did not see.
        trials: how many trials it was fitted to.
        repeats: how often each was shuffled.
    """

    names: list[str]
    mean: np.ndarray
    spread: np.ndarray
    r2: float
    trials: int
    repeats: int = _REPEATS

    @property
    def notable(self) -> list[str]:
        """The names of those that stand out from chance."""
        clear = (self.mean >= _NOTABLE) & (self.mean >= 2 * self.spread)
        return [name for name, yes in zip(self.names, clear, strict=True) if yes]


def importance(axes: list[Axis], trials: list[Trial]) -> Importance | str:
    """Return how important each hyper-parameter was, or why that cannot be told.

    A random forest learns the rank of a trial's score from where its values lie on
    their axes; an inactive value lies outside. Each tree is judged on the trials that
    it was not fitted to, once as they are and once with one column shuffled. Ranks,
    because one diverged loss would outweigh all other trials.

    Args:
        axes: of the hyper-parameters.
        trials: of a search.

    Reference:
        Breiman, L. (2001). Random forests. Machine Learning 45, section 10.
    """
    completed = [trial for trial in trials if trial.score is not None]
    if len(completed) < FEWEST:
        return (
            "Which hyper-parameters mattered cannot be told: it takes at least "
            f"{FEWEST} completed trials, and here are {len(completed)}."
        )
    table = np.array([[a.place(t.values.get(a.name)) for a in axes] for t in completed])
    table = np.where(np.isnan(table), -1.0, table).reshape(len(completed), len(axes))
    ranks = _ranks([trial.score for trial in completed])
    if not axes or not ranks.std():
        return "Which hyper-parameters mattered cannot be told: nothing varied."
    r2, losses = _shuffled(table, ranks)
    if r2 <= 0:
        return (
            "Which hyper-parameters mattered cannot be told: a random forest does not "
            f"predict the score from them (out-of-bag R² {r2:.2f})."
        )
    mean, spread = losses.mean(1), losses.std(1, ddof=1)
    order = np.argsort(-mean, kind="stable")
    names = [axes[index].name for index in order]
    return Importance(names, mean[order], spread[order], r2, len(completed))


def _ranks(scores):
    """Return the ranks of numbers; equal ones share their mean."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _shuffled(table, target):
    """Return out-of-bag R², and `(columns, repeats)` of what shuffling costs of it."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(_TREES, max_features=1 / 3, random_state=0)
    forest.fit(table, target)
    random = np.random.default_rng(0)
    tables = [table]
    for column in range(table.shape[1]):
        for _ in range(_REPEATS):
            tables.append(table.copy())
            tables[-1][:, column] = random.permutation(table[:, column])
    stacked = np.concatenate(tables)
    total, count = np.zeros((len(tables), len(table))), np.zeros(len(table))
    for tree, seen in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        unseen = ~np.isin(np.arange(len(table)), seen)
        total += tree.predict(stacked).reshape(total.shape) * unseen
        count += unseen
    errors = ((total / count - target) ** 2).sum(1)
    r2 = 1 - errors / ((target - target.mean()) ** 2).sum()
    return r2[0], (r2[0] - r2[1:]).reshape(table.shape[1], _REPEATS)
