"""The event driver: any number of peers in virtual time, by discrete-event simulation.

It carries out the same effects as the ZeroMQ driver, and what a peer combines depends on who sent
what, never on when. Three parts can be exchanged: the *engine* computes local effects and combines
(one peer at a time with the functions of the ZeroMQ driver, bit-equal to it where nothing fails;
or many peers at once, :mod:`sim.engines.stacked`), the *network model* says when values arrive, and
the *synchroniser* says how far events may run before messages are delivered
(:mod:`sim.events.synchroniser`, and :mod:`sim.sharding.synchroniser` for several processes).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from peer.effects import Combine, Effect, Exchange, Now, Report, Sleep
from peer.peer import Peer
from peer.program import Program
from sim.engines.eager import Engine, OneByOne
from sim.environment.network import NetworkModel
from sim.events.event_queue import EventQueue
from sim.events.exchanges import Exchanges
from sim.events.pauses import Pauses
from sim.events.settling import combine_received, outgoing, post
from sim.events.synchroniser import SingleProcess, Synchroniser
from sim.failover.succession import Succession
from sim.simulated_peer.simulated_peer import PendingExchange, SimulatedPeer


class Observer(Protocol):
    """Is told of every round that a peer completes."""

    def reported(self, peer: SimulatedPeer, report: Report) -> None:
        """``peer`` has completed ``report.round`` rounds."""


class EventDriver:
    """Runs ``program`` at every peer until all have finished or are away for ever.

    Args:
        peers: the peers in this process by id; their weights name their neighbours.
        program: what each of them runs.
        network: delays, losses, absences.
        deadline: seconds after which an absent neighbour's weight stays on oneself.
        observer: is told of every completed round.
        engine: computes; one peer at a time by default.
        synchroniser: runs events and delivers messages; by default, all peers are in this process.
        catch_up: rounds; a peer that was away, and is further behind, leaves them out.
        adapts: whether slow peers are waited for within limits only (``deadline: auto``).
        succession: of a server that has backups.

    Attributes:
        peers: the same peers, as they are simulated.
        queue: events to come.
        exchanges: what the peers wait for, and the messages between them.
        pauses: after which round the peers wait for each other (see :meth:`run`).
    """

    def __init__(
        self,
        peers: Mapping[int, Peer],
        program: Program,
        network: NetworkModel,
        deadline: float,
        observer: Observer | None = None,
        engine: Engine | None = None,
        synchroniser: Synchroniser | None = None,
        catch_up: int = 10,
        adapts: bool = False,
        succession: Succession | None = None,
    ) -> None:
        self.program = program
        self.succession = succession
        self.engine: Engine = engine or OneByOne()
        self.network = network
        self.observer = observer
        self.synchroniser: Synchroniser = synchroniser or SingleProcess()
        self.peers = {k: SimulatedPeer(peer, program.start(peer)) for k, peer in peers.items()}
        self.queue = EventQueue()
        self.pauses = Pauses(self.peers)
        self.rounds = program.rounds
        self.exchanges = Exchanges(
            self.peers,
            network,
            deadline,
            self.queue,
            self._settled,
            catch_up,
            adapts,
            None if succession is None else succession.server,
        )

    def run(self, paused: Callable[[int], int | None] | None = None) -> None:
        """Carry out everything, in the order of virtual time.

        Peers that have completed the round of a pause wait until all others have. Then nothing is
        under way any more, so that the peers' states are the whole state of the simulation, and
        ``paused`` is called.

        Args:
            paused: takes the round, and returns the round of the next pause, if there is one.
        """
        if self.succession is not None:
            server = self.peers[self.succession.server]
            self.succession.begin(server.state, server.now)
        for peer in self.peers.values():
            if not peer.is_gone:
                self._resume_at(peer, peer.now)
        gc.freeze()  # else every collection would search all objects of ten thousand peers again
        try:
            self.synchroniser.run(self.queue, self.exchanges, self.pauses)
            while self.synchroniser.any_process(bool(self.pauses.held)):
                self._pause(paused)
                self.synchroniser.run(self.queue, self.exchanges, self.pauses)
        finally:
            gc.unfreeze()
            for peer in self.peers.values():
                peer.running.close()  # a peer that is away for ever goes no further
                self.engine.flush(peer)
            self.engine.finish()
        stuck = [peer.id for peer in self.peers.values() if self._should_have_finished(peer)]
        if stuck:
            raise RuntimeError(f"peers {stuck} wait for something that nobody will do")

    def _pause(self, paused: Callable[[int], int | None] | None) -> None:
        """Call ``paused`` where all peers have completed a round; then they go on."""
        assert paused is not None
        assert self.pauses.after is not None
        held = {peer.id for peer in self.pauses.held}
        for peer in self.peers.values():
            self.engine.flush(peer)
            peer.is_gone = not peer.finished and peer.id not in held
        for peer in self.pauses.release(paused(self.pauses.after)):
            self._resume_at(peer, peer.now)

    def _should_have_finished(self, peer: SimulatedPeer) -> bool:
        """Whether it has more to do, and no absence keeps it from that for ever."""
        absences = self.network.absences.get(peer.id, [])
        return not peer.finished and all(up < math.inf for _, up in absences)

    def _resume_at(self, peer: SimulatedPeer, time: float, result: Any = None) -> None:
        """Resume the coroutine at ``time``, or when its peer is back."""
        self._submit_and_resume_at(peer, time, lambda: lambda: result)

    def _submit_and_resume_at(
        self, peer: SimulatedPeer, time: float, submit: Callable[[], Callable[[], Any]]
    ) -> None:
        """Submit work now; resume the coroutine with its result at ``time``, or when it is back.

        The result is fetched only then, so that an engine can compute it together with those of
        other peers. If the peer never returns, nothing is submitted.
        """
        time = self.network.back_at(peer.id, time)
        if self.succession is not None and self.succession.strikes(peer.id, time):
            self._take_over(peer, self.succession, time)
        elif time < math.inf:
            result = submit()
            self.queue.schedule(time, lambda: self._resume(peer, time, result()))

    def _take_over(self, peer: SimulatedPeer, succession: Succession, time: float) -> None:
        """The server has died before ``time``: another goes on from the acknowledged round.

        What its processes know of each other's exchanges is settled here, when the dead one would
        have gone on; nobody has learned anything else of it meanwhile.
        """
        takeover = succession.next()
        self.engine.flush(peer)
        peer.running.close()
        peer.snapshots.before_write()
        before = peer.facade
        succession.go_back(peer.state)
        peer.facade = Peer(peer.state, before.schedule, before.rule)
        peer.running = self.program.start(peer.facade)
        peer.facade.note(term=succession.term)
        peer.term += 1
        self.exchanges.go_back(peer, takeover.down)
        self._resume_at(peer, max(time, takeover.up))

    def _resume(self, peer: SimulatedPeer, time: float, result: Any) -> None:
        """Run the coroutine until it has to wait for something."""
        peer.now = time
        self.engine.flush(peer)
        peer.snapshots.before_write()  # the coroutine may load other parameters
        while True:
            try:
                effect = peer.running.send(result)
            except StopIteration:
                peer.finished = True
                self.exchanges.announce(peer, time)  # nobody waits for it any more
                return
            match effect:
                case Combine() | Exchange():
                    self._exchange(peer, effect)
                    return
                case Report():
                    if self.succession is None or self.succession.server != peer.id:
                        self._completed(peer, effect, time)
                    else:
                        self._acknowledge(peer, effect, self.succession)
                    return
                case Now():
                    result = time
                case Sleep(seconds):
                    self._resume_at(peer, time + seconds)
                    return
                case _:
                    self._compute(peer, effect)
                    return

    def _completed(self, peer: SimulatedPeer, effect: Report, time: float) -> None:
        """A peer has completed a round: it goes on, or waits for the others."""
        if self.observer:
            self.observer.reported(peer, effect)
        self.exchanges.announce(peer, time)
        self.pauses.completed(effect.round)
        self.synchroniser.round_completed(self.pauses)
        if effect.round == self.pauses.after:
            self.pauses.held.append(peer)
        else:
            # As an event of its own: all that are as far report before one goes on.
            until = min(self.rounds, self.pauses.after or self.rounds)
            self._resume_at(peer, time, self.exchanges.go_on_in(peer, until))

    def _acknowledge(self, peer: SimulatedPeer, effect: Report, succession: Succession) -> None:
        """The server's round is completed once it cannot be lost any more."""
        time = peer.now + succession.acknowledgement()
        if succession.strikes(peer.id, time):
            self._take_over(peer, succession, time)
            return

        def completed() -> None:
            peer.now = time
            succession.acknowledged(peer.state)
            self._completed(peer, effect, time)

        self.queue.schedule(time, completed)

    def _compute(self, peer: SimulatedPeer, effect: Effect) -> None:
        """Submit a local effect; its result is there when its virtual time has passed."""
        done = peer.now + self.network.compute(peer.state, effect)
        self._submit_and_resume_at(peer, done, lambda: self.engine.submit(peer, effect))

    def _exchange(self, peer: SimulatedPeer, effect: Combine | Exchange) -> None:
        """Begin an exchange, and the local steps that are taken meanwhile."""
        pending = PendingExchange(effect, outgoing(peer, effect), peer.now)
        if isinstance(effect, Combine) and peer.state.codec is not None:
            pending.says_all = peer.state.codec.is_whole
        if isinstance(effect, Combine) and effect.meanwhile is not None:
            pending.ready += self.network.compute(peer.state, effect.meanwhile)
            pending.meanwhile = self.engine.submit(peer, effect.meanwhile)
        self.exchanges.begin(peer, pending)

    def _settled(self, peer: SimulatedPeer, pending: PendingExchange) -> None:
        """Nothing more arrives: combine, or hand the letters over, and resume."""
        effect = pending.effect
        if isinstance(effect, Exchange):
            letters = post(pending, effect, peer.state.device)
            self._resume_at(peer, pending.ready, letters)
        elif pending.meanwhile is not None:
            self._submit_and_resume_at(
                peer,
                pending.ready,
                lambda: lambda: self._combine_after_step(peer, pending, effect),
            )
        else:
            stayed_away = combine_received(self.engine, peer, pending, effect)
            self._resume_at(peer, pending.ready, stayed_away)

    def _combine_after_step(
        self, peer: SimulatedPeer, pending: PendingExchange, effect: Combine
    ) -> Any:
        """Fetch the result of the steps taken meanwhile; then combine, and return both."""
        assert pending.meanwhile is not None
        step = pending.meanwhile()
        return combine_received(self.engine, peer, pending, effect), step
