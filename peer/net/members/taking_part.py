"""The graph that one peer's rounds use, as it learns who takes part.

What is heard during a round counts from the next one on, so that a round has one graph. What a peer
knows is in its state: a checkpoint has it.
"""

from __future__ import annotations

from collections.abc import Mapping

from peer.peer import Peer
from peer.state import PeerState
from topology.membership import Change, Membership

_KEY = "members"

_THERE = ("up", "suspect")
"""Phases of a neighbour that may still tell what became of a transfer."""


def known_members(state: PeerState) -> Membership:
    """What a peer's state knows of who takes part."""
    return Membership.from_words(state.facts.get(_KEY, []))


class TakingPart:
    """Sets the graphs of a peer's rounds.

    Args:
        peer: its schedule is the experiment's; from now on it is that of its members, too.

    Attributes:
        members: what counts in the round at hand.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._base = peer.schedule
        self.members = known_members(peer.state)
        peer.schedule = self.members.schedule(self._base)

    def take(self, members: Membership) -> bool:
        """Between two rounds: let all that is known count; returns whether it is more."""
        joined = self.members.joined(members)
        if joined is self.members:
            return False
        self.members = joined
        self.peer.schedule = joined.schedule(self._base)
        self.peer.state.facts[_KEY] = joined.to_words()
        return True

    def departure(self) -> Change | None:
        """The change by which this peer takes no part in the round to come, if there is one."""
        return self.members.departure(self.peer.id, self.peer.round)

    def is_gone(self, neighbour: int, phases: Mapping[int, str]) -> bool:
        """Whether that neighbour takes no part any more, and will not tell us anything."""
        change = self.members.departure(neighbour, self.peer.round)
        if change is None:
            return False
        return change.kind == "forget" or phases.get(neighbour) not in _THERE
