"""Many peers in one process: the same programs, in virtual time, measured and drawn."""

from sim.run import Run, run

__all__ = ["Run", "run"]
