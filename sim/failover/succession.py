"""Who is the server when, and from which state the next one goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from peer.experiment import Experiment
from peer.state import PeerState, SavedState
from sim.environment.network import NetworkModel
from sim.failover.takeover import takeover_seconds


@dataclass(frozen=True)
class Takeover:
    """A server dies, and another begins; infinite where there is none any more."""

    down: float
    up: float


def takeovers_of(experiment: Experiment, server: int, delay: float) -> list[Takeover]:
    """What the faults of a server with backups mean, in the order of virtual time.

    Each is the death of the process that is the server then, which stands by when it is ``up``
    again. While the place is empty, nobody dies in it.
    """
    faults = sorted((f for f in experiment.faults if f.peer == server), key=lambda f: f.down)
    back_at = [0.0] * (1 + experiment.backups)  # by host
    host, found = 0, list[Takeover]()
    for fault in faults:
        if found and fault.down < found[-1].up:
            continue
        back_at[host] = math.inf if fault.up is None else fault.up
        host = min(range(len(back_at)), key=lambda h: (max(fault.down, back_at[h]), h))
        empty_until = max(fault.down, back_at[host])
        seconds = takeover_seconds(experiment, server, delay, len(found))
        found.append(Takeover(fault.down, empty_until + seconds))
    return found


class Succession:
    """The seat of a simulated server that has backups.

    Args:
        experiment: has backups.
        server: the peer that plays the server.
        network: over which its state gets to the backups.

    Attributes:
        term: the server's.
    """

    def __init__(self, experiment: Experiment, server: int, network: NetworkModel) -> None:
        self.server = server
        self.network = network
        self.term = 1
        self._to_come = takeovers_of(experiment, server, network.crossing(0))
        self._saved: SavedState | None = None
        self._nbytes = 0

    def begin(self, state: PeerState, now: float) -> None:
        """The simulation begins, or goes on: who died before is not to die again."""
        while self._to_come and self._to_come[0].down <= now and now > 0:
            self.next()
        self.acknowledged(state)

    def strikes(self, peer: int, time: float) -> bool:
        """Whether that peer is the server and dies until then."""
        return peer == self.server and bool(self._to_come) and self._to_come[0].down <= time

    def next(self) -> Takeover:
        """The server dies: when, and when the next one begins."""
        self.term += 1
        return self._to_come.pop(0)

    def acknowledgement(self) -> float:
        """Seconds from the end of a round until it is acknowledged.

        The state goes to a backup, which answers; then the voters are told, and answer.
        """
        return self.network.crossing(self._nbytes) + 3 * self.network.crossing(0)

    def acknowledged(self, state: PeerState) -> None:
        """What is in the state cannot be lost any more."""
        if self._to_come or not self._nbytes:
            self._saved = state.dump()
            self._nbytes = sum(each.nbytes for each in self._saved.tensors.values())

    def go_back(self, state: PeerState) -> None:
        """Put the state where the newest acknowledged round left it."""
        assert self._saved is not None
        state.load(self._saved)
