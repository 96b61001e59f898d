"""Known bugs, put back one at a time: what the chamber has to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from peer.compute.held_transfers import Held, HeldTransfers
from peer.effects import Moment
from peer.machine.memory import aligned
from peer.net.exchange import Exchange
from peer.net.session import Phase, Session
from peer.net.settling.commit import Commit
from peer.net.transfer.incoming import Incoming
from peer.net.transfer.receive_buffers import ReceiveBuffers
from peer.net.transfer.receiver import Receiver
from peer.net.wire import Chunk, Offer
from sim.environment.disk import SimulatedDisk

Put = Callable[[pytest.MonkeyPatch], None]


def votes_of_the_past_count(patch: pytest.MonkeyPatch) -> None:
    """A vote for the value of a decider's former process counts for the new one's."""
    voted = Commit.voted

    def any_vote(
        self: Commit, t: Moment, exchange: Exchange, is_of_us: bool, session: int = 0
    ) -> None:
        voted(self, t, exchange, True, session)

    patch.setattr(Commit, "voted", any_vote)


def a_doubt_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The neighbour tells what became of an exchange in doubt, and nobody hears it."""

    def decided(self: Commit, t: Moment, is_used: bool) -> None:
        if t == self.doubt:
            self.doubt = None

    patch.setattr(Commit, "decided", decided)


def what_is_held_counts_twice(patch: pytest.MonkeyPatch) -> None:
    """A transfer that was held apart is added twice."""
    resolve = HeldTransfers.resolve

    def twice(self: HeldTransfers, neighbour: int, t: Moment, is_used: bool) -> Held | None:
        change = self.state.tensors.get(f"in doubt/{neighbour}")
        held = resolve(self, neighbour, t, is_used)
        if held is not None and is_used:
            self.state.nets[held.net].arena.vector.add_(change)
        return held

    patch.setattr(HeldTransfers, "resolve", twice)


def an_offer_stays_deferred(patch: pytest.MonkeyPatch) -> None:
    """An offer that had to wait, and was made again, is asked for a second time."""

    def accept(self: ReceiveBuffers, offer: Offer, at_hand: bool = False) -> bool:
        if len(self._coming) >= self.ROOM and not at_hand:
            self._deferred = offer
            return False
        spare = self._spare.get((offer.net, offer.nbytes))
        buffer = spare.pop() if spare else aligned(offer.nbytes)
        self._coming[offer.t] = Incoming(offer, buffer, sender=self.sender)
        return True

    patch.setattr(ReceiveBuffers, "accept", accept)


def a_former_vote_is_not_answered(patch: pytest.MonkeyPatch) -> None:
    """Who holds a former process's value is not told that it is not used any more."""
    voted = Commit.voted

    def silent(
        self: Commit, t: Moment, exchange: Exchange, is_of_us: bool, session: int = 0
    ) -> None:
        if is_of_us or exchange.t != t or exchange.is_settled:
            voted(self, t, exchange, is_of_us, session)

    patch.setattr(Commit, "voted", silent)


def values_ahead_outlive_their_process(patch: pytest.MonkeyPatch) -> None:
    """What a neighbour sent ahead is kept, though it is started anew and will send another."""
    patch.setattr(ReceiveBuffers, "drop_nets_after", lambda self, t: None)


def a_late_value_is_used(patch: pytest.MonkeyPatch) -> None:
    """What comes for an exchange that is over is taken for the one at hand."""
    offered, chunk = Receiver.offered, Receiver.chunk

    def offered_late(
        self: Receiver, offer: Offer, exchange: Exchange, now: float, sender: int
    ) -> object:
        if offer.t < exchange.t and exchange.awaits(exchange.t) and not self.buffers[exchange.t]:
            offer = replace(offer, t=exchange.t)
        return offered(self, offer, exchange, now, sender)

    def late(
        self: Receiver, chunk_: Chunk, body: memoryview | None, exchange: Exchange, now: float
    ) -> object:
        if chunk_.t < exchange.t:
            chunk_ = replace(chunk_, t=exchange.t)
        return chunk(self, chunk_, body, exchange, now)

    patch.setattr(Receiver, "offered", offered_late)
    patch.setattr(Receiver, "chunk", late)


def a_rename_is_not_synced(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint's file is on the disk when it is said to be, and its name is not."""
    patch.setattr(SimulatedDisk, "sync_folder", lambda self, folder: None)


def a_checkpoint_is_not_synced(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint's name is on the disk when it is said to be, and its bytes are not."""
    patch.setattr(SimulatedDisk, "sync", lambda self, file: file.flush())


def late_comers_leap_over_each_other(patch: pytest.MonkeyPatch) -> None:
    """Who leaves out rounds seems to be ahead by them."""

    def lead(self: Session) -> int:
        return self.their_at.round if self.are_apart and self.phase is Phase.UP else -1

    patch.setattr(Session, "lead", lead)


NAIVE: Mapping[str, object] = {"durability": "none"}
"""Each end of a link decides for itself: the exchange as it was before there was a commit."""
