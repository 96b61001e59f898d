"""Places in a process at which it may be killed."""

from __future__ import annotations

from collections.abc import Callable

from peer.net.header.seal import WireError
from peer.net.wire import Ack, decode
from sim.torture.chaos.scenario import Fault


class Failpoints:
    """The faults that wait for a process to come to a place.

    Args:
        crash: carries one out; for the scheduler.
    """

    def __init__(self, crash: Callable[[Fault], None]) -> None:
        self.crash = crash
        self._armed: dict[int, list[Fault]] = {}

    def arm(self, fault: Fault) -> None:
        """From now on, it waits."""
        self._armed.setdefault(fault.peer, []).append(fault)

    def disarm(self) -> None:
        """Nothing goes wrong any more."""
        self._armed.clear()

    def are_armed(self, peer: int) -> bool:
        """Whether it matters where ``peer`` comes."""
        return peer in self._armed

    def take(self, peer: int, point: str) -> Fault | None:
        """The fault that waited for this, if any; it is to be carried out."""
        for fault in self._armed.get(peer, ()):
            if fault.point == point:
                self._armed[peer].remove(fault)
                if not self._armed[peer]:
                    del self._armed[peer]
                return fault
        return None

    def strikes(self, peer: int, when: str, header: bytes) -> bool:
        """A message of ``peer`` leaves, or comes; whether it is killed there. For the scheduler."""
        fault = self.take(peer, f"{when} {_kind(header)}")
        if fault is not None:
            self.crash(fault)
        return fault is not None


def _kind(header: bytes) -> str:
    """The message's, in the words of :data:`sim.torture.chaos.scenario.SAID`."""
    try:
        message = decode(header).message
    except WireError:
        return ""
    if isinstance(message, Ack):
        return message.verdict
    return type(message).__name__.lower()
