import copy
import importlib.util
import math
import random
import sys
import warnings

import keras
import pytest

from tests.conftest import ROOT
from zoo.callbacks import findings
from zoo.data import sample

NUMBERS = {
    "gradient_norm": 1.0,
    "gradient_norm_max": 2.0,
    "update_ratio": 0.001,
    "update_norm": 0.01,
    "weight_norm": 10.0,
    "start_norm": 10.0,
    "first_update": 0.01,
    "largest_component": 0.5,
    "zero_share": 0.0,
    "nonfinite": 0.0,
    "nonfinite_step": 0,
    "first_norm": 1.0,
}
HEALTHY = {
    "epoch": 1,
    "loss": 1.0,
    "model": {"details": 6},
    "layers": {name: dict(NUMBERS) for name in ("first", "second", "third")},
    "unconnected": [],
    "alike": [],
    "dead": {"first": 0.1},
    "saturated": {"second": 0.1},
}


def epochs(*changes):
    """Return an epoch for each dict of changes: "layer.key" or "key" -> value."""
    records = []
    for number, change in enumerate(changes, start=1):
        record = copy.deepcopy(HEALTHY) | {"epoch": number}
        for key, value in change.items():
            layer, _, number_key = key.partition(".")
            if number_key:
                record["layers"][layer][number_key] = value
            else:
                record[key] = value
        records.append(record)
    return records


def verdicts(*changes):
    return [finding.verdict for finding in findings.find(epochs(*changes))]


def all_layers(key, value):
    return {f"{layer}.{key}": value for layer in HEALTHY["layers"]}


def large_first(gradient, update):
    return {"second.first_norm": gradient, "second.first_update": update}


def slow(ratio, loss=1.0):
    return {**all_layers("update_ratio", ratio), "loss": loss}


@pytest.mark.parametrize(
    "changes, expected",
    [
        ([], []),
        ([{}], []),
        ([{}, {}], []),
        # The thresholds, from both sides.
        ([{"first.gradient_norm": 1.01e-3}], []),
        ([{"first.gradient_norm": 0.99e-3}], ["vanishing gradients"]),
        ([{"first.gradient_norm": 0.99e-3}, {}], ["vanishing gradients"]),
        ([{"third.gradient_norm": 0.99e-3}], []),  # smaller towards the output
        ([{"second.gradient_norm": 0.99e-3}], []),  # a head beside a larger one
        ([{"first.gradient_norm": None}], []),
        ([large_first(1001.0, 11.0)], ["exploding gradients"]),
        ([large_first(999.0, 11.0)], []),
        ([large_first(1001.0, 9.0)], []),  # the optimizer normalizes it
        ([{}, large_first(1001.0, 11.0)], []),  # said once, of the first update
        ([all_layers("update_norm", 4.9)], []),
        ([all_layers("update_norm", 5.1)], ["learning rate too high"]),
        ([all_layers("update_norm", 5.1), {}], ["learning rate too high"]),
        ([{"second.update_norm": 500.0}], []),  # the median counts
        ([all_layers("start_norm", 0.0)], []),  # no kernels
        ([{**all_layers("update_norm", 50.0), "model": {"details": 5}}], []),
        (
            [
                {**all_layers("update_norm", 9.0), "model": {"details": 3}},
                {**all_layers("update_norm", 1.1), "model": {"details": 3}},
            ],
            ["learning rate too high"],
        ),
        (
            [
                {**all_layers("update_norm", 9.0), "model": {"details": 3}},
                {**all_layers("update_norm", 0.9), "model": {"details": 3}},
            ],
            [],
        ),
        ([slow(5.1e-5)] * 2, []),
        ([slow(4.9e-5)] * 2, ["learning rate too low"]),
        ([slow(4.9e-5)], []),  # one epoch may be a warm-up
        ([slow(4.9e-5), slow(4.9e-5, loss=0.91)], ["learning rate too low"]),
        ([slow(4.9e-5), slow(4.9e-5, loss=0.89)], []),  # it learns all the same
        ([{**slow(4.9e-5), **all_layers("gradient_norm", 0.009)}] * 2, []),  # converged
        ([{}, slow(0.0)], []),  # a schedule that ends at zero
        ([slow(None)] * 2, []),
        ([{"dead": {"first": 0.5}}], []),
        ([{"dead": {"first": 0.51}}], ["dead units"]),
        ([{"dead": {"first": 0.9}}, {}], []),  # they came back
        ([{}, {"dead": {"first": 0.9}}], ["dead units"]),
        ([{"saturated": {"first": 0.51}}], ["saturated units"]),
        ([{}, {"saturated": {"first": 0.51}}], ["saturated units"]),
        ([{"saturated": {"first": 0.51}}, {}], []),
        ([all_layers("gradient_norm_max", 0.0)], ["not learning"]),
        ([{"second.gradient_norm_max": 0.0}], ["not learning"]),
        ([{"second.gradient_norm_max": 0.0}, {}], []),
        ([{}, all_layers("gradient_norm_max", 0.0)], []),  # all is learned
        ([{"unconnected": ["first/kernel"]}], ["not learning"]),
        ([{"alike": ["first/kernel"]}], ["not learning"]),
        ([{"first.nonfinite_step": 7}], ["non-finite gradients"]),
        # Causes hide what follows from them.
        ([{"alike": ["a"], **all_layers("update_norm", 50.0)}], ["not learning"]),
        (
            [large_first(1e6, 50.0) | all_layers("update_norm", 50.0)],
            ["exploding gradients"],
        ),
        (
            [all_layers("update_norm", 50.0) | {"first.gradient_norm": 1e-9}],
            ["learning rate too high"],
        ),
        (
            [{"first.nonfinite_step": 7, "dead": {"first": 1.0}}],
            ["non-finite gradients"],
        ),
        (
            [{"first.nonfinite_step": 7, **all_layers("update_norm", 50.0)}],
            ["non-finite gradients", "learning rate too high"],
        ),
        ([{"dead": {"first": 1.0}, "first.gradient_norm_max": 0.0}], ["dead units"]),
    ],
)
def test_rules(changes, expected):
    assert verdicts(*changes) == expected


