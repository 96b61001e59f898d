"""Conservative synchronisation of the ranks of one simulation.

The algorithm, in the words of parallel discrete-event simulation (R. M. Fujimoto, 1990,
doi:10.1145/84537.84545):

1. Every peer lives on one rank, which has an event queue of its own.
2. Ranks exchange, in one collective step, batches of messages (values, withdrawals, progress of
   boundary peers) and the earliest time stamp of what each has still to do.
3. *Lockstep*, where values can be lost or delay each other, or peers can be away: what a peer
   computes depends on the order of events. The minimum of those time stamps is the lower bound on
   time stamps (LBTS): no event anywhere is earlier. Every rank processes the events at the LBTS
   alone, again and again until nothing is left at that time. Networks may have no delay, so there
   is no lookahead by which a rank could go further.
4. *Free-running*, where every value arrives and none delays another: what a peer computes depends
   on who sent what, never on when. So a rank processes later events, too, until it holds values for
   other ranks, or a boundary peer (one with a neighbour on another rank) is blocked on a remote
   peer. Then it synchronises. The minimum of time stamps bounds nothing here; it says which ranks
   take the next turn, and when all have ended.
5. In both, messages of one moment are delivered in the order of their senders
   (:meth:`sim.events.exchanges.Exchanges.deliver`), on whichever rank they were sent. So the run is
   that of one process, up to rounding: ranks stack other sets of peers into one step.
"""

from __future__ import annotations

import math
from collections import defaultdict

import networkx as nx

from sim.environment.network import NetworkModel
from sim.events.batch import Batch
from sim.events.event_queue import EventQueue
from sim.events.exchanges import Exchanges
from sim.events.pauses import Pauses
from sim.sharding.collectives import Communicator
from sim.sharding.disagreement import SharedDisagreement
from sim.sharding.messages import pack_batch, unpack_batch
from sim.sharding.partition import partition_peers


class ConservativeSynchroniser:
    """Runs one rank's event queue in step with those of the other ranks.

    Args:
        communicator: this rank among all.
        graph: every link that peers may ever use.
        network: says whether the order of events matters (lockstep) or not (free-running).
        shared: the disagreement that ranks measure together, if any.
    """

    def __init__(
        self,
        communicator: Communicator,
        graph: nx.Graph[int],
        network: NetworkModel,
        shared: SharedDisagreement | None = None,
    ) -> None:
        self.communicator = communicator
        self.network = network
        self.disagreement = shared
        self.is_lockstep = network.is_shared or not network.is_reliable
        self._rank_of = rank_of = partition_peers(graph, communicator.size)
        self._others = set(range(communicator.size)) - {communicator.rank}
        own = [k for k, rank in rank_of.items() if rank == communicator.rank]
        # By peer of this rank, the other ranks on which it has neighbours.
        self._neighbour_ranks = {
            k: {rank_of[n] for n in graph.neighbors(k)} & self._others for k in own
        }
        self._boundary_peers = [k for k in own if self._neighbour_ranks[k]]
        self._outgoing: defaultdict[int, Batch] = defaultdict(Batch)  # by rank

    def run(self, queue: EventQueue, exchanges: Exchanges, pauses: Pauses) -> None:
        """Process every event of this rank, and deliver every message, until no rank has any."""
        earliest = 0.0  # of all ranks' time stamps; in lockstep, the LBTS
        while earliest < math.inf:
            if self.is_lockstep:
                queue.run_until(earliest)
            else:
                self._run_freely(queue, exchanges, earliest)
            earliest = self._synchronise(queue, exchanges, pauses)

    def round_completed(self, pauses: Pauses) -> None:
        """Nothing yet: ranks agree on a pause when they synchronise, after the same round."""

    def any_process(self, here: bool) -> bool:
        """Whether it is so on any rank; collective."""
        return any(self.communicator.all_gather("yes" if here else ""))

    def _run_freely(self, queue: EventQueue, exchanges: Exchanges, earliest: float) -> None:
        """Process events up to ``earliest``, then later ones, as far as this rank can advance.

        Each turn processes only events that were queued before it. What they entail waits for the
        messages of the turn, so that peers of this rank reach a step together and it is stacked.
        """
        queue.run_until(earliest, only_queued=True)
        self._deliver_locally(exchanges)
        while self._can_advance(queue, exchanges):
            queue.run_until(queue.next_time, only_queued=True)
            self._deliver_locally(exchanges)

    def _can_advance(self, queue: EventQueue, exchanges: Exchanges) -> bool:
        """Whether this rank takes its next turn without synchronising.

        It does not while values are queued for other ranks, which may be blocked on them (nobody is
        blocked on a withdrawal or on how far a peer is while all values arrive); nor while
        a boundary peer is blocked on a remote one: the other peers of the rank then wait, too, to
        take their next step stacked with it.
        """
        if not queue or (self.disagreement and self.disagreement.is_behind):
            return False
        if any(batch.transmissions for batch in self._outgoing.values()):
            return False
        return not any(map(exchanges.is_blocked_on_remote, self._boundary_peers))

    def _deliver_locally(self, exchanges: Exchanges) -> None:
        """Deliver messages on this rank now, and queue those for other ranks."""
        batch = exchanges.collect_batch()
        self._queue_for_others(batch)
        exchanges.deliver(batch)

    def _queue_for_others(self, batch: Batch) -> None:
        """Queue what other ranks need to know, for each of them."""
        for sent in batch.transmissions:
            receiver_rank = self._rank_of[sent.receiver]
            # Where bandwidth is shared, all ranks must know what occupies it.
            concerned = self._others if self.network.is_shared else {receiver_rank} & self._others
            for rank in concerned:
                known = sent if rank == receiver_rank else sent._replace(value=None)
                self._outgoing[rank].transmissions.append(known)
        for withdrawal in batch.withdrawals:
            for rank in {self._rank_of[withdrawal.receiver]} & self._others:
                self._outgoing[rank].withdrawals.append(withdrawal)
        for update in batch.updates:
            for rank in self._neighbour_ranks[update.peer]:
                self._outgoing[rank].updates.append(update)

    def _synchronise(self, queue: EventQueue, exchanges: Exchanges, pauses: Pauses) -> float:
        """Exchange messages with the other ranks and deliver all of them.

        Where any rank is asked to pause, all plan it for the first round that no peer of any rank
        has completed.

        Returns:
            The earliest time stamp of any rank's events, and (in lockstep, or where a rank has no
            event left) of what the exchanged messages entail; infinite when all have ended.
        """
        batch = exchanges.collect_batch()
        self._queue_for_others(batch)
        earliest = queue.next_time
        # Without an event left, a rank must not end while one is still to come of a message.
        if self.is_lockstep or not queue:
            effects = (each.earliest_effect for each in (batch, *self._outgoing.values()))
            earliest = min(earliest, *effects)
        reached = self.disagreement.reached if self.disagreement else 0
        packed = {rank: pack_batch(each) for rank, each in sorted(self._outgoing.items())}
        self._outgoing.clear()
        numbers = (earliest, reached, pauses.is_asked(), pauses.soonest)
        answers, messages = self.communicator.all_to_all(numbers, packed)
        for message in messages.values():
            batch.extend(unpack_batch(message))
        exchanges.deliver(batch)
        earliest_of_all, reached_by_all, asked, soonest = zip(*answers, strict=True)
        if any(asked):
            pauses.pause_by(int(max(soonest)))
        if self.disagreement:
            self.disagreement.measure(int(min(reached_by_all)))
        return float(min(earliest_of_all))
