"""A Keras model of one's own as what is searched: `zoo.tuning.search`."""

import contextlib
import gc
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from zoo.errors import ZooError, positive_integer
from zoo.tuning import memory, progress, searching
from zoo.tuning.records import Search
from zoo.tuning.searching import Options
from zoo.tuning.trials import Training


def search(
    build: Callable[[keras_tuner.HyperParameters], keras.Model],
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

    Args:
        build: `build(hp)` returns a compiled model, as for Keras Tuner. If it declares
            `epochs` or `batch_size` with `hp`, those are what the trial trains with.
        train: `(x, y)`, arrays, or a `tf.data.Dataset` of batches `(x, y)`, of one
            epoch, in the same order each time.
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
        self._build, self._train, self._validation = build, train, validation
        self._epochs, self._batch_size = epochs, batch_size

    def facts(self) -> dict:
        """Return what must be the same for a search to go on, by name."""
        return {
            "code": _source(self._build),
            "data": [_digest(data) for data in (self._train, self._validation)],
            "epochs": self._epochs,
            "batch_size": self._batch_size,
        }

    def space(self, hp) -> None:
        """Declare all hyper-parameters."""
        with memory.shapes_alone():  # the preflight has not seen yet what fits
            self._build(hp)

    def build(self, hp) -> keras.Model:
        """Return the compiled model."""
        model = self._build(hp)
        if not isinstance(model, keras.Model) or not model.compiled:
            raise ZooError(
                "build(hp) must return a compiled keras.Model: call model.compile in "
                f"it. Received: {type(model).__name__}"
            )
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
        epochs = hp.values.get("tuner/epochs", epochs)
        bar = progress.Bar(folder.parent.name.replace("_", " "))
        resume = Resume(folder, fingerprint={"values": repr(hp.values), "seed": seed})
        before = resume.seconds
        callbacks = [bar, keras.callbacks.TerminateOnNaN(), resume]
        with contextlib.closing(bar):
            history = self._fit(hp, model, *self._data, epochs, callbacks)
        return Training(history, model.count_params(), before)

    def _fit(self, hp, model, train, validation, epochs, callbacks):
        if isinstance(train, tuple):
            data = dict(zip(("x", "y"), train, strict=True))
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


def _first_batch(data, batch_size):
    if isinstance(data, tuple):
        return tuple(array[:batch_size] for array in data)
    return data.take(1)


def _digest(data) -> str:
    """Return a digest of arrays, or what is known of a dataset: its form and length."""
    if not isinstance(data, tuple):
        return f"{data.element_spec}, {int(data.cardinality())} batches"
    sha = hashlib.sha256()
    for array in data:
        array = np.ascontiguousarray(array)
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(array.view(np.uint8).data)
    return sha.hexdigest()


def _source(build) -> str:
    try:
        text = inspect.getsource(build)
    except (OSError, TypeError):  # typed at a prompt, or no function
        text = repr(type(build))
    return hashlib.sha256(text.encode()).hexdigest()
