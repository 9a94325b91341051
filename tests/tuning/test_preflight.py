import keras
import numpy as np
import pytest

from zoo import ZooError
from zoo.tuning import memory, preflight


class Problem:
    """Dense layers of up to 64 units; `wrong` and `fails` name what is to go wrong."""

    def __init__(self, most=64, wrong=None, fails=None, validation=True):
        self.most, self.wrong, self.fails = most, wrong, fails
        self.validation, self.trained = validation, []

    def build(self, hp):
        units = hp.Int("units", 4, self.most)
        layers = hp.Int("layers", 1, 2)
        activation = hp.Choice("activation", ["relu", "tanh"])
        hp.Choice("batch", [8, 2, 4])
        rate = hp.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-3)
        if self.wrong and self.wrong.items() <= hp.values.items():
            raise TypeError("this cannot be built")
        model = keras.Sequential([keras.Input((3,))])
        for _ in range(layers):
            model.add(keras.layers.Dense(units, activation))
        model.add(keras.layers.Dropout(0.5))
        model.add(keras.layers.Dense(1))
        model.compile(keras.optimizers.Adam(rate), "mse", metrics=["mae"])
        return model

    def batch_size(self, hp):
        return hp.get("batch")

    def one_batch(self, hp, model):
        self.trained.append(dict(hp.values))
        if self.fails and self.fails.items() <= hp.values.items():
            raise OSError("this cannot be trained")
        batch = np.zeros((hp.get("batch"), 3)), np.zeros((hp.get("batch"), 1))
        validation = batch if self.validation else None
        history = model.fit(*batch, validation_data=validation, verbose=0).history
        return {name: values[-1] for name, values in history.items()}


SMALLEST = {"units": 4, "layers": 1, "activation": "relu", "batch": 2, "rate": 1e-3}
LARGEST = {"units": 64, "layers": 2, "activation": "relu", "batch": 8, "rate": 1e-3}


def test_the_smallest_and_the_largest_are_found_and_trained():
    problem = Problem()
    found = preflight.check(problem, "val_mae")
    assert problem.trained == [SMALLEST, LARGEST]
    assert found.smallest.values == SMALLEST and found.largest.values == LARGEST
    assert found.smallest.parameters == 3 * 4 + 4 + 5
    assert found.largest.parameters == 3 * 64 + 64 + 64 * 64 + 64 + 65
    assert (found.smallest.batch_size, found.largest.batch_size) == (2, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": 64, "layers": 2, "batch": 8},
        {"units": 4, "layers": 1, "batch": 2},
        {"activation": "tanh"},  # a choice of neither
    ],
)
def test_a_build_that_fails_is_found_before_any_training(wrong):
    problem = Problem(wrong=wrong)
    with pytest.raises(ZooError, match="build: TypeError: this cannot be built") as e:
        preflight.check(problem, "val_mae")
    for name, value in wrong.items():
        assert f"{name}={value!r}" in str(e.value)
    assert "\n" not in str(e.value)
    assert isinstance(e.value.__cause__, TypeError)
    assert problem.trained == []


@pytest.mark.parametrize("fails", [SMALLEST, LARGEST])
def test_a_training_that_fails_is_found(fails):
    with pytest.raises(ZooError, match="fit: OSError: this cannot be trained") as e:
        preflight.check(Problem(fails=fails), "val_mae")
    assert f"units={fails['units']}, layers={fails['layers']}" in str(e.value)
    assert isinstance(e.value.__cause__, OSError)


@pytest.mark.parametrize(
    "objective, hint",
    [("val_mse", " Did you mean 'val_mae'?"), ("mae", ""), ("x", "")],
)
def test_an_objective_that_validation_does_not_log_is_refused(objective, hint):
    problem = Problem()
    with pytest.raises(ZooError, match="one of val_loss, val_mae. Received") as error:
        preflight.check(problem, objective)
    assert hint in str(error.value)
    assert problem.trained == [SMALLEST]


def test_an_objective_of_several_numbers_is_refused():
    class Vector(Problem):
        def one_batch(self, hp, model):
            return {"val_f1_score": np.zeros(3)}

    with pytest.raises(ZooError, match="val_f1_score must be one number.* logs 3 of"):
        preflight.check(Vector(), "val_f1_score")


def test_a_model_that_cannot_be_counted_is_blamed():
    class Unbuilt(Problem):
        def build(self, hp):
            model = keras.Sequential([keras.layers.Dense(hp.Int("units", 1, 2))])
            model.compile("sgd", "mse")
            return model

    with pytest.raises(ZooError, match="would fail in build: ValueError: .*isn't"):
        preflight.check(Unbuilt(), "val_loss")


