"""The numbers that a search may be asked for; to check them takes no TensorFlow."""

from zoo.errors import integer, number, positive_integer


def check(
    trials: int,
    retrains: int,
    seed: int,
    max_minutes: float | None,
    final_seeds: int = 0,
) -> None:
    """Raise a `ZooError` if one of the numbers of a search is impossible.

    Args:
        trials: how many configurations to try.
        retrains: trainings of each, on seeds one after the other.
        seed: of the first of them.
        max_minutes: when no further trial begins; `None` for no limit.
        final_seeds: how many seeds more are used in the end.
    """
    positive_integer("trials", trials)
    positive_integer("retrains", retrains)
    integer("final_seeds", final_seeds, least=0)
    integer("seed", seed, least=0, below=2**32 - retrains - final_seeds)
    if max_minutes is not None:
        number("max_minutes", max_minutes, above=0)
