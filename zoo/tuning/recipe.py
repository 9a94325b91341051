"""A recipe as what is searched."""

import contextlib
import dataclasses
import functools
import gc
import hashlib
from pathlib import Path
from types import ModuleType

import keras_tuner

import zoo
from zoo.data import Splits, pipeline
from zoo.errors import ZooError
from zoo.training import distribute, options, resuming
from zoo.training.options import RunOptions
from zoo.tuning import progress
from zoo.tuning import space as spaces
from zoo.tuning.records import EPOCHS
from zoo.tuning.trials import Training


class RecipeProblem:
    """The space of a recipe, and its training: each trial is a run of the recipe.

    Args:
        recipe: its module; besides the recipe's contract it has `space(hp, config)`.
        config: its options, which hold where the space does not choose.
        given: the names of the options that hold in any case.
        strategy: what the trials train under.
        splits: the data.

    Raises:
        ZooError: an option is given that is made of several hyper-parameters.
    """

    def __init__(
        self, recipe: ModuleType, config: RunOptions, given: set[str], strategy, splits
    ):
        self.name, self._recipe, self._config = recipe.NAME, recipe, config
        self._given, self._strategy = given, strategy
        self._splits: Splits = splits
        self._validation = None
        spaces.explore(self.space)  # it refuses what cannot be given

    def facts(self) -> dict:
        """Return what must be the same for a search to go on, by name."""
        return {
            "code": _code(self._recipe),
            "data": self._splits.digest,
            "replicas": self._strategy.num_replicas_in_sync,
            **resuming.effective(self._config),
        }

    def space(self, hp) -> RunOptions:
        """Declare the hyper-parameters that are not given; return the options."""
        asked = _Given(hp, self._config, self._given)
        chosen = self._recipe.space(asked, self._config)
        for name in self._given:
            value = getattr(self._config, name)
            if getattr(chosen, name) != value and name not in asked.given:
                raise ZooError(
                    f"{resuming.flag(name)} is what the search chooses, with others of "
                    "its hyper-parameters: leave it out, or train with it by zoo train "
                    f"{self.name}."
                )
            chosen = dataclasses.replace(chosen, **{name: value})
        if EPOCHS in hp.values:
            chosen = dataclasses.replace(chosen, epochs=hp.values[EPOCHS])
        return chosen

    def config(self, values: dict) -> RunOptions:
        """Return the options of a trial."""
        hp = keras_tuner.HyperParameters()
        hp.values = dict(values)
        return self.space(hp)

    def build(self, hp):
        """Return the compiled model."""
        with self._strategy.scope():
            model = self._recipe.build(self.space(hp), self._splits.num_train)
            return distribute.prepare(model)

    def batch_size(self, hp) -> int:
        """Return the examples of a step."""
        return self.space(hp).batch_size

    def one_batch(self, hp, model) -> dict:
        """Train and validate on one batch each; return what is logged."""
        model.steps_per_execution = 1
        few = pipeline.evaluation(self._splits.validation).take(1)
        config = self.space(hp)
        logs = self._fit(model, config, [], steps=1, epochs=1, validation=few)
        return {name: values[-1] for name, values in logs.items()}

    def train(self, hp, seed: int, folder: Path) -> Training:
        """Train as the recipe does, or on from the checkpoints in the folder."""
        import keras

        from zoo.callbacks import Resume

        keras.backend.clear_session()
        gc.collect()
        config = dataclasses.replace(self.space(hp), seed=seed)
        keras.utils.set_random_seed(seed)
        model = self.build(hp)
        with self._strategy.scope():
            resume = Resume(
                folder,
                every=config.checkpoint_every,
                fingerprint=resuming.effective(config),
                replay=False,
            )
        before = resume.seconds
        steps, _ = pipeline.schedule(self._splits.num_train, config.batch_size)
        if self._validation is None:
            self._validation = pipeline.evaluation(self._splits.validation)
        bar = progress.Bar(folder.parent.name.replace("_", " "))
        callbacks = [
            bar,
            keras.callbacks.TensorBoard(
                folder.parent.parent / "tensorboard" / folder.parent.name / folder.name,
                write_graph=False,
            ),
            keras.callbacks.TerminateOnNaN(),
            resume,
        ]
        with contextlib.closing(bar):
            history = self._fit(
                model,
                config,
                callbacks,
                steps=steps,
                epochs=config.epochs,
                validation=self._validation,
                first_step=resume.step,
            )
        return Training(history, model.count_params(), before)

    def _fit(self, model, config, callbacks, steps, epochs, validation, first_step=0):
        batches = distribute.batches(
            self._strategy,
            functools.partial(
                self._recipe.training_data, config, self._splits, first_step=first_step
            ),
        )
        return model.fit(
            batches,
            steps_per_epoch=steps,
            epochs=epochs,
            validation_data=validation,
            callbacks=callbacks,
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        ).history

    def command(self, values: dict) -> str:
        """Return the command that trains the same, up to what comes after training."""
        recipe = self._recipe
        return options.command(recipe.NAME, recipe.PRESETS, self.config(values))


class _Given:
    """Keras Tuner's `hp` without those hyper-parameters that are given.

    One that exists under a condition alone is no less searched: what it is given would
    make the choice that it hangs on meaningless.

    Attributes:
        given: which were asked for.
    """

    def __init__(self, hp, config, names):
        self._hp, self._config, self._names = hp, config, names
        self._conditions, self.given = 0, set()

    def __getattr__(self, kind):
        declare = getattr(self._hp, kind)
        if kind not in ("Int", "Float", "Choice", "Boolean", "Fixed"):
            return declare

        def unless_given(name, *args, **kwargs):
            if name not in self._names or self._conditions:
                return declare(name, *args, **kwargs)
            self.given.add(name)
            return getattr(self._config, name)

        return unless_given

    @contextlib.contextmanager
    def conditional_scope(self, parent, values):
        self._conditions += 1
        with self._hp.conditional_scope(parent, values):
            yield
        self._conditions -= 1


def _code(recipe) -> str:
    """Return a digest of what decides a score: recipe, models, and pipeline."""
    here = Path(zoo.__file__).parent
    files = {Path(recipe.__file__), here / "layers.py"}
    files |= {here / "recipes" / "fashion_mnist.py"}  # whose steps others take
    files |= {here / "data" / f"{name}.py" for name in ("pipeline", "stream")}
    files |= {here / "training" / f"{name}.py" for name in ("distribute", "replicated")}
    files |= set((here / "models").glob("*.py"))
    if hasattr(recipe, "PRETRAINED"):  # whose weights it begins with
        files.add(here / "pretrained" / f"{recipe.PRETRAINED}.json")
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()
