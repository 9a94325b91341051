"""A model of one's own, and its data: what is taken, and what tells it apart."""

import functools

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from zoo import ZooError
from zoo.tuning import preflight
from zoo.tuning.model import ModelProblem

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype("float32")
Y = X.sum(1, keepdims=True)
DATA, VALIDATION = (X[:8], Y[:8]), (X[8:], Y[8:])


def compiled(model):
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def build(hp):
    layers = [keras.layers.Dense(hp.Int("units", 1, 4)), keras.layers.Dense(1)]
    return compiled(keras.Sequential([keras.Input((3,)), *layers]))


def without_input(hp):
    units = hp.Int("units", 1, 4)
    return compiled(
        keras.Sequential([keras.layers.Dense(units), keras.layers.Dense(1)])
    )


class Subclassed(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.inner, self.outer = keras.layers.Dense(units), keras.layers.Dense(1)

    def call(self, x):
        return self.outer(self.inner(x))


def subclassed(hp):
    return compiled(Subclassed(hp.Int("units", 1, 4)))


def normalized(hp):
    normalization = keras.layers.Normalization()
    normalization.adapt(X[:8])
    layers = [
        normalization,
        keras.layers.Dense(hp.Int("units", 1, 4)),
        keras.layers.Dense(1),
    ]
    return compiled(keras.Sequential([keras.Input((3,)), *layers]))


def two_inputs(hp):
    inputs = {name: keras.Input((3,), name=name) for name in ("a", "b")}
    x = keras.layers.concatenate(list(inputs.values()))
    x = keras.layers.Dense(hp.Int("units", 1, 4))(x)
    return compiled(keras.Model(inputs, keras.layers.Dense(1)(x)))


class Hyper(keras_tuner.HyperModel):
    def __init__(self, most=4):
        super().__init__()
        self.most = most

    def build(self, hp):
        return build(hp)


TWO = [({"a": x, "b": x + 1}, y) for x, y in (DATA, VALIDATION)]
WEIGHTED = [
    (*data, np.arange(len(data[0]), dtype="float32")) for data in (DATA, VALIDATION)
]


@pytest.mark.parametrize(
    ("build", "data"),
    [
        (without_input, (DATA, VALIDATION)),
        (subclassed, (DATA, VALIDATION)),
        (normalized, (DATA, VALIDATION)),
        (two_inputs, TWO),
        (build, WEIGHTED),
    ],
)
def test_what_is_trained_is_what_fit_trains_by_hand(tmp_path, build, data):
    tried = ModelProblem(build, *data, epochs=2, batch_size=4)
    hp = keras_tuner.HyperParameters()
    tried.space(hp)
    assert hp.values == {"units": 1}
    history = tried.train(hp, 0, tmp_path / "trial_0" / "retrain-0").history
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    train = dict(zip(("x", "y", "sample_weight"), data[0], strict=False))
    by_hand = build(hp).fit(
        **train, batch_size=4, epochs=2, validation_data=data[1], verbose=0
    )
    assert history == by_hand.history


def batches(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(4)


def problem(build=build, train=DATA, validation=VALIDATION):
    return ModelProblem(build, train, validation, epochs=1, batch_size=4)


def test_an_unbuilt_model_is_sized_without_values():
    def enormous(hp):
        units = hp.Choice("units", [10**9])  # 16 TB
        layers = [keras.layers.Dense(units) for _ in range(2)]
        return compiled(keras.Sequential(layers))

    for data in (DATA, batches(*DATA)):
        with pytest.raises(ZooError, match="1,000,000,005,000,000,000 parameters"):
            preflight.check(problem(enormous, data), "val_loss")


def test_a_hyper_model_is_built():
    assert problem(Hyper()).name == "Hyper"
    assert preflight.check(problem(Hyper()), "val_loss").largest.values == {"units": 4}


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (None, "NoneType"),
        (list(DATA), "list"),
        ((example for example in [DATA]), "generator"),
        (X, r"ndarray of shape \(12, 3\)"),
        ((X,), r"\(ndarray of shape \(12, 3\)\)"),
        ((X, None), r"\(ndarray of shape \(12, 3\), NoneType\)"),
        ((X.tolist(), Y.tolist()), r"\(list, list\)"),
        ((X, Y[1:]), r"\(.*\(12, 3\), ndarray of shape \(11, 1\)\)"),
        ((X[:0], Y[:0]), r"\(.*\(0, 3\), ndarray of shape \(0, 1\)\)"),
        (batches(*DATA).take(0), "a dataset of 0 batches"),
    ],
)
def test_what_is_no_data_is_refused(data, received):
    for name in ("train", "validation"):
        with pytest.raises(ZooError, match=f"^{name} must .* Received: {received}$"):
            problem(**{name: data})


