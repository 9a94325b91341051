import copy
import importlib.util
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
    "weight_norm": 10.0,
    "largest_component": 0.5,
    "zero_share": 0.0,
    "nonfinite": 0.0,
    "nonfinite_step": 0,
    "first_norm": 1.0,
}
HEALTHY = {
    "epoch": 1,
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
        ([{"first.gradient_norm": None}], []),
        ([{"second.first_norm": 999.0}], []),
        ([{"second.first_norm": 1001.0}], ["exploding gradients"]),
        ([{}, {"second.gradient_norm_max": 1001.0}], ["exploding gradients"]),
        ([all_layers("update_ratio", 0.099)], []),
        ([all_layers("update_ratio", 0.101)], ["learning rate too high"]),
        ([{"first.update_ratio": 5.0}], []),  # the median counts
        ([all_layers("update_ratio", 5.1e-5)], []),
        ([all_layers("update_ratio", 4.9e-5)], ["learning rate too low"]),
        ([{}, all_layers("update_ratio", 0.0)], []),  # a schedule that ends at zero
        ([all_layers("update_ratio", None)], []),
        ([{"dead": {"first": 0.49}}], []),
        ([{"dead": {"first": 0.5}}], ["dead units"]),
        ([{"dead": {"first": 0.9}}, {}], []),  # they came back
        ([{"saturated": {"first": 0.5}}], ["saturated units"]),
        ([all_layers("gradient_norm_max", 0.0)], ["not learning"]),
        ([{"second.gradient_norm_max": 0.0}], ["not learning"]),
        ([{"unconnected": ["first/kernel"]}], ["not learning"]),
        ([{"alike": ["first/kernel"]}], ["not learning"]),
        ([{"first.nonfinite_step": 7}], ["non-finite gradients"]),
        # Causes hide what follows from them.
        ([{"alike": ["a"], **all_layers("update_ratio", 1.0)}], ["not learning"]),
        (
            [{"second.first_norm": 1e6, **all_layers("update_ratio", 1.0)}],
            ["exploding gradients"],
        ),
        (
            [{"second.gradient_norm_max": 1e6, **all_layers("update_ratio", 1.0)}],
            ["learning rate too high"],
        ),
        (
            [{"first.nonfinite_step": 7, "dead": {"first": 1.0}}],
            ["non-finite gradients"],
        ),
        (
            [{"first.nonfinite_step": 7, **all_layers("update_ratio", 1.0)}],
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


def test_many_layers_are_counted_not_listed():
    names = [f"layer_{n}/kernel" for n in range(30)]
    (finding,) = findings.find(epochs({"alike": names}))
    assert "layer_2/kernel and 27 more" in finding.evidence


def test_every_threshold_stands_in_the_table():
    for value in ("1/1000", "100 times", "above 0.1", "0.00005", "half of a layer"):
        assert value in findings.__doc__


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
        found = gallery.broken(patient, *_sample(), epochs=1)
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
