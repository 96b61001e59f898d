"""How values get from peer to peer in a simulation: delayed, lost, waited for and done without.

What peers *say* in one moment (a value sent, one taken back, how far they are) becomes known when
all have said what they have to, in an order of its own: what comes of it depends neither on who
was first within the moment, nor on the process in which a peer is simulated.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import NamedTuple

from peer.effects import Moment
from sim.environment.network import SUSPECT_AFTER, Network, Sent
from sim.simulated_peer.simulated_peer import Pending, Process, Standing, Value


class Withdrawn(NamedTuple):
    """A value sent earlier is not to be used any more."""

    sender: int
    receiver: int
    t: Moment


class News(NamedTuple):
    """How far a peer is: its round, and what it has just settled, with whom."""

    peer: int
    at: float
    round: int
    finished: bool
    passed: Mapping[int, Moment]


@dataclass(slots=True)
class Said:
    """All that peers said in one moment; each peer's in its order."""

    sent: list[Sent] = field(default_factory=list)
    withdrawn: list[Withdrawn] = field(default_factory=list)
    news: list[News] = field(default_factory=list)

    @property
    def earliest(self) -> float:
        """Nothing that comes of it happens sooner."""
        # who wants nothing back goes on at once, if it hears that its value is not taken
        ends = (sent.soonest if sent.crossing else sent.at for sent in self.sent)
        return min(chain(ends, (news.at for news in self.news)), default=math.inf)

    def add(self, other: Said) -> None:
        """What other peers said."""
        self.sent += other.sent
        self.withdrawn += other.withdrawn
        self.news += other.news


