"""What is seen of a search while it runs: a bar for a training, a line for a trial."""

import keras
import keras_tuner

from zoo import console
from zoo.tuning.records import Trial


class Bar(keras.callbacks.Callback):
    """A bar over the epochs of a training, on a terminal.

    It does not add to the logs. What a checkpoint must know of it, it sees again.

    Args:
        what: is written before it.
    """

    def __init__(self, what: str):
        super().__init__()
        self._what, self._bar = what, None

    def get_state(self) -> dict:
        """Return what a checkpoint keeps: nothing."""
        return {}

    def set_state(self, state: dict) -> None:
        """Take that back."""

    def on_epoch_begin(self, epoch, logs=None):
        """Open the bar."""
        if self._bar is None:
            total = self.params["epochs"]
            self._bar = console.progress_bar(self._what, "epoch", total)
            self._bar.update(epoch)

    def on_epoch_end(self, epoch, logs=None):
        """Move it on."""
        self._bar.update()

    def on_train_end(self, logs=None):
        """Take it away."""
        self.close()

    def close(self) -> None:
        """Take it away; for a training that raised, which Keras does not tell of."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """Return a time to read: `8 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def line(oracle: keras_tuner.Oracle, ended: Trial) -> str:
    """Return what is said when a trial has ended.

    Args:
        oracle: what chooses the trials, and has the clock.
        ended: the trial.
    """
    number, (best,) = oracle.number_of(ended.id), oracle.get_best_trials(1)
    number = f"{number:{len(str(oracle.max_trials))}}/{oracle.max_trials}"
    parts = [f"trial {number}", f"{oracle.objective.name} {outcome(ended)}"]
    if ended.status == "failed":
        parts[1] = f"failed: {ended.error}"
    if best.score is not None:
        of = oracle.number_of(best.trial_id)
        parts.append(f"best {best.score:.4f} (trial {of})")
    parts.append(duration(ended.seconds))
    if left := _seconds_left(oracle):
        parts.append(f"about {duration(left)} left")
    return "   ".join(parts)


def outcome(trial: Trial) -> str:
    """Return a completed trial's score, with its spread over the retrains."""
    if trial.score is None:
        return trial.status
    spread = "" if trial.spread is None else f" ± {trial.spread:.4f}"
    return f"{trial.score:.4f}{spread}"


def _seconds_left(oracle):
    # Those that run at the same time shorten it as they did so far.
    ended = len(oracle.end_order)
    left = oracle.seconds / ended * (oracle.max_trials - ended)
    if oracle.most_seconds is not None:
        left = min(left, oracle.most_seconds - oracle.seconds)
    return max(0, left)
