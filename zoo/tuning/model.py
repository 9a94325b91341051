"""A Keras model of one's own as what is searched: `zoo.tuning.search`."""

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

import keras
import keras_tuner
import tensorflow as tf

from zoo.errors import ZooError, positive_integer
from zoo.tuning import identity, memory, progress, searching
from zoo.tuning.records import EPOCHS, Search
from zoo.tuning.searching import Options
from zoo.tuning.trials import Training


def search(
    build: Callable[[keras_tuner.HyperParameters], keras.Model]
    | keras_tuner.HyperModel,
    train,
    validation,
    *,
    tuner: str = "random",
    objective: str | keras_tuner.Objective = "val_accuracy",
    trials: int = 30,
    retrains: int = 1,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    max_minutes: float | None = None,
    directory: str | Path = "tuning/search",
    fork: bool = False,
) -> Search | None:
    """Search for the hyper-parameters of a Keras model, with Keras Tuner.

    The same call goes on where a killed one stopped, to the bit; another search in the
    directory is refused. Before the first trial the smallest and the largest model of
    the space are tried. `zoo tune report DIRECTORY` makes a page of it at any time.

    What tells two searches apart is the arguments, the space, every number of the data,
    and the code of `build` with all of yours that it refers to: functions, classes,
    numbers, lists, arrays. Not seen are the libraries' versions, what their objects
    hold (the weights of a model that `build` takes over), what is found by its name as
    the program runs (`getattr`, a file that `build` reads), and the numbers of a
    dataset whose first batch is another each time: there the form and the length count.

    Args:
        build: `build(hp)` returns a compiled model, as for Keras Tuner. If it declares
            `epochs` or, for arrays, `batch_size` with `hp`, those are what the trial
            trains with; with `"hyperband"`, the epochs that it has chosen. Of a
            `HyperModel` only `build` is called, never `fit`.
        train: `(x, y)` or `(x, y, sample_weight)`, of arrays, of which each may be a
            dict or a list of several; or a `tf.data.Dataset` of batches of these, of
            one epoch, in the same order each time.
        validation: the same; what the objective is measured on.
        tuner: `"random"`, `"hyperband"`, `"bayesian"`, `"grid"` or `"coarse-to-fine"`.
        objective: what is logged of the validation, `val_...`; the best of the epochs
            counts. For a metric whose direction Keras Tuner does not know a
            `keras_tuner.Objective`.
        trials: how many configurations to try; the first is that of the defaults.
        retrains: trainings of each, with other initial weights: the score is the mean.
        epochs: of each training; with `"hyperband"` the most.
        batch_size: for arrays.
        seed: the same one tries the same and finds the same.
        max_minutes: begin no trial after that, over all parts of the search.
        directory: where it is all written; workers of several machines share it.
        fork: begin beside a directory that holds another search (`directory-2`).

    Returns:
        The search: `.best.values` are the hyper-parameters found, `.best.score` and
        `.best.spread` how good they are on the validation data, which chose them: what
        is found is a little worse on others. `None` on a worker, where the variables
        `KERASTUNER_TUNER_ID`, `_ORACLE_IP` and `_ORACLE_PORT` say that it is one.

    Raises:
        ZooError: (a `ValueError`) an argument is impossible, the directory holds
            something else, a model cannot be trained, or all trials failed.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> def build(hp):
        ...     units = hp.Int("units", 1, 8)
        ...     layers = [keras.layers.Dense(units), keras.layers.Dense(1)]
        ...     model = keras.Sequential([keras.Input((3,)), *layers])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> found = search(build, (x, y), (x, y), objective="val_loss", trials=2,
        ...     epochs=1, directory=tempfile.mkdtemp())  # doctest: +ELLIPSIS
        Search: random, 2 trials, recorded in ...
        >>> sorted(found.best.values)
        ['units']
    """
    problem = ModelProblem(build, train, validation, epochs, batch_size)
    options = Options(tuner, objective, trials, retrains, epochs, seed, max_minutes)
    return searching.run(problem, options, directory, fork)


