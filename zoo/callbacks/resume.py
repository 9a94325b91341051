"""Go on with a killed training, to the same bits."""

import itertools
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np

from zoo import replicas
from zoo.console import one_line, say
from zoo.errors import ZooError
from zoo.training import checkpoint

_SHARE = 50  # a checkpoint by the clock takes at most this part of the time: 2 %


class Resume(keras.callbacks.Callback):
    """Writes checkpoints while `fit` runs; the same `fit` then goes on from the last.

    A checkpoint is all that a training changes: weights, optimizer, metrics, seed
    generators, the random states of Python and NumPy, the position in the epoch, the
    history, and what the callbacks carry on. So the training that was killed ends with
    the weights, the history and the metrics of one that was not, bit for bit. Put it
    last in the list, and hand `fit` what it was handed before:

    - Callbacks: the zoo's, Keras's own that remember something, and any with the
      methods `get_state()` and `set_state(state)`, of dicts, lists, arrays and what
      JSON knows. Others begin anew; their names are printed. Batches that were trained
      before are announced to the callbacks once more, and then their state is put back.
    - Arrays: `fit` draws the same order after `keras.utils.set_random_seed` (Keras
      3.15: the same one in every epoch). The batches of the unfinished epoch are drawn
      again and dropped.
    - A `tf.data` set of one epoch: as for arrays, if its order does not depend on how
      often it was gone through: `shuffle(..., reshuffle_each_iteration=False)`.
    - An endless `tf.data` set, with `steps_per_epoch`: let it begin at `step`, e.g.
      with `dataset.skip(resume.step)`, and pass `replay=False`.
    - TensorFlow's own random operations, unless they are stateless, begin anew.
    - All other data begin anew: a `PyDataset` that `fit` shuffles (`shuffle=False` for
      one that is in order), generators, PyTorch's loaders, and random layers in a
      dataset's `map`. They give other bits, unless they begin at `step`.

    A model with optimizers of its own, besides `model.optimizer`, keeps them as
    attributes and builds them before `fit`.

    Ctrl-C and SIGTERM end `fit` after the execution that runs, or after the validation
    that does, with a checkpoint: by `KeyboardInterrupt`, and by `SystemExit` with the
    code 143. A second Ctrl-C ends it at once, without one.

    A training that is complete stays so: `fit` returns at once with its result. Call
    `clear` when nothing is left to be done with it.

    Under a `MirroredStrategy` or a `MultiWorkerMirroredStrategy` make it in the
    strategy's scope. The chief writes and reads the files, all workers get their state
    from it.

    Args:
        directory: where the checkpoints are, the last two of them.
        every: how often, at most: `"500"` steps, or `"30s"`; at the end of an execution
            of `steps_per_execution` steps. Seconds are stretched so that writing takes
            no more than 2 % of the time.
        fingerprint: name -> number, text, or None: what must be the same to go on, such
            as `{"learning_rate": 0.01, "loss": "mse", "data": digest}`. The learning
            rate and the loss belong there: nothing else shows that they changed.
        replay: draw the batches that were trained of the unfinished epoch again, and
            drop them; `False` if the data begin at `step`.

    Attributes:
        epoch: where the training goes on, from 0; 0 if it begins.
        step: how many steps were trained before, over all epochs.
        seconds: how long they took, without what was lost.
        complete: whether nothing is left to train.

    Raises:
        ZooError: (a `ValueError`) at once, on another backend than TensorFlow, if
            `every` is malformed, the fingerprint is another or all checkpoints are
            damaged; when `fit` begins, if the model, the data or the callbacks do not
            fit, or it is not the last of them; while it runs, if the data end before
            `step`, or a checkpoint cannot be written: those before it are intact.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> resume = Resume(tempfile.mkdtemp(), every="100")
        >>> x, y = np.zeros((8, 3)), np.ones((8, 1))
        >>> _ = model.fit(x, y, epochs=2, callbacks=[resume], verbose=0)
        >>> Resume(resume.directory).complete
        True
    """

    def __init__(
        self,
        directory: str | Path,
        every: str | int = "30s",
        fingerprint: dict | None = None,
        replay: bool = True,
    ):
        super().__init__()
        if keras.backend.backend() != "tensorflow":
            raise ZooError(
                "Resume needs Keras's TensorFlow backend: set "
                "KERAS_BACKEND=tensorflow, or train without it. Received: "
                f"{keras.backend.backend()}"
            )
        import tensorflow as tf

        self.directory = Path(directory)
        self.every = checkpoint.interval("every", every)
        self.fingerprint = {} if fingerprint is None else fingerprint
        _encoded(self.fingerprint)  # what cannot be kept is refused before training
        self.replay = replay
        self._files = checkpoint.Checkpoints(self.directory)
        self._strategy = tf.distribute.get_strategy()
        self._is_chief = replicas.is_chief(self._strategy)
        self._history = self._wishes = self._function = None
        self._announced = False
        self._begin_from(_newest(self._files, self._strategy))

    def clear(self) -> None:
        """Delete the checkpoints: the next training begins anew."""
        if self._is_chief:
            self._files.clear()
        self._begin_from(None)

    def on_train_begin(self, logs=None):
        """Arrange that `fit` goes on where the last checkpoint was written."""
        from zoo.training import signals, state

        self._leave()  # after a `fit` that raised
        if self._history:  # there are newer checkpoints, of that `fit`
            self._begin_from(_newest(self._files, self._strategy))
        self._history = self.model.history
        self._others, loop = _surroundings(self)
        state.refuse_unfit(self.model, self._others)
        state.make_generator()
        if self.replay and loop.f_locals.get("steps_per_epoch"):
            raise ZooError(
                "with steps_per_epoch the data go on from epoch to epoch: leave it "
                "out, or pass replay=False and data that begin at resume.step."
            )
        self._wishes = signals.Wishes(loop)
        self._steps_before, self._executions = self.step, 0
        self._began = self._written = time.monotonic()
        self._cost, self._step_written, self._logs = 0.0, self.step, {}
        if self._pending:
            self._steps_before = self._pending["steps_before"]
            # As keras.callbacks.BackupAndRestore has `fit` begin later.
            epochs = self.params["epochs"]
            self.model._initial_epoch = epochs if self.complete else self.epoch
            if self.complete:  # no batch will build anything
                state.build(self.model)
            elif self.epoch >= epochs:
                raise ZooError(
                    f"epochs={epochs} ends before epoch {self.epoch + 1}, where the "
                    "training goes on: pass more epochs, or begin a new training."
                )
            self._announce(state.forgetful(self._others))

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch."""
        self.model._initial_epoch = None  # or it would hold for every later fit
        self._epoch, self._executions = epoch, 0

    def on_train_batch_begin(self, batch, logs=None):
        """Stand around the function that trains, which other callbacks may renew."""
        self._announced = True
        if self.model.train_function != self._execute:
            self._function = self.model.train_function
            self.model.train_function = self._execute

    def on_epoch_end(self, epoch, logs=None):
        """Note the position; the one to go on from must have been reached."""
        if self._pending and not self.model.stop_training:
            self._refuse_data()
        self._steps_before, self._executions = self._steps(), 0
        self._epoch = epoch + 1

    def on_train_end(self, logs=None):
        """Write down that the training is complete, and leave the model as it was."""
        self._leave()
        self.model._initial_epoch = None
        if self._pending:  # it was complete before, or ended by a callback
            self._check_layout()
            self._put_back()
        elif self._steps():
            asked, _ = self._agreed(self._wishes.asked, False)
            self._save(complete=True)
            if asked:
                self._wishes.grant(asked)

    def _execute(self, iterator):
        """Do what `model.train_function` does, at the place where it does it."""
        if not self._announced:  # not by our fit: it raised
            self._leave()
            return self._function(iterator)
        self._announced = False
        if self._pending:
            if not self._executions:
                self._prepare(iterator)
            if self._executions < self._pending["executions"]:
                return self._skip(iterator)
            self._put_back()
        asked, due = self._agreed(self._wishes.asked, self._is_due())
        if asked or due:
            self._save()
        if asked:
            self._wishes.grant(asked)
        self._logs = self._function(iterator)
        self._executions += 1
        return self._logs

    def _leave(self):
        if self._wishes:
            self._wishes.close()
        if self.model.train_function == self._execute:
            self.model.train_function = self._function

    def _prepare(self, iterator):
        """Make the variables that `fit` makes with its first batch."""
        import tensorflow as tf

        if isinstance(iterator, tf.data.Iterator):  # strategies have it done before
            try:
                self.model._symbolic_build(data_batch=iterator.element_spec)
            except (ValueError, TypeError, RuntimeError, AttributeError) as error:
                raise ZooError(
                    "the model cannot be built before the first batch "
                    f"({one_line(error)}): begin it with keras.Input"
                ) from error
        self._check_layout()

    def _check_layout(self):
        from zoo.training import state

        layout = state.layout(self.model, self._others, metrics=not self.complete)
        if not self._is_chief:  # only the chief may have them all
            layout[state.KEPT] = self._pending["layout"][state.KEPT]
        state.refuse_another(layout, self._pending["layout"])

    def _skip(self, iterator):
        if self.replay:
            batches = itertools.islice(iterator, self.model.steps_per_execution)
            if not sum(1 for _ in batches):
                self._refuse_data()
        self._executions += 1
        return self._pending["logs"]

    def _refuse_data(self):
        raise ZooError(
            f"the data of epoch {self.epoch + 1} ended before step {self.step:,}: go "
            "on with the data of before, or begin a new training."
        )

    def _put_back(self):
        from zoo.training import state

        state.put_back(self.model, self._others, self._pending["state"])
        self._pending = None

    def _is_due(self):
        if self.every.steps is not None:
            return self._steps() >= self._step_written + self.every.steps
        wait = max(self.every.seconds, _SHARE * self._cost)
        return time.monotonic() >= self._written + wait

    def _agreed(self, asked, due):
        """Return what any worker was asked, and whether a checkpoint is due."""
        if replicas.num_workers(self._strategy) > 1:
            due = due and self._is_chief  # the one that knows how long writing takes
            gathered = replicas.gather(self._strategy, np.int32([asked, due]))
            asked, due = np.max(gathered, axis=0).tolist()
        return asked, due

    def _steps(self):
        in_epoch = self._executions * self.model.steps_per_execution
        of_epoch = self.params["steps"] or math.inf  # None: as long as there are data
        return self._steps_before + min(in_epoch, of_epoch)

    def _save(self, complete=False):
        from zoo.training import state

        began = time.monotonic()
        if self._steps():  # else there is nothing yet that a new training lacks
            state.build(self.model)  # an optimizer that no step has used
            saved = {
                "epoch": self._epoch,
                "executions": self._executions,
                "steps_before": self._steps_before,
                "step": self._steps(),
                "seconds": self.seconds + began - self._began,
                "complete": complete,
                "logs": _numbers(self._logs),
                "fingerprint": self.fingerprint,
                "versions": _versions(),
                "layout": state.layout(self.model, self._others, metrics=not complete),
                "state": state.read(
                    self.model, self._others, metrics=self._executions > 0
                ),
            }
            if self._is_chief:
                self._files.save(_encoded(saved))
        self._written, self._step_written = time.monotonic(), self._steps()
        self._cost = self._written - began

    def _begin_from(self, content):
        """Learn from a checkpoint where the training goes on; it begins with `None`."""
        from zoo.training import state

        self._pending = saved = checkpoint.decode(content) if content else None
        self.epoch, self.step, self.seconds, self.complete = 0, 0, 0.0, False
        if saved:
            state.refuse_another(self.fingerprint, saved["fingerprint"])
            for name in ("epoch", "step", "seconds", "complete"):
                setattr(self, name, saved[name])

    def _announce(self, forgetful):
        if not self._is_chief:
            return
        for name, version in _versions().items():
            if version != (before := self._pending["versions"].get(name)):
                say(f"{name} is {version}, and was {before}: the bits may differ.")
        where = f"after step {self.step:,}, in epoch {self.epoch + 1}"
        if self.complete:
            where = f"no further: it is complete, with {self.step:,} steps"
        note = f"; {', '.join(forgetful)} begin anew" if forgetful else ""
        say(f"Going on with the training in {self.directory} {where}{note}.")


def _newest(files, strategy) -> bytes | None:
    """Return the chief's newest checkpoint, on every worker; raise on all if it does.

    The others' disks do not count: they may not share one.
    """
    content = none = b"-"
    if replicas.is_chief(strategy):
        try:
            content = files.newest() or none
        except ZooError as error:
            content = str(error).encode()
    content = replicas.from_chief(strategy, content)
    if content == none:
        return None
    if not content.startswith(checkpoint.MAGIC):
        raise ZooError(content.decode())
    return content


def _surroundings(callback):
    """Return the callbacks of the running `fit`, and the frame of `fit` itself.

    Keras tells a callback of no other: the list that calls them is on the stack.

    Raises:
        ZooError: this callback is not the last that the user put there.
    """
    of_keras = (keras.callbacks.History, keras.callbacks.ProgbarLogger)
    frame = sys._getframe(1)
    while frame:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            place = caller.callbacks.index(callback)
            before, after = caller.callbacks[:place], caller.callbacks[place + 1 :]
            for other in after:
                if not isinstance(other, of_keras):  # which `fit` appends
                    raise ZooError(
                        "Resume must be the last of the callbacks: put "
                        f"{type(other).__name__} before it."
                    )
            return [*before, *after], frame.f_back
        frame = frame.f_back
    raise ZooError("Resume belongs in the callbacks of fit: fit(callbacks=[..., it])")


def _encoded(saved):
    try:
        return checkpoint.encode(saved)
    except TypeError as error:
        raise ZooError(
            "a fingerprint or a callback's get_state() must hold dicts, lists, arrays "
            f"and what JSON knows. Received: {error}"
        ) from error


def _versions():
    import tensorflow as tf

    return {"Keras": keras.__version__, "TensorFlow": tf.__version__}


def _numbers(logs):
    # What the progress bar shows; a train_step of one's own may return other things.
    if not isinstance(logs, dict):
        return {}
    return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}
