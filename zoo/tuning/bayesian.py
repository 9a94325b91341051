"""Keras Tuner's Bayesian oracle, with one defect mended that shows with workers."""

from keras_tuner import oracles
from keras_tuner.engine.trial import TrialStatus


class Bayesian(oracles.BayesianOptimizationOracle):
    """Keras Tuner's Gaussian process, asked of running trials only when it knows some.

    For a trial that still runs Keras Tuner takes what the process predicts of it. The
    first time, and after every restart, it was fitted to nothing: it predicts a score
    of 0 and a standard deviation of 1, whatever the others' scores are.
    """

    def _vectorize_trials(self):
        if self.ongoing_trials:
            self.gpr.fit(*self._completed())
        return super()._vectorize_trials()

    def _completed(self):
        every, running = self.trials, self.ongoing_trials
        self.ongoing_trials = {}
        self.trials = {
            name: trial
            for name, trial in every.items()
            if trial.status == TrialStatus.COMPLETED
        }
        try:
            return super()._vectorize_trials()
        finally:
            self.trials, self.ongoing_trials = every, running
