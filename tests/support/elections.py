"""Many processes of one election in virtual time: faults from a seed, and what must hold."""

from __future__ import annotations

import heapq
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from peer.standby.election.election import Election
from peer.standby.election.electorate import Electorate, Timing
from peer.standby.election.events import Acknowledged, Deposed, Promoted, Store
from peer.standby.election.messages import BEGINNING, Ballot, Message, Position

TICK = 0.1
FAULTS = 60.0
"""Virtual seconds in which there are faults; then everything heals."""

CALM = 60.0
"""Virtual seconds after them, within which a round must be acknowledged again."""

TIMING = Timing(first=6.0)


@dataclass
class Disk:
    """What a process finds when it is started again."""

    ballot: Ballot = field(default_factory=Ballot)
    held: Position = BEGINNING
    content: bytes = b""


@dataclass
class Process:
    """One process: its election while it runs, and the round that it works on as the server."""

    id: int
    disk: Disk = field(default_factory=Disk)
    election: Election | None = None  # None: it is dead
    frozen_until: float = 0.0
    round_done: float = math.inf


class Trial:
    """Runs one seed, and says what was broken.

    Args:
        seed: everything follows from it.
        make: makes a process's election; by default the real one.
        forgets: whether ballots are lost when a process dies (a bug, put in).
    """

    def __init__(
        self,
        seed: int,
        make: Callable[..., Election] = Election,
        *,
        forgets: bool = False,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.make = make
        self.forgets = forgets
        workers, backups = int(self.rng.integers(1, 6)), int(self.rng.integers(1, 4))
        hosts = (0, *range(workers + 1, workers + 1 + backups))
        self.electorate = Electorate(hosts, tuple(range(1, workers + 1)))
        self.loss, self.twice = self.rng.choice([0.0, 0.05, 0.3]), self.rng.choice([0.0, 0.2])
        self.delay = self.rng.choice([0.01, 0.3, 1.5])
        self.busy = self.rng.choice([0.3, 1.0])  # seconds that a round takes, about
        self.processes = {k: Process(k) for k in range(workers + 1 + backups)}
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.now, self.scheduled = 0.0, 0
        self.cut: dict[tuple[int, int], float] = {}  # until when nothing passes that way
        self.servers: dict[int, int] = {}  # by term
        self.acknowledged: list[tuple[float, Position, bytes]] = []
        self.broken: list[str] = []

    def run(self) -> list[str]:
        """To the end; returns the promises that were broken."""
        for k in self.processes:
            self.at(self.rng.random() * 3, partial(self.start, k))
            self.at(TICK * self.rng.random(), partial(self.tick, k))
        for _ in range(int(self.rng.integers(2, 12))):
            self.at(5 + self.rng.random() * (FAULTS - 5), self.fault)
        while self.queue and self.now < FAULTS + CALM and not self.broken:
            self.now, _, event = heapq.heappop(self.queue)
            event()
        if not self.broken and not any(at > FAULTS + CALM / 2 for at, _, _ in self.acknowledged):
            self.broken.append("no round is acknowledged after everything healed")
        return self.broken

    def at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (time, self.scheduled, event))
        self.scheduled += 1

    # --- faults -----------------------------------------------------------------------------------

    def fault(self) -> None:
        lasts = min(self.rng.random() * 15, FAULTS - self.now)
        leading = [k for k, p in self.processes.items() if p.election and p.election.leads]
        anyone = int(self.rng.choice(list(self.processes)))
        who = leading[0] if leading and self.rng.random() < 0.5 else anyone
        match self.rng.integers(5):
            case 0 | 1:
                self.kill(who)
                self.at(self.now + lasts, lambda: self.start(who))
            case 2:
                self.processes[who].frozen_until = self.now + lasts
            case 3:  # two halves
                half = {k for k in self.processes if self.rng.random() < 0.5}
                for a in half:
                    for b in self.processes.keys() - half:
                        self.cut[a, b] = self.cut[b, a] = self.now + lasts
            case 4:  # one way only
                for b in self.processes:
                    if self.rng.random() < 0.7:
                        way = (who, b) if self.rng.random() < 0.7 else (b, who)
                        self.cut[way] = self.now + lasts

    def kill(self, k: int) -> None:
        process = self.processes[k]
        process.election, process.round_done = None, math.inf

    def start(self, k: int) -> None:
        process = self.processes[k]
        if process.election is not None:
            return
        if self.forgets:
            process.disk.ballot = Ballot()
        disk = process.disk
        rest = self.rng.random, TIMING, self.now, 16
        process.election = self.make(k, self.electorate, disk.ballot, disk.held, *rest)

    # --- a process --------------------------------------------------------------------------------

    def tick(self, k: int) -> None:
        process = self.processes[k]
        self.at(self.now + TICK, lambda: self.tick(k))
        if process.election is None or self.now < process.frozen_until:
            return
        if self.now >= process.round_done:
            process.round_done = math.inf
            term, round = process.election.ballot.term, process.disk.held.round + 1
            content = process.disk.content + struct.pack(">II", term, round)
            self.propose(process, Position(term, round), content)
        process.election.tick(self.now)
        self.drive(process)

    def propose(self, process: Process, position: Position, content: bytes) -> None:
        assert process.election is not None
        process.disk.held, process.disk.content = position, content
        process.election.propose(position.round, content, self.now)

    def drive(self, process: Process) -> None:
        """What the driver owes: events, then the disk, then the outbox."""
        election = process.election
        assert election is not None
        while election.events:
            match election.events.popleft():
                case Promoted(term):
                    self.promoted(process, term)
                case Deposed():
                    process.round_done = math.inf
                case Store(position, content) if position > process.disk.held:
                    process.disk.held, process.disk.content = position, content
                    election.stored(position)
                case Acknowledged(position):
                    self.acknowledge(position, process.disk.content)
                    busy = self.busy * (0.2 + self.rng.random())
                    process.round_done = self.now + busy
        process.disk.ballot = election.ballot
        while election.outbox:
            to, message = election.outbox.popleft()
            self.send(process.id, to, message)

    def send(self, sender: int, to: int, message: Message) -> None:
        calm = self.now >= FAULTS
        loss, delay = (0.0, 0.05) if calm else (self.loss, self.delay)
        for _ in range(2 if not calm and self.rng.random() < self.twice else 1):
            if self.rng.random() < loss or self.cut.get((sender, to), 0) > self.now:
                continue
            arrival = self.now + self.rng.random() * delay
            self.at(arrival, lambda: self.deliver(sender, to, message))

    def deliver(self, sender: int, to: int, message: Message) -> None:
        process = self.processes[to]
        if process.election is None:
            return
        if self.now < process.frozen_until:
            self.at(process.frozen_until, lambda: self.deliver(sender, to, message))
            return
        process.election.receive(sender, message, self.now)
        self.drive(process)

    # --- what must hold ---------------------------------------------------------------------------

    def promoted(self, process: Process, term: int) -> None:
        if self.servers.setdefault(term, process.id) != process.id:
            self.broken.append(f"term {term} has two servers")
        if self.acknowledged and not process.disk.content.startswith(self.acknowledged[-1][2]):
            self.broken.append(f"the server of term {term} lacks an acknowledged round")
        self.propose(process, Position(term, process.disk.held.round), process.disk.content)

    def acknowledge(self, position: Position, content: bytes) -> None:
        """All acknowledged states are of one history: a later one goes on from every earlier one.

        One of an older term may be acknowledged late, when its server's last answers come.
        """
        if self.acknowledged:
            newest = self.acknowledged[-1][2]
            if newest.startswith(content) and len(newest) > len(content):
                return
            if not content.startswith(newest):
                self.broken.append(f"what is acknowledged at {position} is of another history")
        self.acknowledged.append((self.now, position, content))
