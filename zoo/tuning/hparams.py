"""What TensorBoard's HParams view reads: the space once, and each trial."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

_EVENTS = "events.out.tfevents.*"


def write(
    log_dir: Path,
    trial_id: str,
    space: Sequence,
    values: Mapping,
    objective: str,
    score: float | None,
) -> None:
    """Write a trial that has ended, into `trial_<id>` of the directory of the logs.

    A trial that is run again takes the place of what it wrote before.

    Args:
        log_dir: of the search: what `tensorboard --logdir` is given.
        trial_id: names the trial.
        space: Keras Tuner's hyper-parameter objects.
        values: hyper-parameter -> value; those that are not in the space are left out.
        objective: name of the score.
        score: of the trial; `None`, or not finite, if it failed.
    """
    from tensorboard.plugins.hparams import api, api_pb2, summary

    names = dict.fromkeys(hp.name for hp in space)
    # Should two workers be the first at once, both write the same.
    if not any(log_dir.glob(_EVENTS)):
        metric = api.Metric(objective, display_name=objective)
        infos = [api.HParam(name, _domain(name, space)) for name in names]
        _summaries(log_dir, [api.hparams_config_pb(infos, [metric])])
    own = {name: values[name] for name in names if name in values}
    healthy = score is not None and math.isfinite(score)
    status = api_pb2.STATUS_SUCCESS if healthy else api_pb2.STATUS_FAILURE
    folder = log_dir / f"trial_{trial_id}"
    for before in folder.glob(_EVENTS):
        before.unlink()
    _summaries(
        folder,
        [api.hparams_pb(own, f"trial_{trial_id}"), summary.session_end_pb(status)],
        {objective: score} if healthy else {},
    )


def _summaries(folder, plugin, scalars=None):
    """Write summaries of the plugin, and scalars."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(folder)).as_default(step=0) as writer:
        for summary in plugin:
            tf.summary.experimental.write_raw_pb(summary.SerializeToString())
        for name, value in (scalars or {}).items():
            tf.summary.scalar(name, value)
        writer.close()


def _domain(name, space):
    """Return the values that a name can have, under all its conditions."""
    from tensorboard.plugins.hparams import api

    same = [hp for hp in space if hp.name == name]
    if not all(hasattr(hp, "sampling") for hp in same):
        return api.Discrete(dict.fromkeys(v for hp in same for v in hp.values))
    low, high = min(hp.min_value for hp in same), max(hp.max_value for hp in same)
    whole = isinstance(low, int) and isinstance(high, int)
    return (api.IntInterval if whole else api.RealInterval)(low, high)