def test_a_finding_is_a_sentence_with_evidence_and_remedy():
    (finding,) = findings.find(
        epochs({"first.nonfinite_step": 9, "second.nonfinite_step": 4})
    )
    text = str(finding)
    assert text.startswith("Non-finite gradients: ") and "step 4, in second. " in text
    assert finding.remedy in text and text.endswith(".") and "\n" not in text
    (finding,) = findings.find(
        epochs({"first.gradient_norm": 2e-5, "third.gradient_norm": 3.0})
    )
    assert "2.0e-05 in first, 3.0e+00 in third" in finding.evidence


@pytest.mark.parametrize("seed", range(300))
def test_whatever_was_not_measured_is_no_error(seed):
    rng = random.Random(seed)
    records = epochs({}, {}, {})
    for record in records:
        record["loss"] = rng.choice([1.0, 0.0, math.nan, math.inf])
        for numbers in record["layers"].values():
            for key in set(NUMBERS) - {"nonfinite_step", "start_norm"}:
                numbers[key] = rng.choice([numbers[key], 0.0, None, math.inf])
            numbers["start_norm"] = rng.choice([0.0, 10.0])
    for finding in findings.find(records):
        assert str(finding).endswith(".")


def test_many_layers_are_counted_not_listed():
    names = [f"layer_{n}/kernel" for n in range(30)]
    (finding,) = findings.find(epochs({"alike": names}))
    assert "layer_2/kernel and 27 more" in finding.evidence


def test_every_threshold_stands_in_the_table():
    page = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf8")
    thresholds = {
        "1/1000": findings.VANISHING,
        "100 times": findings.EXPLODING,
        "above 0.5": findings.TOO_HIGH,
        "below 0.00005": findings.TOO_LOW,
        "more than half": findings.UNWELL,
        "6 updates": findings.ENOUGH_DETAILS,
        "less than 10 %": findings.NO_PROGRESS,
    }
    assert list(thresholds.values()) == [1e-3, 100, 0.5, 5e-5, 0.5, 6, 0.1]
    for text in thresholds:
        assert text in page, text


@pytest.fixture(scope="module")
def gallery():
    """Return `benchmarks/verdicts.py`, which stands beside its own helpers."""
    path = ROOT / "benchmarks" / "verdicts.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("verdicts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(path.parent))


PATIENTS = (
    "10 sigmoid layers",
    "30 ReLU layers, Xavier",
    "cnn, learning rate × 1000",
    "mlp, learning rate × 1000",
    "all biases -10",
    "zero initialization, ReLU",
    "zero initialization, sigmoid",
    "20 linear layers, gain 2",
    "20 linear layers, gain 1.5",
    "a NaN among the pixels",
    "a detached branch",
    "tanh, weights of size 1",
    "learning rate / 1000",
)


@pytest.mark.parametrize("patient", PATIENTS)
def test_the_gallery_gets_its_verdicts(gallery, patient):
    assert set(gallery.BROKEN) == set(PATIENTS)
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gradients do not exist")
        found = gallery.broken(
            patient, *_sample(), epochs=6 if "rate" in patient else 1
        )
    assert gallery.BROKEN[patient][0] in found


def _sample():
    (x, y), _ = sample.load()
    return x[:1024], y[:1024]


def test_a_healthy_network_gets_none(gallery):
    keras.utils.set_random_seed(0)
    model = gallery.dense_stack(2, "relu", "he_normal")
    monitor = gallery.GradientMonitor(_sample()[0][:64])
    model.fit(*_sample(), batch_size=32, epochs=2, verbose=0, callbacks=[monitor])
    assert monitor.findings == []
