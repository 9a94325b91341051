"""From the numbers of a training to verdicts: what is wrong, the evidence, the remedy.

Thresholds, and where they come from. "Measured" is `benchmarks/verdicts.py`: the gallery
of broken networks and the healthy recipes.

| verdict | when | source |
|---|---|---|
| non-finite gradients | a NaN or an infinity, at any step | - |
| not learning | a layer's gradient is zero at every step of an epoch, or no path leads to it, or all its units have the same weights | Rumelhart et al. 1986, on breaking symmetry |
| dead units | half of a layer's or more | CS231n notes, "Neural Networks 1": 40 % die at too high a rate |
| saturated units | half of a layer's or more | Glorot and Bengio 2010, section 3 |
| vanishing gradients | a layer's mean norm is below 1/1000 of a later layer's | Glorot and Bengio 2010, figure 7; measured: healthy 1/60, broken below 1/5000 |
| exploding gradients | a layer's gradient is 100 times its weights, and the learning rate is not to blame | Pascanu et al. 2013; measured: healthy 2, broken 40,000 |
| learning rate too high | update ratio, median over layers, above 0.1 | CS231n notes, "Neural Networks 3": about 0.001 is right |
| learning rate too low | that median below 0.00005 in all epochs | the same; measured: healthy 0.0015, at a 1000th of the rate 0.00003 |
"""  # noqa: E501

import statistics
from typing import NamedTuple

VANISHING = 1e-3
EXPLODING = 100
TOO_HIGH = 0.1
TOO_LOW = 5e-5
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
    exploding, too_high = _exploding(epochs[0], "first_norm"), _too_high(epochs)
    causes += exploding or too_high
    if _nonfinite(epochs):
        return causes
    if not causes:
        causes += _vanishing(epochs)
        for record in epochs:
            causes = causes or _exploding(record, "gradient_norm_max")
    units = _unwell(epochs[-1], "dead") + _unwell(epochs[-1], "saturated")
    return causes + units or _no_gradient(epochs[-1]) or _too_low(epochs)


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


def _no_gradient(record):
    layers = record["layers"].items()
    names = [name for name, numbers in layers if numbers["gradient_norm_max"] == 0]
    if not names:
        return []
    return [
        Finding(
            "not learning",
            f"the gradient is exactly zero at every step of epoch {record['epoch']} in "
            f"{_listed(names)}",
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
    shares = {name: share for name, share in record[kind].items() if share >= UNWELL}
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
        for index, (name, norm) in enumerate(norms):
            later, most = max(norms[index:], key=lambda pair: pair[1])
            if norm < VANISHING * most and (not worst or norm / most < worst[0]):
                worst = norm / most, name, norm, later, most, record["epoch"]
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


def _exploding(record, key):
    ratios = {
        name: numbers[key] / numbers["weight_norm"]
        for name, numbers in record["layers"].items()
        if numbers[key] and numbers["weight_norm"]
    }
    name = max(ratios, key=ratios.get, default=None)
    if name is None or ratios[name] <= EXPLODING:
        return []
    return [
        Finding(
            "exploding gradients",
            f"in epoch {record['epoch']} the gradient of {name} has norm "
            f"{record['layers'][name][key]:.1e}, {ratios[name]:,.0f} times that of its "
            "weights",
            "Scale inputs and targets, initialize with smaller weights (He, Glorot), "
            "add batch normalization, or clip (clipnorm=1)",
        )
    ]


def _update_ratios(epochs):
    medians = {}
    for record in epochs:
        ratios = [numbers["update_ratio"] for numbers in record["layers"].values()]
        ratios = [ratio for ratio in ratios if ratio is not None]
        if ratios:
            medians[record["epoch"]] = statistics.median(ratios)
    return medians


def _too_high(epochs):
    medians = _update_ratios(epochs)
    epoch = max(medians, key=medians.get, default=None)
    if epoch is None or medians[epoch] <= TOO_HIGH:
        return []
    return [
        Finding(
            "learning rate too high",
            f"in epoch {epoch} the mean update of half of the layers is "
            f"{medians[epoch]:.2g} times their weights or more; 0.001 is usual",
            "Divide the learning rate by 10 and look again, or find it with "
            "LearningRateFinder",
        )
    ]


def _too_low(epochs):
    medians = _update_ratios(epochs)
    if not medians or max(medians.values()) >= TOO_LOW:
        return []
    return [
        Finding(
            "learning rate too low",
            f"in every epoch the mean update of half of the layers is "
            f"{max(medians.values()):.1e} times their weights or less; 0.001 is usual",
            "Multiply the learning rate by 10 and look again, or find it with "
            "LearningRateFinder",
        )
    ]


def _listed(names):
    shown = ", ".join(names[:3])
    more = len(names) - 3
    return shown if more <= 0 else f"{shown} and {more} more"
