import math

import pytest

from zoo import ZooError
from zoo.report import diagnose
from zoo.report.diagnosis import REFERENCES


@pytest.mark.parametrize(
    "training, validation, high, words",
    [
        (0.99, 0.89, ("variance",), "high variance (overfitting)"),
        (0.90, 0.89, ("bias",), "high bias (underfitting)"),
        (0.89, 0.78, ("bias", "variance"), "high bias and high variance"),
        (0.99, 0.98, (), "neither high bias nor high variance"),
        # From 2 points on, whatever floating point makes of 1 - 0.98.
        (0.98, 0.98, ("bias",), "high bias"),
        (0.981, 0.981, (), "neither"),
        (1.0, 0.98, ("variance",), "high variance"),
        (1.0, 0.981, (), "neither"),
    ],
)
def test_reads_the_course_s_table(training, validation, high, words):
    diagnosis = diagnose(training, validation, "a set without a reference")
    assert diagnosis.high == high
    assert diagnosis.verdict.startswith(words)
    assert diagnosis.reference.accuracy == 1
    assert "no reference is known" in diagnosis.sentence
    assert "Validation is read here, not test" in diagnosis.sentence


def test_bias_is_measured_from_the_higher_reference():
    diagnosis = diagnose(0.95, 0.93, "fashion_mnist")
    assert diagnosis.reference.accuracy == 0.967
    assert diagnosis.bias == pytest.approx(0.017)
    assert diagnosis.high == ("variance",)
    assert "1.7 points below the reference of 96.7% (best known" in diagnosis.sentence


def test_above_the_reference_there_is_no_bias():
    diagnosis = diagnose(0.99, 0.96, "fashion_mnist")
    assert diagnosis.bias == pytest.approx(-0.023)
    assert diagnosis.high == ("variance",)
    assert "2.3 points above the reference" in diagnosis.sentence


@pytest.mark.parametrize(
    "training, validation, larger, first",
    [(0.8, 0.7, "bias", "Against bias"), (0.9, 0.7, "variance", "Against variance")],
)
def test_advice_begins_with_the_larger_gap(training, validation, larger, first):
    diagnosis = diagnose(training, validation, "any")
    assert diagnosis.larger == larger
    assert len(diagnosis.advice) == 2 and diagnosis.advice[0].startswith(first)
    assert f"The larger gap is {larger}" in diagnosis.sentence


def test_the_terminal_gets_verdict_evidence_and_advice():
    verdict, *lines = str(diagnose(0.99, 0.89, "any")).splitlines()
    assert verdict == "Diagnosis: high variance (overfitting)"
    assert "10.0 points below training" in " ".join(lines)
    assert lines[-2].startswith("Against variance") and "smaller network" in lines[-1]
    assert max(map(len, lines)) <= 88


def test_every_reference_has_a_source():
    for references in REFERENCES.values():
        for reference in references:
            assert 0.5 < reference.accuracy < 1 and reference.source


@pytest.mark.parametrize("value", [89, -0.1, math.nan, None])
def test_an_accuracy_is_from_0_to_1(value):
    with pytest.raises(ZooError, match="training"):
        diagnose(value, 0.5, "any")
    with pytest.raises(ZooError, match="validation"):
        diagnose(0.5, value, "any")
