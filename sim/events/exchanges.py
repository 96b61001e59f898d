"""How values get from peer to peer in a simulation: delayed, lost, waited for and done without.

Messages of one moment (values, withdrawals, progress) are collected while its events are processed,
and delivered when all of them have been, in the order of their senders. So the result depends
neither on the order of events within a moment, nor on the process in which a peer is simulated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from peer.effects import BEFORE_ALL, Combine, Moment
from peer.net.away.late_comer import LateComer
from sim.environment.network import SUSPECT_AFTER, NetworkModel, Transmission
from sim.events.batch import Batch, ProgressUpdate, Withdrawal
from sim.events.event_queue import EventQueue
from sim.events.impatience import Due, Impatience
from sim.simulated_peer.simulated_peer import (
    NeighbourProgress,
    PendingExchange,
    SimulatedPeer,
    Value,
)


class Exchanges:
    """The exchanges of the peers in this process, with each other and with remote peers.

    Args:
        peers: the peers in this process, by id.
        network: delays, losses, absences.
        deadline: seconds after which an absent neighbour's weight stays on oneself.
        queue: where arrivals and deadlines are scheduled.
        settled: is called when a peer's exchange is settled with every neighbour.
        catch_up: rounds; a neighbour that was done without, and is further behind, is not waited
            for.
        adapts: whether slow neighbours are waited for within limits only.
        replaceable: the peer that another process may become (:meth:`go_back`), if there is one.
    """

    def __init__(
        self,
        peers: Mapping[int, SimulatedPeer],
        network: NetworkModel,
        deadline: float,
        queue: EventQueue,
        settled: Callable[[SimulatedPeer, PendingExchange], None],
        catch_up: int,
        adapts: bool = False,
        replaceable: int | None = None,
    ) -> None:
        self.peers = peers
        self.network = network
        self.deadline = deadline
        self.catch_up = catch_up
        self.replaceable = replaceable
        self._queue = queue
        self._settled = settled
        self._batch = Batch()
        self._progress: defaultdict[int, NeighbourProgress] = defaultdict(NeighbourProgress)
        self._apart: defaultdict[int, set[int]] = defaultdict(set)  # who did without whom
        self._late_comers: dict[int, LateComer] = {}
        self._waiters: defaultdict[int, set[int]] = defaultdict(set)  # by whom they wait for
        self._due: list[Due] = []  # in this moment, patience is at its end
        self.impatience = (
            Impatience(peers, network, queue, self._progress, self._lose_patience)
            if adapts
            else None
        )

    def go_on_from(self, round: int, peers: Iterable[int]) -> None:
        """Know that ``peers``, in this process or others, have completed ``round`` rounds."""
        for k in peers:
            self._progress[k].round = round

    def is_blocked_on_remote(self, peer: int) -> bool:
        """Whether a peer of this process waits for one of another process."""
        pending = self.peers[peer].pending
        return pending is not None and not pending.awaited <= self.peers.keys()

    # --- sending ----------------------------------------------------------------------------------

    def begin(self, peer: SimulatedPeer, pending: PendingExchange) -> None:
        """Send this peer's values to its neighbours, and wait for theirs."""
        peer.pending = pending
        if self.impatience is not None:
            self.impatience.begin(peer, pending)
        skipped = self._skipped(peer, pending)
        if skipped:
            self.announce(peer, peer.now, skipped)
        for neighbour, t in sorted(pending.moments.items()):
            arrived = peer.inbox.pop((neighbour, t), None)
            if self._is_left_behind(peer, neighbour, t):
                pending.leave_behind(neighbour, peer.now)
                self._note_without(peer.id, neighbour, peer.now)
            elif neighbour in pending.awaited:
                if pending.is_of_nets and self._progress[neighbour].listens_in == t.round:
                    self._do_without(peer, pending, neighbour, peer.now)
                elif arrived is not None:
                    self._receive(peer, pending, neighbour, *arrived, peer.now)
                elif self._progress[neighbour].is_past(peer.id, t):
                    self._do_without(peer, pending, neighbour, peer.now)  # it went on already
                else:
                    self._await(peer, pending, neighbour)
        outgoing, sending = pending.outgoing, (peer.id, pending.moments, peer.now)
        peer.bytes_out += sum([value.nbytes for value in outgoing.values()])
        self._batch.transmissions += self.network.send(*sending, outgoing, pending.wanted)
        self._resume_or_watch(peer, peer.now)

    # --- who is left behind -----------------------------------------------------------------------

    def _is_left_behind(self, peer: SimulatedPeer, neighbour: int, t: Moment) -> bool:
        """Whether the neighbour was done without, is back, and has many rounds to make up."""
        if neighbour not in self._apart.get(peer.id, ()):
            return False
        is_there = self.network.back_at(neighbour, peer.now) <= peer.now
        return is_there and t.round - self._progress[neighbour].round > self.catch_up

    def go_on_in(self, peer: SimulatedPeer, rounds: int) -> int | None:
        """The round in which a peer goes on that was done without, and is far behind.

        Args:
            peer: it has just completed a round.
            rounds: of the whole program, or until all peers wait for each other.
        """
        apart = self._apart.get(peer.id)
        if not apart:
            return None
        there = [k for k in apart if self.network.back_at(k, peer.now) <= peer.now]
        known = [self._progress[k].round for k in there if not self._progress[k].finished]
        late_comer = self._late_comers.setdefault(peer.id, LateComer(self.catch_up))
        target = late_comer.target(peer.facade.round, max(known, default=-1), rounds)
        if target is not None:
            peer.inbox = {key: value for key, value in peer.inbox.items() if key[1].round >= target}
            update = ProgressUpdate(peer.id, peer.now, target, False, target, {})
            self._batch.updates.append(update)
        return target

    def _swapped(self, peer: SimulatedPeer, pending: PendingExchange) -> None:
        """Remember who was done without; note whether a late comer has heard anything."""
        apart = self._apart[peer.id]
        apart.difference_update(pending.moments.keys() - pending.missing)
        apart.update(pending.missing)
        if isinstance(pending.effect, Combine) and pending.effect.listens:
            self._late_comers[peer.id].heard(bool(pending.received))

    # --- how far a peer is ------------------------------------------------------------------------

    def _skipped(self, peer: SimulatedPeer, pending: PendingExchange) -> dict[int, Moment]:
        """By neighbour, the last exchange that this peer leaves out before the one at hand.

        Exchanges of a round follow each other, but where a peer skips to a later number.
        """
        settled = self._progress[peer.id].settled
        found = {}
        for neighbour, t in pending.moments.items():
            last = settled.get(neighbour, BEFORE_ALL)
            following = last.exchange + 1 if last.round == t.round else 0
            if t.exchange > following:
                found[neighbour] = Moment(t.round, t.exchange - 1)
        return found

    def announce(
        self, peer: SimulatedPeer, at: float, settled: Mapping[int, Moment] | None = None
    ) -> None:
        """Tell the others how far a peer is, and which exchange it has just settled."""
        update = ProgressUpdate(peer.id, at, peer.facade.round, peer.finished, -1, settled or {})
        self._batch.updates.append(update)

    def _announce_settled(
        self, peer: SimulatedPeer, term: int, at: float, moments: Mapping[int, Moment]
    ) -> None:
        if peer.term == term:
            self.announce(peer, at, moments)

    def go_back(self, peer: SimulatedPeer, died_at: float) -> None:
        """Another process is the peer, and makes the exchanges of its round anew.

        What had arrived is lost with the one that died; what comes later, comes to the next.
        """
        arrived = {key: each for key, each in peer.inbox.items() if each[0] > died_at}
        last = peer.settled
        for k, value in last.received.items() if last is not None else ():
            assert last is not None
            if last.arrivals[k] > died_at:
                arrived[k, last.moments[k]] = last.arrivals[k], value
        peer.inbox = arrived
        peer.pending = peer.settled = None
        progress = self._progress[peer.id]
        round = progress.round = peer.facade.round
        progress.settled = {k: t for k, t in progress.settled.items() if t.round < round}

    def collect_batch(self) -> Batch:
        """The messages since the last call, for :meth:`deliver` here and on other ranks."""
        batch, self._batch = self._batch, Batch()
        return batch

    def _await(self, peer: SimulatedPeer, pending: PendingExchange, neighbour: int) -> None:
        """Schedule when to stop waiting for a neighbour that is away, or whose value is lost."""
        now = peer.now
        self._waiters[neighbour].add(peer.id)
        if self.network.is_ideal:
            return
        if self.network.loses(peer.id, neighbour, pending.moments[neighbour]):
            self._give_up_at(now + self.deadline, peer, pending, neighbour)
        for down, up in self.network.absences.get(neighbour, []):
            if up <= now:
                continue
            suspected = down + SUSPECT_AFTER <= now
            end = now if suspected else max(now, down) + self.deadline
            if end < up:
                self._give_up_at(end, peer, pending, neighbour)
                return

    def _give_up_at(
        self, end: float, peer: SimulatedPeer, pending: PendingExchange, neighbour: int
    ) -> None:
        self._queue.schedule(end, lambda: self._give_up(end, peer, pending, neighbour))

    def _give_up(
        self, now: float, peer: SimulatedPeer, pending: PendingExchange, neighbour: int
    ) -> None:
        """The deadline: the neighbour's weight stays on oneself, and it will not use our value."""
        if peer.pending is not pending or neighbour not in pending.awaited:
            return
        self._do_without(peer, pending, neighbour, now)
        t = pending.moments[neighbour]
        self._batch.withdrawals.append(Withdrawal(peer.id, neighbour, t, now))
        self._resume_or_watch(peer, now)

    # --- who is slow ------------------------------------------------------------------------------

    def _lose_patience(self, due: Due, neighbours: Collection[int]) -> None:
        """Have neighbours that are slow not use our value.

        They are done without when this moment's messages have been delivered, unless their own
        value is among them: then they may have used ours.
        """
        peer, pending, now = due
        self._due.append(due)
        for k in sorted(neighbours):
            self._batch.withdrawals.append(Withdrawal(peer.id, k, pending.moments[k], now))

    def _go_on_without_the_slow(self, withdrawals: Iterable[Withdrawal]) -> Iterable[int]:
        """Do without those whose value has not come with this moment's messages, either."""
        slow = {(each.sender, each.receiver) for each in withdrawals}
        due, self._due = self._due, []
        for peer, pending, now in due:
            for k in sorted(pending.awaited) if peer.pending is pending else ():
                if (peer.id, k) in slow:
                    self._do_without(peer, pending, k, now)
            yield peer.id

    def _do_without(
        self, peer: SimulatedPeer, pending: PendingExchange, neighbour: int, since: float
    ) -> None:
        pending.do_without(neighbour, since)
        self._note_without(peer.id, neighbour, since)

    def _note_without(self, peer: int, neighbour: int, since: float) -> None:
        if self.impatience is not None:
            self.impatience.without(peer, neighbour, since)

    def _resume_or_watch(self, peer: SimulatedPeer, now: float) -> None:
        """Go on where the exchange is settled; else, see until when to wait."""
        pending = peer.pending
        self._resume_if_settled(peer)
        if self.impatience is not None and pending is not None and peer.pending is pending:
            self.impatience.watch(peer, pending, now)

    # --- delivering -------------------------------------------------------------------------------

    def deliver(self, batch: Batch) -> None:
        """Deliver all messages of one moment; peers whose exchange is settled then resume.

        Progress is learned first, because it decides which values are too late to be used.
        """
        for update in batch.updates:
            progress = self._progress[update.peer]
            progress.round, progress.finished = update.round, update.finished
            progress.listens_in = max(progress.listens_in, update.listens_in)
            progress.settled.update(update.settled)
        concerned: set[int] = set()
        for transmission in sorted(batch.transmissions, key=lambda each: each.sender):
            concerned.update(self._arrive(transmission))
        for withdrawal in batch.withdrawals:
            if withdrawal.receiver in self.peers:
                inbox = self.peers[withdrawal.receiver].inbox
                inbox.pop((withdrawal.sender, withdrawal.t), None)
        for update in batch.updates:
            concerned.update(self._release_waiters(update))
        concerned.update(self._go_on_without_the_slow(batch.withdrawals))
        now = batch.latest if concerned and self.impatience is not None else 0.0
        for k in sorted(concerned):
            self._resume_or_watch(self.peers[k], now)

    def _arrive(self, sent: Transmission) -> Iterable[int]:
        """Deliver a value, unless it is lost; yields the peers whose exchange this concerns."""
        arrival = self.network.arrival(sent)
        lost = self.network.loses(sent.sender, sent.receiver, sent.t)
        if not sent.is_mutual:
            lost = self._confirm(sent, arrival, lost)
            if sent.sender in self.peers:
                yield sent.sender
        if sent.value is not None and not lost and sent.receiver in self.peers:
            self._put(self.peers[sent.receiver], sent, arrival, sent.value)
            yield sent.receiver

    def _confirm(self, sent: Transmission, arrival: float, lost: bool) -> bool:
        """Tell a sender that expects no value in return what becomes of its own.

        It waits until its value has arrived or is given up. Returns whether it is never used.
        """
        # A receiver that is past the exchange answers so at once.
        past = self._progress[sent.receiver].is_past(sent.sender, sent.t)
        back = self.network.back_at(sent.receiver, arrival)
        # A long delay alone is no absence.
        away = back > max(arrival, sent.sent_at + self.deadline)
        sender = self.peers.get(sent.sender)
        pending = sender.pending if sender else None
        if sender is not None and pending is not None:
            pending.unconfirmed.discard(sent.receiver)
            if not (lost or away or past):
                pending.ready = max(pending.ready, arrival)
                if self.impatience is not None:
                    self.impatience.come(sent.sender, sent.receiver, sent.sent_at, False)
            else:
                until = sent.sent_at + (self.deadline if lost and not past else 0.0)
                if self.impatience is not None:
                    ends_at = self.impatience.ends_at(sent.sender, sent.receiver)
                    until = min(until, max(sent.sent_at, ends_at))
                self._do_without(sender, pending, sent.receiver, until)
        return lost or away or past

    def _put(self, peer: SimulatedPeer, sent: Transmission, arrival: float, value: Value) -> None:
        """Put a value into the exchange that waits for it, or keep it for one that will."""
        pending = peer.pending
        if pending and pending.moments.get(sent.sender) == sent.t:
            if sent.sender in pending.awaited:
                self._receive(peer, pending, sent.sender, arrival, value, sent.sent_at)
        elif not self._progress[peer.id].is_past(sent.sender, sent.t):  # late: dropped
            peer.inbox[sent.sender, sent.t] = (arrival, value)

    def _receive(
        self,
        peer: SimulatedPeer,
        pending: PendingExchange,
        sender: int,
        arrival: float,
        value: Value,
        now: float,
    ) -> None:
        pending.receive(sender, arrival, value)
        peer.bytes_in += value.nbytes
        if self.impatience is not None:
            self.impatience.come(peer.id, sender, now)

    def _release_waiters(self, update: ProgressUpdate) -> Iterable[int]:
        """Let waiters do without a peer that is past their exchange, and so will send nothing."""
        k = update.peer
        for waiter in sorted(self._waiters.pop(k, ())):
            pending = self.peers[waiter].pending
            if pending is None or k not in pending.awaited:
                continue
            if self._progress[k].is_past(waiter, pending.moments[k]):
                self._do_without(self.peers[waiter], pending, k, update.at)
                yield waiter
            else:
                self._waiters[k].add(waiter)
                if self.impatience is not None:
                    self.impatience.excuse(self.peers[waiter], k, update)

    def _resume_if_settled(self, peer: SimulatedPeer) -> None:
        """Where the peer's exchange is settled with every neighbour, announce it and go on."""
        pending = peer.pending
        if pending is not None and pending.is_settled:
            peer.pending = None
            if peer.id == self.replaceable:  # of others, it would only keep values from being freed
                peer.settled = pending
            if self.impatience is not None:
                self.impatience.end(peer.id, pending)
            if pending.missing or self._apart.get(peer.id):
                self._swapped(peer, pending)
            moments = (peer, peer.term, pending.ready, pending.moments)  # not the values
            self._queue.schedule(pending.ready, partial(self._announce_settled, *moments))
            self._settled(peer, pending)
