"""Training and validation accuracy, read as bias and variance."""

import textwrap
from dataclasses import dataclass
from typing import NamedTuple

from zoo.errors import ZooError, number

HIGH = 0.02  # any threshold above 1 and up to 10 points reads the course's table right


class Reference(NamedTuple):
    """An accuracy that is known to be possible.

    Attributes:
        accuracy: on the official test set, 0 to 1.
        who: what reached it.
        source: where that is published.
    """

    accuracy: float
    who: str
    source: str


REFERENCES = {
    "fashion_mnist": (
        Reference(0.835, "human", "Zalando's README: crowd workers, 1,000 test images"),
        Reference(0.967, "best known", "WRN-40-4, reported in Zalando's README"),
    ),
    "mnist": (
        # Cited so everywhere; the paper itself was not at hand to check the number.
        Reference(0.998, "human", "LeCun et al. 1995, as commonly cited, not checked"),
        Reference(0.9991, "best known", "An et al. 2020, arXiv:2008.10400"),
    ),
    "cifar10": (
        Reference(0.94, "human", "Karpathy 2011: one person, 400 test images"),
        Reference(0.995, "best known", "ViT-H/14, Dosovitskiy et al., ICLR 2021"),
    ),
}
PERFECT = Reference(1.0, "all right", "no reference is known for this data set")

_ADVICE = {
    "bias": "Against bias: a wider or deeper network, more epochs, a better learning "
    "rate, optimizer or architecture, less regularization.",
    "variance": "Against variance: more training images, augmentation, weight decay "
    "(L2) or dropout, early stopping, a smaller network.",
}
_NOTHING = "Neither gap stands out: repeat with other seeds before you tune further."

_VERDICTS = {  # by the gaps that are high
    ("bias",): "high bias (underfitting)",
    ("variance",): "high variance (overfitting)",
    ("bias", "variance"): "high bias and high variance (under- and overfitting)",
    (): "neither high bias nor high variance",
}


@dataclass(frozen=True)
class Diagnosis:
    """What two accuracies say about a training.

    Attributes:
        training: accuracy on training images, 0 to 1.
        validation: accuracy on validation images, 0 to 1.
        reference: what is possible; bias is measured from here.
        bias: reference minus training accuracy; negative above the reference.
        variance: training minus validation accuracy.
        high: which of `"bias"` and `"variance"` are high.
        larger: `"bias"` or `"variance"`: the larger gap, to be closed first.
        verdict: the same in words, e.g. `"high variance (overfitting)"`.
        sentence: the evidence.
        advice: what to try, a sentence for each gap that is high, the larger first.
    """

    training: float
    validation: float
    reference: Reference
    bias: float
    variance: float
    high: tuple[str, ...]
    larger: str
    verdict: str
    sentence: str
    advice: tuple[str, ...]

    def __str__(self):
        lines = [f"Diagnosis: {self.verdict}", self.sentence, *self.advice]
        return "\n".join(textwrap.fill(line, 88) for line in lines)


def diagnose(training: float, validation: float, dataset: str) -> Diagnosis:
    """Read training and validation accuracy as bias and variance.

    Bias is how far training stays below what is possible, variance how far validation
    stays below training; each is high from 2 percentage points on. Against a reference
    of 100 % that reads 99/89 as overfitting, 90/89 as underfitting and 89/78 as both.
    The test set plays no part: it is there to report, not to decide.

    Args:
        training: accuracy on training images, without dropout and augmentation, 0 to 1.
        validation: accuracy of the same weights on validation images, 0 to 1.
        dataset: its name; where `REFERENCES` knows it, the higher of human and best
            known accuracy is the reference, else 100 %.

    Raises:
        ZooError: (a `ValueError`) an accuracy is not a number from 0 to 1.

    Example:
        >>> diagnose(0.99, 0.89, "a new one").verdict
        'high variance (overfitting)'

    Reference:
        Ng, "Machine Learning Yearning", 2018, chapters 20 to 27 (avoidable bias).
    """
    for name, value in {"training": training, "validation": validation}.items():
        if number(name, value, least=0) > 1:
            raise ZooError(f"{name} must be from 0 to 1. Received: {name}={value!r}")
    reference = max(REFERENCES.get(dataset, [PERFECT]))
    bias = round(reference.accuracy - training, 6)  # 1 - 0.98 is a hair above 0.02
    variance = round(training - validation, 6)
    gaps = {"bias": bias, "variance": variance}
    high = tuple(name for name, gap in gaps.items() if gap >= HIGH)
    larger = max(gaps, key=gaps.get)
    advice = tuple(_ADVICE[name] for name in sorted(high, key=gaps.get, reverse=True))
    sentence = (
        f"Training accuracy {training:.1%} is {_points(bias)} the reference of "
        f"{reference.accuracy:.1%} ({reference.who}: {reference.source}); validation "
        f"accuracy {validation:.1%} is {_points(variance)} training. The larger gap is "
        f"{larger}. Validation is read here, not test."
    )
    return Diagnosis(
        training, validation, reference, bias, variance, high, larger,
        _VERDICTS[high], sentence, advice or (_NOTHING,),
    )  # fmt: skip


def _points(gap: float) -> str:
    return f"{abs(gap) * 100:.1f} points {'below' if gap >= 0 else 'above'}"
