"""Swaps that are in doubt: held apart, added or dropped once the neighbour tells."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from peer.compute.held_transfers import HeldTransfers
from peer.effects import Combine
from peer.net.events import Outcome
from peer.net.io_thread import IoThread
from peer.peer import Peer
from peer.state.flight.recorder import FlightRecorder


class Doubts:
    """What is in doubt with each neighbour.

    Args:
        peer: whose state holds it apart.
        io: tells what has been decided.
        flight: records what was used late.

    Attributes:
        held: the transfers in the peer's state.
    """

    def __init__(self, peer: Peer, io: IoThread, flight: FlightRecorder) -> None:
        self.held = HeldTransfers(peer.state)
        self._peer = peer
        self._io = io
        self._flight = flight

    def resolve(self) -> None:
        """Add, or drop, what was held apart and has been decided since."""
        while not self._io.resolved.empty():
            told = self._io.resolved.get()
            held = self.held.resolve(told.neighbour, told.t, told.is_used)
            if held is not None:
                if told.is_used:
                    self._flight.used_late(told.neighbour, told.t)
                what = "used" if told.is_used else "not used"
                self._io.log(
                    f"peer {told.neighbour}: what we swapped of {held.net} in round "
                    f"{held.t.round + 1} is {what}, it says now"
                )

    def wait(self, seconds: float, clock: Callable[[], float], stop: threading.Event) -> None:
        """At the end: wait a little for who has not told yet, and drop what stays unknown."""
        until = clock() + seconds
        while self.held.held() and clock() < until and not stop.wait(0.1):
            self.resolve()
        for k in self.held.held():
            self.drop(k)

    def drop(self, neighbour: int) -> None:
        """Give up what is in doubt with a neighbour, and tell what that may mean."""
        held = self.held.held()[neighbour]
        norm = self.held.drop(neighbour)
        self._io.log(
            f"peer {neighbour} never told whether it used what we swapped of {held.net} in round "
            f"{held.t.round + 1}; if it did, the peers' mean is off by "
            f"{norm / self._peer.peers:.3g}"
        )

    def hold(self, effect: Combine, neighbour: int, change: torch.Tensor) -> None:
        """Hold apart what an exchange with a neighbour would change."""
        t = effect.moments[neighbour]
        self.held.hold(neighbour, t, effect.net, change.to(self._peer.state.device))

    def absent(self, effect: Combine, outcome: Outcome) -> frozenset[int]:
        """Whose value is not used, for now at least; what is used of the others' is remembered."""
        absent = frozenset(outcome.missing | outcome.in_doubt.keys())
        self.held.note_used(effect.moments, effect.weights.keys() - absent)
        return absent
