"""From the numbers of a training to verdicts: what is wrong, the evidence, the remedy.

The table in `docs/callbacks.md` says where the thresholds come from.
"""

import math
import statistics
from typing import NamedTuple

VANISHING = 1e-3
EXPLODING = 100
TOO_HIGH = 0.5
ENOUGH_DETAILS = 6
TOO_LOW = 5e-5
NO_PROGRESS = 0.1
STILL_STEEP = 1e-3
UNWELL = 0.5


class Finding(NamedTuple):
    """A verdict on a training; as a string, one sentence with evidence and remedy.

    Attributes:
        verdict: what is wrong, e.g. `"vanishing gradients"`.
        evidence: the numbers that say so.
        remedy: what to do about it.
    """

    verdict: str
    evidence: str
    remedy: str

    def __str__(self):
        return f"{self.verdict.capitalize()}: {self.evidence}. {self.remedy}."


def find(epochs: list[dict]) -> list[Finding]:
    """Return what is wrong, given the `epochs` of a `GradientMonitor`."""
    if not epochs:
        return []
    causes = [*_nonfinite(epochs), *_unconnected(epochs), *_alike(epochs)]
    if _alike(epochs):
        return causes  # what else is seen follows from that
    causes += _exploding(epochs[0]) or _too_high(epochs)
    if _nonfinite(epochs):
        return causes
    if not causes:
        causes += _vanishing(epochs)
    units = _unwell(epochs[-1], "dead") + _unwell(epochs[-1], "saturated")
    return causes + units or _no_gradient(epochs) or _too_low(epochs)


def _nonfinite(epochs):
    first = {n: v["nonfinite_step"] for n, v in epochs[-1]["layers"].items()}
    steps = [step for step in first.values() if step]
    if not steps:
        return []
    layers = [name for name, step in first.items() if step == min(steps)]
    return [
        Finding(
            "non-finite gradients",
            f"NaN or infinite first at step {min(steps)}, in {_listed(layers)}",
            "Look for NaN and infinity in the data and for a division by zero or a "
            "logarithm of zero in the loss; else lower the learning rate or clip the "
            "gradients (clipnorm=1)",
        )
    ]


def _unconnected(epochs):
    names = epochs[-1]["unconnected"]
    if not names:
        return []
    return [
        Finding(
            "not learning",
            f"no path leads from the loss to {_listed(names)}",
            "Connect it, take out what detaches it (stop_gradient, argmax, rounding), "
            "or freeze it with trainable=False",
        )
    ]


def _alike(epochs):
    names = epochs[-1]["alike"]
    if not names:
        return []
    return [
        Finding(
            "not learning",
            f"all units have the same weights in {_listed(names)}, so they compute and "
            "learn the same",
            "Initialize the kernel at random (glorot_uniform, he_normal), not with a "
            "constant",
        )
    ]


def _no_gradient(epochs):
    names = [
        name
        for name in epochs[-1]["layers"]
        if not any(record["layers"][name]["gradient_norm_max"] for record in epochs)
    ]
    if not names:
        return []
    return [
        Finding(
            "not learning",
            f"the gradient has been exactly zero at every step in {_listed(names)}",
            "Look at what comes after it: dead units, zero weights, a loss that does "
            "not depend on it",
        )
    ]


_UNIT_REMEDIES = {
    "dead": "Use a lower learning rate, He initialization with biases at zero, or a "
    "leaky ReLU",
    "saturated": "Scale the inputs, initialize with smaller weights (Glorot), or use "
    "ReLU",
}


def _unwell(record, kind):
    shares = {name: share for name, share in record[kind].items() if share > UNWELL}
    if not shares:
        return []
    return [
        Finding(
            f"{kind} units",
            f"up to {max(shares.values()):.0%} of a layer after epoch "
            f"{record['epoch']}, in {_listed(list(shares))}",
            _UNIT_REMEDIES[kind],
        )
    ]


