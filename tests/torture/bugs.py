"""Known bugs, put back one at a time: what the chamber has to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from peer.compute.held_transfers import Held, HeldTransfers
from peer.effects import Moment
from peer.net.exchange import Exchange
from peer.net.session import Phase, Session
from peer.net.settling.commit import Commit
from peer.net.transfer.incoming import Incoming
from peer.net.transfer.receive_buffers import ReceiveBuffers, _aligned
from peer.net.wire import Offer

Put = Callable[[pytest.MonkeyPatch], None]


def votes_of_the_past_count(patch: pytest.MonkeyPatch) -> None:
    """A vote for the value of a decider's former process counts for the new one's."""
    voted = Commit.voted

    def any_vote(self: Commit, t: Moment, exchange: Exchange, is_of_us: bool) -> None:
        voted(self, t, exchange, is_of_us=True)

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
        buffer = spare.pop() if spare else _aligned(offer.nbytes)
        self._coming[offer.t] = Incoming(offer, buffer)
        return True

    patch.setattr(ReceiveBuffers, "accept", accept)


def late_comers_leap_over_each_other(patch: pytest.MonkeyPatch) -> None:
    """Who leaves out rounds seems to be ahead by them."""

    def lead(self: Session) -> int:
        return self.their_at.round if self.are_apart and self.phase is Phase.UP else -1

    patch.setattr(Session, "lead", lead)


NAIVE: Mapping[str, object] = {"durability": "none"}
"""Each end of a link decides for itself: the exchange as it was before there was a commit."""
