"""Stop a training that no longer gets better."""

import copy
import math
import numbers
from statistics import fmean
from typing import Any, Literal

import keras

from zoo.errors import ZooError, number, unknown

MODES = ("auto", "min", "max")
CRITERIA = ("no_improvement", "successive_increases")
STATE = "best best_epoch wait stopped_epoch message values seen best_weights".split()


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Stops training by Keras's patience, or when the monitored error keeps rising.

    It takes the place of `keras.callbacks.EarlyStopping`: without the last two
    arguments it stops at the same epoch and keeps the same weights. But a NaN or an
    infinity is never best, and a misspelt name is an error, not a warning. Epochs
    that do not log `monitor` (`validation_freq`) are passed over.

    Args:
        monitor: name of the number to watch, among those that `fit` logs each epoch.
        min_delta: a change must be greater than this, in the unit of `monitor`, to
            count as an improvement or as a rise.
        patience: the number of epochs, 0 or more, after which `criterion` stops; 0
            stops as 1 does. Epoch 0 never stops.
        verbose: 1 prints why training stopped and which weights are kept; 0 is silent.
        mode: `"min"` if less is better, `"max"` if more is; `"auto"` goes by the name.
        baseline: only an improvement that also passes this value resets the patience.
            Belongs to `"no_improvement"`.
        restore_best_weights: end with the weights of the best epoch; else with the
            last ones.
        start_from_epoch: the first epoch to watch, from 0.
        criterion: `"no_improvement"` stops after `patience` epochs none of which is
            better than the best before them. `"successive_increases"` stops after
            `patience` epochs in a row each of which is worse than the one before it
            (with `mode="max"`: less); one that is not starts the count again.
        smoothing: what is judged in place of the monitored value E: `None`, the value
            itself; `"running_mean"`, the mean Ē_n = (1/n) Σ E_i of all values so far;
            an integer k, at least 2, the mean of the last k (of all while there are
            fewer); a number m between 0 and 1, the exponential average
            s_n = m s_{n-1} + (1 - m) E_n from s_1 = E_1. Values are taken from
            `start_from_epoch` on. One that is NaN or infinite is left out, and
            counts as an epoch without improvement and as a rise.

    Attributes:
        stopped_epoch: where it stopped, from 0; 0 if it did not.
        best: the best smoothed value; None before the first finite one.
        best_epoch: where that was, from 0.
        message: why and when it stopped, as printed; None if it did not.
        values: the finite values watched so far.

    Raises:
        ZooError: (a `ValueError`) an argument is not as above; or the first epoch does
            not log `monitor`. A name in `val_` is due at `start_from_epoch`: with
            `validation_freq=N`, pass N - 1.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.0), "mse")  # will learn nothing
        >>> stop = EarlyStopping("loss", patience=2)
        >>> _ = model.fit(np.eye(1), np.eye(1), epochs=9, verbose=0, callbacks=[stop])
        >>> stop.stopped_epoch, stop.best_epoch
        (2, 0)

    Reference:
        L. Prechelt, "Early stopping - but when?", 1998: `"successive_increases"` is
        its criterion UP, for strips of one epoch.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        *,
        criterion: Literal["no_improvement", "successive_increases"] = "no_improvement",
        smoothing: Literal["running_mean"] | int | float | None = None,
    ):
        number("min_delta", min_delta)
        if patience != math.inf:  # never stop, but keep the best
            number("patience", patience, least=0)
        number("start_from_epoch", start_from_epoch)
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        if criterion not in CRITERIA:
            raise unknown("criterion", criterion, CRITERIA)
        if baseline is not None:
            number("baseline", baseline)
            if criterion != "no_improvement":
                raise ZooError(
                    f"baseline must be None with criterion={criterion!r}, which does "
                    f"not use it. Received: baseline={baseline!r}"
                )
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience,
            verbose=verbose,
            mode=mode,
            baseline=baseline,
            restore_best_weights=restore_best_weights,
            start_from_epoch=start_from_epoch,
        )
        self.criterion, self.smoothing = criterion, _checked(smoothing)
        self._continues = False
        self._reset()

    def _reset(self) -> None:
        self.best = self.best_weights = self.message = None
        self.best_epoch = self.stopped_epoch = self.wait = 0
        self.values, self.seen = [], False

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to continue after the epoch that just ended.

        All of it can be written as JSON but `best_weights`: a list of arrays, or None.
        """
        return {name: copy.copy(getattr(self, name)) for name in STATE}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`, in this `fit` or else, once, in the next.

        Args:
            state: what `get_state` returned. If its `message` is not None, training
                had stopped, and should not be continued.

        Raises:
            ZooError: it is something else.
        """
        if set(state) != set(STATE):
            raise ZooError(
                f"state must be what get_state() returns, a dict of {', '.join(STATE)}."
                f" Received a dict of: {', '.join(map(str, state))}"
            )
        for name in STATE:
            setattr(self, name, copy.copy(state[name]))
        self._continues = True

    def on_train_begin(self, logs=None):
        """Forget an earlier `fit`, unless `set_state` was called."""
        if not self._continues:
            self._reset()
        self._continues = False

    def on_epoch_end(self, epoch, logs=None):
        """Judge the epoch, and stop if the criterion says so."""
        watching = epoch >= self.start_from_epoch
        current = self._monitored({} if logs is None else logs, watching)
        if current is None or not watching:
            return
        if self.monitor_op is None:  # the metrics it looks for are built by now
            self._set_monitor_op()
        failed, passed = self._judge(epoch, float(current))
        self.wait = 0 if passed else self.wait + 1
        if failed and self.wait >= self.patience and epoch > 0:  # as Keras: never at 0
            self.stopped_epoch = epoch
            self.model.stop_training = True
            self.message = self._explain()

    def _judge(self, epoch: int, current: float):
        # Whether this epoch may stop the training, and whether it resets the count.
        before = value = _smoothed(self.values, self.smoothing)
        finite = math.isfinite(current)
        if finite:
            self.values.append(current)
            value = _smoothed(self.values, self.smoothing)
        better = finite and self._is_improvement(value, self.best)
        if better:
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
        if self.criterion == "no_improvement":
            # As Keras: a new best that misses the baseline does neither.
            return not better, better and self._is_improvement(value, self.baseline)
        # A rise is a step that it would be an improvement to take back.
        rises = before is not None and self._is_improvement(before, value)
        worse = not finite or rises
        return worse, not worse

    def on_train_end(self, logs=None):
        """Restore the best weights, if asked to, and say what happened."""
        self._continues = False  # if `set_state` was called while `fit` ran
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
        if self.verbose and self.message is not None:
            print(self.message, flush=True)
        elif self.verbose and self.best_weights is not None:
            print(f"The weights of epoch {self.best_epoch + 1} are kept.", flush=True)

    def _monitored(self, logs, watching):
        self.seen = self.seen or self.monitor in logs
        if self.seen:
            return logs.get(self.monitor)
        error = unknown("monitor", self.monitor, sorted(logs))
        validated = any(name.startswith("val_") for name in logs)
        if validated or not str(self.monitor).startswith("val_"):
            raise error
        if watching:
            raise ZooError(
                f"{error} No validation was run: pass validation_data to fit, and with "
                "validation_freq=N start_from_epoch=N-1 here."
            )
        return None

    def _set_monitor_op(self):
        try:
            super()._set_monitor_op()
        except ValueError as error:  # mode="auto" does not know this name
            raise ZooError(error) from None

    def _explain(self) -> str:
        name = self.monitor if self.smoothing is None else f"smoothed {self.monitor}"
        epochs = f"{self.wait} epoch{'s' * (self.wait > 1)}"
        if self.best is None:
            why = f"{name} has been NaN or infinite for {epochs}"
        else:
            best = f"epoch {self.best_epoch + 1} ({self.best:.4g})"
            if self.criterion == "successive_increases":
                why = f"{name} has got worse for {epochs}, best in {best}"
            elif not self._is_improvement(self.best, self.baseline):
                baseline = f"the baseline of {self.baseline:.4g}"
                why = f"{name} has not passed {baseline} for {epochs}, best in {best}"
            else:
                why = f"{name} has not improved for {epochs} since {best}"
        kept = f"epoch {self.best_epoch + 1}"
        if self.best_weights is None:
            kept = f"epoch {self.stopped_epoch + 1}, the last,"
        return (
            f"Stopped after epoch {self.stopped_epoch + 1}: {why}; "
            f"the weights of {kept} are kept."
        )


def _checked(smoothing):
    if smoothing is None or smoothing == "running_mean":
        return smoothing
    if isinstance(smoothing, numbers.Real) and not isinstance(smoothing, bool):
        if 0 < smoothing < 1:
            return smoothing
        if isinstance(smoothing, numbers.Integral) and smoothing >= 2:
            return int(smoothing)
    raise ZooError(
        "smoothing must be None, 'running_mean', an integer of at least 2 (a window of "
        "epochs) or a number between 0 and 1 (a momentum). "
        f"Received: smoothing={smoothing!r}"
    )


def _smoothed(values: list[float], smoothing) -> float | None:
    """Return the last term of the smoothed series; None of an empty one."""
    if not values or smoothing is None:
        return values[-1] if values else None
    if smoothing == "running_mean":
        return fmean(values)
    if isinstance(smoothing, int):
        return fmean(values[-smoothing:])
    average = values[0]
    for value in values[1:]:
        average = smoothing * average + (1 - smoothing) * value
    return average