def _vanishing(epochs):
    worst = None
    for record in epochs:
        norms = [(name, v["gradient_norm"]) for name, v in record["layers"].items()]
        norms = [(name, norm) for name, norm in norms if norm]
        before = 0.0
        for index, (name, norm) in enumerate(norms):
            later, most = max(norms[index:], key=lambda pair: pair[1])
            # All layers before it are small too: it is no head beside a larger one.
            fades = norm < VANISHING * most and before < 10 * VANISHING * most
            if fades and (not worst or norm / most < worst[0]):
                worst = norm / most, name, norm, later, most, record["epoch"]
            before = max(before, norm)
    if not worst:
        return []
    _, name, norm, later, most, epoch = worst
    return [
        Finding(
            "vanishing gradients",
            f"in epoch {epoch} the mean norm is {norm:.1e} in {name}, {most:.1e} in "
            f"{later}",
            "Use ReLU, He initialization, batch normalization, residual connections "
            "or fewer layers",
        )
    ]


def _exploding(record):
    # Of the first update alone: later ones have the learning rate to blame. A large
    # gradient that the optimizer normalizes or clips is no illness.
    ratios = {}
    for name, numbers in record["layers"].items():
        update = _over(numbers["first_update"], numbers["start_norm"])
        if update is not None and update > 1:
            ratios[name] = _over(numbers["first_norm"], numbers["start_norm"]) or 0
    name = max(ratios, key=ratios.get, default=None)
    if name is None or ratios[name] <= EXPLODING:
        return []
    return [
        Finding(
            "exploding gradients",
            f"at the first update the gradient of {name} has norm "
            f"{record['layers'][name]['first_norm']:.1e}, {ratios[name]:,.0f} times "
            "that of its weights",
            "Scale inputs and targets, initialize with smaller weights (He, Glorot), "
            "add batch normalization, or clip (clipnorm=1)",
        )
    ]


def _too_high(epochs):
    # Sizes of updates against those that the weights started with: later a high rate
    # has made the weights large too. Of a few updates the mean says little.
    sizes, details = [], 0
    for record in epochs:
        layers = record["layers"].values()
        ratios = [_over(v["update_norm"], v["start_norm"]) for v in layers]
        ratios = [ratio for ratio in ratios if ratio is not None]
        if ratios:
            sizes.append((statistics.median(ratios), record["model"]["details"]))
            details += record["model"]["details"]
        if details >= ENOUGH_DETAILS:
            mean = sum(size * weight for size, weight in sizes) / details
            if mean > TOO_HIGH:
                return [_too_high_at(record["epoch"], mean)]
            sizes, details = [], 0
    return []


def _too_high_at(epoch, mean):
    return Finding(
        "learning rate too high",
        f"up to epoch {epoch} the mean update of half of the layers is {mean:.2g} "
        "times the weights that they started with; 0.001 is usual",
        "Divide the learning rate by 10 and look again, or find it with "
        "LearningRateFinder",
    )


def _too_low(epochs):
    if len(epochs) < 2:
        return []
    ratios, slopes = [], []
    for record in epochs:
        layers = record["layers"].values()
        ratios.append([v["update_ratio"] for v in layers])
        slopes.append([_over(v["gradient_norm"], v["start_norm"]) for v in layers])
    ratios, slopes = _medians(ratios), _medians(slopes)
    first, last = epochs[0]["loss"], epochs[-1]["loss"]
    progress = (first - last) / abs(first) if first else math.nan
    if not ratios or max(ratios) >= TOO_LOW:
        return []
    if not slopes or min(slopes) < STILL_STEEP:
        return []
    if not progress < NO_PROGRESS:  # it learns all the same, or there is no loss
        return []
    return [
        Finding(
            "learning rate too low",
            f"in every epoch the mean update of half of the layers is "
            f"{max(ratios):.1e} times their weights or less; 0.001 is usual",
            "Multiply the learning rate by 10 and look again, or find it with "
            "LearningRateFinder",
        )
    ]


def _medians(rows):
    rows = [[value for value in row if value is not None] for row in rows]
    return [statistics.median(row) for row in rows if row]


def _over(value, scale):
    return value / scale if value is not None and scale else None


def _listed(names):
    shown = ", ".join(names[:3])
    more = len(names) - 3
    return shown if more <= 0 else f"{shown} and {more} more"
