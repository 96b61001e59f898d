"""Who decides how far the event queue may run before messages are delivered."""

from __future__ import annotations

from typing import Protocol

from sim.events.event_queue import EventQueue
from sim.events.exchanges import Exchanges


class Synchroniser(Protocol):
    """Runs a simulation's event queue and delivers its messages, until nothing is left to do."""

    def run(self, queue: EventQueue, exchanges: Exchanges) -> None:
        """Process every event, and deliver every message."""


class SingleProcess:
    """All peers are in this process: moment by moment, events first, then their messages."""

    def run(self, queue: EventQueue, exchanges: Exchanges) -> None:
        """Process every event, and deliver the messages of each moment before the next."""
        while queue:
            queue.run_until(queue.next_time)
            exchanges.deliver(exchanges.collect_batch())