class ModelProblem:
    """A function that builds a model, and data, as what is searched.

    Args:
        build, train, validation, epochs, batch_size: as for `search`.
    """

    def __init__(self, build, train, validation, epochs, batch_size):
        positive_integer("epochs", epochs)
        positive_integer("batch_size", batch_size)
        self.name = getattr(build, "__name__", type(build).__name__)
        is_hyper_model = isinstance(build, keras_tuner.HyperModel)
        self._build = build.build if is_hyper_model else build
        self._train = _checked("train", train)
        self._validation = _checked("validation", validation)
        self._epochs, self._batch_size = epochs, batch_size

    def facts(self) -> dict:
        """Return what must be the same for a search to go on, by name."""
        return {
            "code": identity.of_code(self._build),
            "data": [identity.of_data(data) for data in self._data],
            "epochs": self._epochs,
            "batch_size": self._batch_size,
        }

    def space(self, hp) -> None:
        """Declare all hyper-parameters."""
        # The preflight has not seen yet what fits.
        memory.sparing(lambda: self._build(hp))
        if "batch_size" in hp.values and not isinstance(self._train, tuple):
            raise ZooError(
                "batch_size is searched, but train is a dataset, in batches already: "
                "pass arrays, or leave it out."
            )

    def build(self, hp) -> keras.Model:
        """Return the compiled model, built for the data."""
        model = self._build(hp)
        if not isinstance(model, keras.Model) or not model.compiled:
            raise ZooError(
                "build(hp) must return a compiled keras.Model: call model.compile in "
                f"it. Received: {type(model).__name__}"
            )
        if not model.built:  # it is subclassed, or has no Input
            model(_symbolic(self._train))
        return model

    def batch_size(self, hp) -> int:
        """Return the examples of a step."""
        if isinstance(self._train, tuple):
            return hp.values.get("batch_size", self._batch_size)
        shape = keras.tree.flatten(self._train.element_spec)[0].shape
        return shape[0] or self._batch_size

    def one_batch(self, hp, model) -> dict:
        """Train and validate on one batch each; return what is logged."""
        model.steps_per_execution = 1
        few = [_first_batch(d, self.batch_size(hp)) for d in self._data]
        return {k: v[-1] for k, v in self._fit(hp, model, *few, 1, []).items()}

    @property
    def _data(self):
        return self._train, self._validation

    def train(self, hp, seed: int, folder: Path) -> Training:
        """Train from the beginning, or on from the checkpoints in the folder."""
        from zoo.callbacks import Resume

        keras.backend.clear_session()
        gc.collect()
        keras.utils.set_random_seed(seed)
        model = self.build(hp)
        epochs = hp.values.get("epochs", self._epochs)
        epochs = hp.values.get(EPOCHS, epochs)
        bar = progress.Bar(folder.parent.name.replace("_", " "))
        resume = Resume(folder, fingerprint={"values": repr(hp.values), "seed": seed})
        before = resume.seconds
        callbacks = [bar, keras.callbacks.TerminateOnNaN(), resume]
        with contextlib.closing(bar):
            history = self._fit(hp, model, *self._data, epochs, callbacks)
        return Training(history, model.count_params(), before)

    def _fit(self, hp, model, train, validation, epochs, callbacks):
        if isinstance(train, tuple):
            names = ("x", "y", "sample_weight")
            data = dict(zip(names, train, strict=False))  # weights or none
            data["batch_size"] = self.batch_size(hp)
        else:
            data = {"x": train, "shuffle": False}  # its order is its own
        return model.fit(
            **data,
            epochs=epochs,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        ).history

    def command(self, values: dict) -> None:
        """Return nothing: there is no command that trains the same."""


def _checked(name, data):
    """Return what `fit` can be given again and again; raise if it is not."""
    if isinstance(data, tf.data.Dataset):
        batches = int(data.cardinality())
        if batches == tf.data.INFINITE_CARDINALITY:
            raise ZooError(f"{name} never ends: give it an end with {name}.take(steps)")
        if batches:
            return data
    elif isinstance(data, tuple) and len(data) in (2, 3):
        shapes = [getattr(each, "shape", ()) for each in keras.tree.flatten(data)]
        lengths = {shape[0] if len(shape) else 0 for shape in shapes}
        if len(lengths) == 1 and lengths != {0}:
            return data
    raise ZooError(
        f"{name} must be a tuple (x, y) or (x, y, sample_weight) of arrays of as many "
        "examples each, one or more, or a tf.data.Dataset of batches of them. "
        f"Received: {_form(data)}"
    )


def _form(data):
    if isinstance(data, tuple):
        return f"({', '.join(map(_form, data))})"
    if isinstance(data, tf.data.Dataset):
        return "a dataset of 0 batches"
    shape = getattr(data, "shape", None)
    return type(data).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")


def _symbolic(data):
    """Return a stand-in for a batch of x, of any size."""
    x = data[0] if isinstance(data, tuple) else data.element_spec[0]
    return keras.tree.map_structure(
        lambda each: keras.KerasTensor(
            (None, *each.shape[1:]), keras.backend.standardize_dtype(each.dtype)
        ),
        x,
    )


def _first_batch(data, batch_size):
    if isinstance(data, tuple):
        return keras.tree.map_structure(lambda array: array[:batch_size], data)
    return data.take(1)
