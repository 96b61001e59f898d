"""How long a server's place stays empty: the election itself, run in virtual time.

The state machines are those of real processes (:mod:`peer.standby.election`), one a host and one a
worker, over a network on which every message takes equally long.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from peer.experiment import Experiment
from peer.standby.election.election import Election
from peer.standby.election.electorate import Electorate, Timing
from peer.standby.election.events import Acknowledged, Promoted, Store
from peer.standby.election.messages import BEGINNING, Ballot, Message
from peer.streams import stream

TICK = 0.05
"""Seconds between two looks at the time, as over ZeroMQ."""

BEFORE = 2.0
"""Seconds for which the first server leads before it dies."""

LONGEST = 600.0
"""Seconds after which no election is waited for: messages take too long for any to succeed."""


@dataclass
class _Elections:
    """Elections of one electorate, whose events are in the order of virtual time."""

    elections: dict[int, Election]
    delay: float
    now: float = 0.0
    queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    scheduled: int = 0
    acknowledged_by: int | None = None  # the server whose round was acknowledged last

    def schedule(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (time, self.scheduled, event))
        self.scheduled += 1

    def tick(self, k: int) -> None:
        """Let time pass for process ``k``, again and again until it dies."""
        if k in self.elections:
            self.elections[k].tick(self.now)
            self.pass_on(k)
            self.schedule(self.now + TICK, lambda: self.tick(k))

    def pass_on(self, k: int) -> None:
        election = self.elections[k]
        while election.events:
            match election.events.popleft():
                case Promoted():
                    election.propose(election.held.round, b"", self.now)
                case Store(position):
                    election.stored(position)
                case Acknowledged():
                    self.acknowledged_by = k
        while election.outbox:
            to, message = election.outbox.popleft()
            self.send(k, to, message)

    def send(self, sender: int, to: int, message: Message) -> None:
        def deliver() -> None:
            if to in self.elections:
                self.elections[to].receive(sender, message, self.now)
                self.pass_on(to)

        self.schedule(self.now + self.delay, deliver)

    def run(self, until: Callable[[], bool]) -> None:
        while not until():
            self.now, _, event = heapq.heappop(self.queue)
            event()


def takeover_seconds(experiment: Experiment, server: int, delay: float, nth: int = 0) -> float:
    """Seconds from the death of a server until the next one may begin a round.

    Args:
        experiment: has the seed, the peers and the backups.
        server: the peer that plays the server.
        delay: seconds that a message takes.
        nth: how many servers have died before; others are quicker then.
    """
    hosts = experiment.hosts(server)
    workers = tuple(k for k in range(experiment.peers) if k != server)
    electorate = Electorate(hosts, workers)
    elections = {
        k: Election(
            k,
            electorate,
            Ballot(),
            BEGINNING,
            stream(experiment.seed, "election", k, nth).random,
            Timing(),
            0.0,
        )
        for k in (*workers, *hosts)
    }
    all_of_them = _Elections(elections, delay)
    for k in elections:
        all_of_them.schedule(0.0, lambda k=k: all_of_them.tick(k))  # type: ignore[misc]
    all_of_them.run(lambda: all_of_them.now >= BEFORE)
    del elections[server]
    all_of_them.acknowledged_by = None
    all_of_them.run(
        lambda: all_of_them.acknowledged_by is not None or all_of_them.now >= BEFORE + LONGEST
    )
    return all_of_them.now - BEFORE
