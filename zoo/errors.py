"""The one kind of error that a user can mend."""

import difflib
import math
import numbers
from collections.abc import Iterable


class ZooError(ValueError):
    """What was asked cannot be done; the message is one line that says what to do.

    The command line prints the message alone; every other exception is a defect
    of ours and keeps its traceback.

    Attributes:
        exit_code: of the program that ends with it.
    """

    exit_code = 2


class Diverged(ZooError):
    """A loss or a gradient became infinite or NaN."""


class WorkerLost(ZooError):
    """Another worker of the training is gone; to start all of them again may help."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


def unknown(what: str, name: object, known: Iterable[str]) -> ZooError:
    """Return the error for a `name` that is not among the `known` ones.

    Args:
        what: what the name stands for, e.g. `"recipe"` or `"activation"`.
        name: what was passed.
        known: the valid names.

    Example:
        >>> print(unknown("model", "cn", ["cnn", "mlp"]))
        model must be one of cnn, mlp. Received: 'cn'. Did you mean 'cnn'?
    """
    known = list(known)
    message = f"{what} must be one of {', '.join(known)}. Received: {name!r}."
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return ZooError(message + (f" Did you mean {close[0]!r}?" if close else ""))


def integer(name: str, value: object, *, least: int, below: int | None = None) -> int:
    """Return `value` if it is an integer in range; raise otherwise."""
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or value < least
        or (below is not None and value >= below)
    ):
        wanted = "a positive integer" if least == 1 else f"an integer, at least {least}"
        wanted += "" if below is None else f" and below {below}"
        raise ZooError(f"{name} must be {wanted}. Received: {name}={value!r}")
    return int(value)


def positive_integer(name: str, value: object) -> int:
    """Return `value` if it is an integer above 0; raise otherwise."""
    return integer(name, value, least=1)


def number(name: str, value: object, *, above=None, least=None, below=None) -> float:
    """Return `value` if it is a finite number in range; raise otherwise.

    Args:
        name: of the argument, for the message.
        value: what was passed.
        above: it must be greater than this.
        least: it must be this or greater.
        below: it must be less than this.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Real)
        or not math.isfinite(value)
        or (above is not None and not value > above)
        or (least is not None and not value >= least)
        or (below is not None and not value < below)
    ):
        bounds = {"above": above, "at least": least, "below": below}
        wanted = [f"{word} {v}" for word, v in bounds.items() if v is not None]
        wanted = " and ".join(wanted) or "a finite number"
        raise ZooError(f"{name} must be {wanted}. Received: {name}={value!r}")
    return value
