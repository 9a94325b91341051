"""The parts of a training that every recipe shares: options, and a run's record."""