def test_without_validation_there_is_no_objective():
    with pytest.raises(ZooError, match="validation data. What is logged: loss, mae"):
        preflight.check(Problem(validation=False), "val_mae")


def test_what_is_too_large_is_told_and_not_allocated():
    problem = Problem(most=10**7)  # two layers: 400 TB of weights
    with pytest.raises(ZooError, match="units=10000000, layers=2") as error:
        preflight.check(problem, "val_mae")
    # 3 n + n + n² + n + n + 1 weights; each with its gradient and two slots of Adam
    assert "100,000,060,000,001 parameters, batches of 8" in str(error.value)
    assert "1,600,00" in str(error.value)
    assert "rate=" not in str(error.value) and "\n" not in str(error.value)
    assert problem.trained == []
    with keras.StatelessScope():  # its end allocates what Keras was told of
        pass
    assert keras.layers.Dense(1)(np.ones((1, 1))).shape == (1, 1)


@pytest.mark.parametrize("free, fits", [(84_063, False), (84_064, True)])
def test_what_is_free_decides(free, fits, monkeypatch):
    # 4 · 4 bytes for each of 4,481 weights, a seed of 16, and 8 · 8 for 193 outputs.
    monkeypatch.setattr(memory, "available", lambda: free)
    if fits:
        preflight.check(Problem(), "val_mae")
    else:
        with pytest.raises(ZooError, match="memory or more .* 0.0 GB are free"):
            preflight.check(Problem(), "val_mae")


def test_hyper_parameters_that_only_some_models_have_are_moved_too():
    class Layered(Problem):
        def build(self, hp):
            hp.Choice("batch", [2])
            model = keras.Sequential([keras.Input((3,))])
            for index in range(hp.Int("layers", 1, 3)):  # names appear as it grows
                model.add(keras.layers.Dense(hp.Int(f"units_{index}", 2, 9, step=3)))
            hp.Choice("head", ["none", "wide"])
            with hp.conditional_scope("head", ["wide"]):
                head = hp.Int("head_units", 1, 5)
            if head:
                model.add(keras.layers.Dense(head))
            model.compile("sgd", "mse")
            return model

        def one_batch(self, hp, model):
            return {"val_loss": 0.0}

    found = preflight.check(Layered(), "val_loss")
    widths = {"units_0": 8, "units_1": 8, "units_2": 8}  # 2, 5, 8: never 9
    assert found.largest.values == {
        "batch": 2, "layers": 3, **widths, "head": "wide", "head_units": 5,
    }  # fmt: skip
    assert found.smallest.values == {
        "batch": 2, "layers": 1, "units_0": 2, "head": "none",
    }  # fmt: skip


def test_a_build_that_reads_its_weights_is_sized_as_well():
    class Reading(Problem):
        def build(self, hp):
            model = super().build(hp)
            model.set_weights(model.get_weights())
            return model

    assert preflight.check(Reading(), "val_mae").largest.values == LARGEST


def test_needed_memory_by_hand():
    x = inputs = keras.Input((2,))
    x = keras.layers.Dense(3)(x)
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model = keras.Model(inputs, inner(x))
    weights, outputs = 2 * 3 + 3 + 3 * 4 + 4, 2 + 3 + 4 + 4  # the inner model's again
    for optimizer, slots in (("sgd", 0), ("adam", 2), ("rmsprop", 1)):
        model.compile(optimizer, "mse")
        expected = 4 * weights * (1 + 1 + slots) + 10 * 2 * 4 * outputs
        assert memory.needed(model, 10) == expected


def test_a_frozen_layer_needs_no_gradient():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    assert memory.needed(model, 1) == 4 * 9 + 2 * 4 * 3


def test_counted_models_have_no_values():
    with memory.shapes_alone():
        model = keras.Sequential([keras.Input((10**6,)), keras.layers.Dense(10**6)])
    assert model.count_params() == 10**12 + 10**6
    before = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    assert np.isfinite(before.get_weights()[0]).all()  # of a model built after it


def test_a_control_group_limits_what_is_available(tmp_path):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder, limit, used, cache in (
        (inner, "max", 5, 0),
        (tmp_path / "outer", "1000", 700, 200),
    ):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/outer/inner\n")
    assert list(memory._left_in_cgroups(tmp_path, own)) == [500]
    assert list(memory._left_in_cgroups(tmp_path, tmp_path / "none")) == []


def test_available_memory_is_that_of_the_machine_without_a_gpu(monkeypatch):
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: [10**18, 123])
    monkeypatch.setattr(memory.tf.config, "list_physical_devices", lambda kind: [])
    assert memory.available() == 123
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: [])
    assert 10**6 < memory.available() < 10**15
    monkeypatch.setattr(memory.tf.config, "list_physical_devices", lambda kind: [kind])
    assert memory.available() is None
