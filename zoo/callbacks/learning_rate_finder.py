"""Find a learning rate in one short sweep, and leave no trace of it."""

import math
import random
from pathlib import Path

import keras
import numpy as np
from keras.src.random.seed_generator import global_seed_generator  # has no public name

from zoo.errors import ZooError, integer, number, unknown
from zoo.files import replacing

_FEWEST_STEPS = 20
_DIVERGED = 4  # times the best smoothed loss
_FALLEN = 0.9  # of the way from where the smoothed loss starts down to its best


class LearningRateFinder(keras.callbacks.Callback):
    """Raises the learning rate until training breaks, then puts everything back.

    Hand it to a `fit` of its own, without validation and other callbacks. It is the
    learning rate range test of Smith (2017), with an exponential ramp: the rate is
    constant during an execution and grows by one factor from each to the next. The
    sweep ends at `highest`, when the smoothed loss exceeds four times its best, or when
    the loss is infinite or NaN; then it stops `fit`.

    When `fit` returns, model, optimizer, metrics, seed generators and the random states
    of Python, NumPy and Keras are what they were, to the bit, and the next `fit` does
    what it would have done without the sweep. Except that a `tf.data` set with a
    `shuffle` that reshuffles (its default) counts its iterations itself, and the sweep
    was one of them. If `fit` raises, call `restore`.

    The suggestion is the rate at which the smoothed loss has fallen by 90 % of all that
    it falls: where the fall "slows", which Smith takes as the upper bound, and so the
    peak of a cyclic schedule. With the defaults, on Fashion-MNIST, it was 0.4 to 2.5
    times the peaks that serve well (the zoo's `cnn` 0.005, `mlp` 0.002 and `tiny` 0.01
    with AdamW, `mlp` 0.07 with SGD and momentum; seeds 0 to 5). On the same curves the
    steepest fall gave 0.05 to 0.3 times, a tenth of the rate of the lowest loss 0.3 to
    6 times, the middle of the longest descent 0.03 to 1.1 times the peak. Twice the
    steps give about 0.6 times the suggestion.

    Args:
        lowest: the first learning rate, above 0.
        highest: the last one, above `lowest`.
        steps: the executions of the sweep, 20 at least; each is the
            `steps_per_execution` training steps that `compile` was told, 1 by default.

    Attributes:
        suggestion: the learning rate to train with; None without a whole sweep.
        learning_rates: the rate of each execution whose loss was finite.
        losses: its mean training loss.
        smoothed_losses: their exponential moving average, corrected for its start as
            Adam's moments are; it looks back a tenth of the sweep.

    Raises:
        ZooError: (a `ValueError`) when `fit` begins, if the model is not built, `fit`
            is too short, or the optimizer has a schedule under JAX; when it ends, if
            the sweep was cut short or the loss does not fall within it.

    Example:
        >>> x = np.linspace(-1, 1, 256)[:, None]
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> finder = LearningRateFinder()
        >>> _ = model.fit(x, 3 * x, 8, epochs=10, verbose=0, callbacks=[finder])
        >>> model.optimizer.learning_rate = finder.suggestion

    Reference:
        Smith, "Cyclical learning rates for training neural networks", WACV 2017,
        section 3.3.
    """

    def __init__(self, lowest: float = 1e-6, highest: float = 10.0, steps: int = 200):
        super().__init__()
        self.lowest = number("lowest", lowest, above=0)
        self.highest = number("highest", highest, above=lowest)
        self.steps = integer("steps", steps, least=_FEWEST_STEPS)
        self._window = round(self.steps / 10)  # how far back the smoothing looks
        self._before = []
        self._forget()

    def _forget(self):
        self.learning_rates, self.losses, self.smoothed_losses = [], [], []
        self.suggestion, self._average, self._finished = None, 0.0, False

    def on_train_begin(self, logs=None):
        """Note down everything that the sweep changes."""
        self.restore()  # after a `fit` that raised
        self._forget()
        model, optimizer = self.model, self.model.optimizer
        if not model.built:
            raise ZooError(
                "LearningRateFinder must know the weights before the first step: begin "
                "the model with keras.Input, or call model.build(input_shape)."
            )
        if self.params.get("steps"):
            per_epoch = math.ceil(self.params["steps"] / model.steps_per_execution)
            self._check_length(per_epoch * self.params["epochs"])
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self._rate, schedule = _rate_to_assign(optimizer)
        self._before = _state(model)
        if schedule is not None:
            self._set_schedule(lambda: self._rate)
            self._before.append((self._set_schedule, schedule))

    def on_train_batch_begin(self, batch, logs=None):
        """Set this execution's learning rate."""
        share = len(self.losses) / (self.steps - 1)
        rate = self.lowest * (self.highest / self.lowest) ** share
        self.model.reset_metrics()  # so that the loss is this execution's own
        self._rate.assign(rate)
        self.learning_rates.append(rate)

    def on_train_batch_end(self, batch, logs=None):
        """Read this execution's loss; stop `fit` if it was the last."""
        logs = {} if logs is None else logs
        if "loss" not in logs:
            raise unknown("what LearningRateFinder reads", "loss", logs)
        if math.isfinite(logs["loss"]):
            self._add(float(logs["loss"]))
        else:
            self.learning_rates.pop()
            self._finished = True
        if self._finished:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """Put everything back, and make the suggestion."""
        self.restore()
        if not self._finished:
            self._check_length(len(self.losses))
        self.suggestion = self._suggest()

    def restore(self) -> None:
        """Put back what the sweep changed; for you to call only if `fit` raised."""
        if self._before:
            self.model.reset_metrics()  # those that came into being meanwhile
        for put, value in self._before:
            put(value)
        self._before = []

    def plot(self, path: str | Path) -> Path:
        """Draw the loss against the learning rate.

        Args:
            path: the file to write; its suffix says which format.

        Returns:
            The path that was written.

        Raises:
            ZooError: there was no sweep yet, or the suffix is unknown.
        """
        from matplotlib.figure import Figure  # without pyplot: no window

        if not self.losses:
            raise ZooError("there is no sweep to plot: hand the finder to fit first.")
        path, figure = Path(path), Figure(figsize=(7, 4.5), dpi=120)
        known = figure.canvas.get_supported_filetypes()
        if path.suffix[1:] not in known:
            raise unknown("the picture's suffix", path.suffix[1:], known)
        axes = figure.subplots()
        axes.plot(self.learning_rates, self.losses, color="#56B4E9", alpha=0.5,
                  label="loss of an execution")  # fmt: skip
        axes.plot(self.learning_rates, self.smoothed_losses, color="#0072B2",
                  label="smoothed")  # fmt: skip
        if self.suggestion:
            axes.axvline(self.suggestion, color="#D55E00", linestyle="--",
                         label=f"suggestion: {self.suggestion:.2g}")  # fmt: skip
        # From the lowest loss to those it began with; the divergence runs out of sight.
        low, high = min(self.losses), max(self.losses[: self._window])
        margin = 0.1 * (high - low) or 1.0
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss",
                 ylim=(low - margin, high + margin))  # fmt: skip
        axes.legend(loc="lower left")
        axes.grid(alpha=0.3)
        with replacing(path) as beside:
            figure.savefig(beside, bbox_inches="tight")
        return path

    def _check_length(self, executions):
        if executions < self.steps:
            each = self.model.steps_per_execution
            raise ZooError(
                f"LearningRateFinder sweeps over {self.steps} executions of {each} "
                f"step{'s' if each > 1 else ''}, and this fit has {executions}: raise "
                "its epochs (the sweep stops by itself) or lower the finder's steps."
            )

    def _set_schedule(self, schedule):
        self.model.optimizer.learning_rate = schedule
        self.model.make_train_function(force=True)  # the old one is traced into it

    def _add(self, loss):
        self.losses.append(loss)
        count, new = len(self.losses), 1 / self._window
        self._average += new * (loss - self._average)
        self.smoothed_losses.append(self._average / (1 - (1 - new) ** count))
        settled = self._settled()
        if settled:
            best = min(settled)
            diverged = settled[-1] > best + (_DIVERGED - 1) * abs(best)
            self._finished = diverged or count == self.steps

    def _settled(self):
        # Before a window is full, the luck of the first batches would decide.
        return self.smoothed_losses[self._window - 1 :]

    def _suggest(self):
        settled = self._settled()
        best = int(np.argmin(settled)) if settled else 0
        if best == 0:
            raise ZooError(
                f"the loss does not fall from lowest={self.lowest} on: lower it, and "
                "check that the data are finite and the model is trainable."
            )
        if len(self.losses) == self.steps and best == len(settled) - 1:
            raise ZooError(f"the loss still falls at highest={self.highest}: raise it.")
        enough = settled[0] - _FALLEN * (settled[0] - settled[best])
        fallen = int(np.argmax(np.array(settled) <= enough))  # the first that is
        return self.learning_rates[self._window - 1 + fallen]


def _rate_to_assign(optimizer):
    """Return the variable that holds the rate, and the schedule it stands in for."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of loss scaling
    current = optimizer._learning_rate  # the public name evaluates a schedule
    if isinstance(current, keras.Variable):
        return current, None
    if keras.backend.backend() == "jax":  # it bakes the variable's value into the step
        raise ZooError(
            "LearningRateFinder cannot stand in for a learning rate schedule under "
            "JAX: compile with a number, or set KERAS_BACKEND=tensorflow."
        )
    return keras.Variable(0.0, trainable=False, name="learning_rate"), current


def _state(model):
    """Return what a training changes, as pairs (function that puts it back, value)."""
    state = [
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
    ]
    if keras.backend.backend() == "torch":  # its data loader draws from this one
        import torch

        state.append((torch.set_rng_state, torch.get_rng_state()))
    variables = [
        *model.variables,
        *model.metrics_variables,
        *model.optimizer.variables,
        global_seed_generator().state,
    ]
    copies = [keras.ops.convert_to_numpy(variable) for variable in variables]
    return state + [(v.assign, c) for v, c in zip(variables, copies, strict=True)]