def test_data_that_never_end_are_refused():
    with pytest.raises(ZooError, match=r"train never ends: .* train\.take\(steps\)"):
        problem(train=batches(*DATA).repeat())


def test_a_batch_size_that_a_dataset_would_not_heed_is_refused():
    def searched(hp):
        hp.Choice("batch_size", [2, 4])
        return build(hp)

    problem(searched).space(keras_tuner.HyperParameters())
    with pytest.raises(ZooError, match="batch_size is searched, but train is a data"):
        problem(searched, batches(*DATA)).space(keras_tuner.HyperParameters())


def data_of(train):
    return problem(train=train).facts()["data"][0]


def ragged(last):
    lists = tf.ragged.constant([[1.0], [2.0, last]])
    return tf.data.Dataset.from_tensors((lists, np.ones(2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda last: (np.array([1.0, last]), np.ones(2)),
        lambda last: (np.array(["a", f"b{last}"], object), np.ones(2)),
        lambda last: (np.ones(2), np.ones(2), np.array([1.0, last])),
        lambda last: ({"a": np.ones(2), "b": np.array([1.0, last])}, np.ones(2)),
        lambda last: batches(np.array([1.0] * 9 + [last]), np.ones(10)),
        lambda last: batches(np.array(["a", f"b{last}"]), np.ones(2)),
        ragged,
    ],
)
def test_every_number_of_the_data_tells_them_apart(make):
    assert data_of(make(3.0)) == data_of(make(3.0)) != data_of(make(4.0))


def test_of_data_in_another_order_each_time_the_form_counts():
    shuffled = batches(np.arange(64.0), np.ones(64)).shuffle(64)
    assert data_of(shuffled) == data_of(shuffled)
    assert "16 batches" in data_of(shuffled)


def code_of(build):
    return problem(build).facts()["code"]


def test_what_is_bound_to_a_function_tells_it_apart():
    def bound(hp, units):
        return build(hp)

    def around(units):
        return lambda hp: bound(hp, units)

    for make in (
        around,
        lambda units: functools.partial(bound, units=units),
        lambda units: functools.partial(bound, units=np.array([units])),
        lambda units: Hyper(most=units),
        lambda units: Hyper(most={"units": [units]}).build,
    ):
        assert code_of(make(2)) == code_of(make(2)) != code_of(make(9))


SCRIPT = """
UNITS = 2

class Head:
    @staticmethod
    def width():
        return 5

def helper():
    return UNITS

def build(hp):
    return [helper() + Head.width() for _ in range(3)]

def unrelated():
    return 7
"""


def script(old="", new=""):
    """Return the function of a script, or of a notebook's cells, after a change."""
    assert old in SCRIPT
    names = {"__name__": "__main__"}
    exec(SCRIPT.replace(old, new, 1), names)
    return names["build"]


@pytest.mark.parametrize(
    "change",
    [
        ("UNITS = 2", "UNITS = 3"),
        ("return 5", "return 6"),
        ("range(3)", "range(4)"),
        ("return UNITS", "return -UNITS"),
    ],
)
def test_a_change_of_what_build_refers_to_is_seen(change):
    assert code_of(script()) != code_of(script(*change))


@pytest.mark.parametrize(
    "change", [("return 7", "return 8"), ("UNITS = 2", "# two of them\nUNITS = 2")]
)
def test_a_change_of_the_rest_of_the_file_is_not(change):
    assert code_of(script()) == code_of(script(*change))
