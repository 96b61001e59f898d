"""From an experiment to a run directory: simulating it, in one process or in several."""
