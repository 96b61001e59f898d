"""Many peers in one process: the same programs, in virtual time, measured and drawn."""

from sim.api import run
from sim.runs.simulate import Run

__all__ = ["Run", "run"]