class Exchanges:
    """The exchanges of the peers in this process, with each other and with peers elsewhere.

    Args:
        processes: the peers in this process, by id.
        network: delays, losses, absences.
        deadline: seconds after which an absent neighbour's weight stays on oneself.
        at: plans an action for a time.
        settled: is told that nothing more comes of what a peer waited for.
    """

    def __init__(
        self,
        processes: Mapping[int, Process],
        network: Network,
        deadline: float,
        at: Callable[[float, Callable[[], None]], None],
        settled: Callable[[Process, Pending], None],
    ) -> None:
        self.processes = processes
        self.network = network
        self.deadline = deadline
        self._at = at
        self._settled = settled
        self._said = Said()
        self._standings: defaultdict[int, Standing] = defaultdict(Standing)
        self._waiters: defaultdict[int, set[int]] = defaultdict(set)  # on whom they wait

    def go_on_from(self, round: int, peers: Iterable[int]) -> None:
        """All of ``peers``, here and elsewhere, have completed ``round`` rounds."""
        for k in peers:
            self._standings[k].round = round

    # --- what peers say ---------------------------------------------------------------------------

    def begin(self, process: Process, pending: Pending) -> None:
        """Send this peer's values to its neighbours, and wait for theirs."""
        process.pending = pending
        for neighbour, t in sorted(pending.moments.items()):
            arrived = process.inbox.pop((neighbour, t), None)
            if neighbour in pending.open:
                if arrived is not None:
                    self._receive(process, pending, neighbour, *arrived)
                elif self._standings[neighbour].is_past(process.id, t):
                    pending.do_without(neighbour, process.now)  # it went on without us
                else:
                    self._expect(process, pending, neighbour)
        outgoing, sending = pending.outgoing, (process.id, pending.moments, process.now)
        process.bytes_out += sum([value.nbytes for value in outgoing.values()])
        self._said.sent += self.network.send(*sending, outgoing, pending.wanted)
        self._settle(process)

    def tell(self, process: Process, at: float, passed: Mapping[int, Moment] | None = None) -> None:
        """Say how far a peer is, and what it has just settled."""
        news = News(process.id, at, process.peer.round, process.finished, passed or {})
        self._said.news.append(news)

    def take_said(self) -> Said:
        """What has been said since this was last asked; to be handed over."""
        said, self._said = self._said, Said()
        return said

    def _expect(self, process: Process, pending: Pending, neighbour: int) -> None:
        """Plan when to stop waiting for a neighbour that is away, or whose message is lost."""
        now = process.now
        self._waiters[neighbour].add(process.id)
        if self.network.is_ideal:
            return
        if self.network.loses(process.id, neighbour, pending.moments[neighbour]):
            self._give_up_at(now + self.deadline, process, pending, neighbour)
        for down, up in self.network.absences.get(neighbour, []):
            if up <= now:
                continue
            suspected = down + SUSPECT_AFTER <= now
            end = now if suspected else max(now, down) + self.deadline
            if end < up:
                self._give_up_at(end, process, pending, neighbour)
                return

    def _give_up_at(self, end: float, process: Process, pending: Pending, neighbour: int) -> None:
        self._at(end, lambda: self._give_up(end, process, pending, neighbour))

    def _give_up(self, now: float, process: Process, pending: Pending, neighbour: int) -> None:
        """The deadline: the neighbour's weight stays on oneself, and it will not get our value."""
        if process.pending is not pending or neighbour not in pending.open:
            return
        pending.do_without(neighbour, now)
        t = pending.moments[neighbour]
        self._said.withdrawn.append(Withdrawn(process.id, neighbour, t))
        self._settle(process)

    # --- what comes of it -------------------------------------------------------------------------

    def hand_over(self, said: Said) -> None:
        """Let it be known, and let those go on for whom nothing more is open."""
        for news in said.news:
            standing = self._standings[news.peer]
            standing.round, standing.finished = news.round, news.finished
            standing.passed.update(news.passed)
        moved: set[int] = set()
        for sent in sorted(said.sent, key=lambda sent: sent.sender):
            moved.update(self._arrive(sent))
        for taken in said.withdrawn:
            if taken.receiver in self.processes:
                self.processes[taken.receiver].inbox.pop((taken.sender, taken.t), None)
        for news in said.news:
            moved.update(self._release(news))
        for k in sorted(moved):
            self._settle(self.processes[k])

    def _arrive(self, sent: Sent) -> Iterable[int]:
        """Bring a value to its end, if it gets there; whose exchange that moves."""
        arrival = self.network.arrival(sent)
        lost = self.network.loses(sent.sender, sent.receiver, sent.t)
        if not sent.crossing:
            lost = self._inform(sent, arrival, lost)
            if sent.sender in self.processes:
                yield sent.sender
        if sent.value is not None and not lost and sent.receiver in self.processes:
            self._deliver(self.processes[sent.receiver], sent, arrival, sent.value)
            yield sent.receiver

    def _inform(self, sent: Sent, arrival: float, lost: bool) -> bool:
        """Let a sender that waits for nothing in return know, and say, whether its value is lost.

        It waits until it is there or given up.
        """
        past = self._standings[sent.receiver].is_past(sent.sender, sent.t)  # it says so at once
        back = self.network.back_at(sent.receiver, arrival)
        away = back > max(arrival, sent.at + self.deadline)  # a long way is no absence
        process = self.processes.get(sent.sender)
        pending = process.pending if process else None
        if pending is not None:
            pending.unsent.discard(sent.receiver)
            if not (lost or away or past):
                pending.ready = max(pending.ready, arrival)
            else:
                waited = self.deadline if lost and not past else 0.0
                pending.do_without(sent.receiver, sent.at + waited)
        return lost or away or past

    def _deliver(self, process: Process, sent: Sent, arrival: float, value: Value) -> None:
        """Hand a value over: into the exchange that waits for it, or for one that will."""
        pending = process.pending
        if pending and pending.moments.get(sent.sender) == sent.t:
            if sent.sender in pending.open:
                self._receive(process, pending, sent.sender, arrival, value)
        elif not self._standings[process.id].is_past(sent.sender, sent.t):  # late: dropped
            process.inbox[sent.sender, sent.t] = (arrival, value)

    @staticmethod
    def _receive(
        process: Process, pending: Pending, sender: int, arrival: float, value: Value
    ) -> None:
        pending.take(sender, arrival, value)
        process.bytes_in += value.nbytes

    def _release(self, news: News) -> Iterable[int]:
        """Let those do without a peer who wait for what it, being past it, will never send."""
        k = news.peer
        for waiter in self._waiters.pop(k, ()):
            pending = self.processes[waiter].pending
            if pending is None or k not in pending.open:
                continue
            if self._standings[k].is_past(waiter, pending.moments[k]):
                pending.do_without(k, news.at)
                yield waiter
            else:
                self._waiters[k].add(waiter)

    def _settle(self, process: Process) -> None:
        """Once every neighbour is settled, its peer may go on."""
        pending = process.pending
        if pending is not None and pending.is_settled:
            process.pending = None
            self._at(pending.ready, partial(self.tell, process, pending.ready, pending.moments))
            self._settled(process, pending)
