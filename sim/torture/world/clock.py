"""One machine's clock: it may go wrong in every way that a monotonic clock can."""

from __future__ import annotations

from sim.torture.world.agenda import Agenda


class Clock:
    """Tells a machine's time.

    Args:
        agenda: the true time.
        rate: of its seconds, how many pass in a true one.

    Attributes:
        ahead: seconds by which it has leapt.
    """

    def __init__(self, agenda: Agenda, rate: float = 1.0) -> None:
        self.agenda = agenda
        self.rate = rate
        self.ahead = 0.0

    @property
    def now(self) -> float:
        """What it shows."""
        return self.agenda.now * self.rate + self.ahead
