"""Who decides how far the event queue may run before messages are delivered."""

from __future__ import annotations

from typing import Protocol

from sim.events.event_queue import EventQueue
from sim.events.exchanges import Exchanges
from sim.events.pauses import Pauses


class Synchroniser(Protocol):
    """Runs a simulation's event queue and delivers its messages, until nothing is left to do."""

    def run(self, queue: EventQueue, exchanges: Exchanges, pauses: Pauses) -> None:
        """Process every event, and deliver every message; held peers have none."""

    def round_completed(self, pauses: Pauses) -> None:
        """A peer has completed a round: plan the pause that is asked for, if it can be now."""

    def any_process(self, here: bool) -> bool:
        """Whether it is so in any process. All ask at the same point: before, in or after a pause.

        Args:
            here: whether it is so in this one.
        """


class SingleProcess:
    """All peers are in this process: moment by moment, events first, then their messages."""

    def run(self, queue: EventQueue, exchanges: Exchanges, pauses: Pauses) -> None:
        """Process every event, and deliver the messages of each moment before the next."""
        while queue:
            queue.run_until(queue.next_time)
            exchanges.deliver(exchanges.collect_batch())

    def round_completed(self, pauses: Pauses) -> None:
        """Plan the pause at once: a moment may hold all rounds, of peers that never exchange."""
        if pauses.is_asked():
            pauses.pause_by(pauses.soonest)

    def any_process(self, here: bool) -> bool:
        """Whether it is so here: there is no other process."""
        return here
