"""The invitations of one peer: who may come by which key, and until when.

Pure: the time goes in. Nothing of it is on a disk, so a code ends with the inviter's process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from peer.net.keys import pair_of
from topology.errors import UserError

MOST = 16
"""Codes that are open at a time, at most."""

MOST_REQUESTS = 2000
"""By one code; whoever asks more often has it closed. A file takes one request for 1.5 KB."""


class State(Enum):
    """What has become of a code."""

    OPEN = "open"
    USED = "used"


@dataclass
class Invitation:
    """One code.

    Attributes:
        peer: the id that the newcomer is to have.
        links: those that it is to have links to.
        public: the key that the code opens our door by.
        until: the time at which it ends.
        state: whether somebody has come by it.
        taken_by: the public key of who has come by it; empty before.
        requests: how often it was asked by.
    """

    peer: int
    links: tuple[int, ...]
    public: bytes
    until: float
    state: State = State.OPEN
    taken_by: str = ""
    requests: int = 0

    def is_for(self, key: str) -> bool:
        """Whether the holder of that public key may come by it: nobody else has."""
        return self.state is State.OPEN or self.taken_by == key


class Invitations:
    """All of one peer.

    Args:
        changed: is called with the keys that may come in, whenever they are others.
    """

    def __init__(self, changed: Callable[[frozenset[bytes]], None]) -> None:
        self._changed = changed
        self._all: dict[bytes, Invitation] = {}

    def make(
        self, peer: int, links: tuple[int, ...], secret: bytes, now: float, seconds: float
    ) -> Invitation:
        """Invite ``peer``: whoever has the ``secret`` may come for so many seconds.

        Raises:
            UserError: it is invited already, or too many are.
        """
        self.look(now)
        if any(each.peer == peer and each.state is State.OPEN for each in self._all.values()):
            raise UserError(
                f"peer {peer} is invited already; take that code back with --revoke {peer}, or "
                "choose another --id"
            )
        if len(self._all) >= MOST:
            raise UserError(f"there are {MOST} codes already; take some back with --revoke ID")
        public, _ = pair_of(secret)
        made = Invitation(peer, links, public, now + seconds)
        self._all[public] = made
        self._tell()
        return made

    def listed(self, now: float) -> list[Invitation]:
        """Those whose time is not over, by id."""
        self.look(now)
        return sorted(self._all.values(), key=lambda each: (each.peer, each.until))

    def revoke(self, peer: int, now: float) -> Invitation:
        """Take back the code of ``peer``: from now on it opens nothing.

        Raises:
            UserError: there is none.
        """
        found = [each for each in self.listed(now) if each.peer == peer]
        if not found:
            raise UserError(f"--revoke {peer}: no code of peer {peer} is valid here")
        for each in found:
            self._end(each)
        return found[-1]

    def asked(self, public: bytes, now: float) -> Invitation | None:
        """The invitation by whose key somebody asks; None where it has ended, or has been asked
        by too often, which ends it.
        """
        self.look(now)
        found = self._all.get(public)
        if found is not None:
            found.requests += 1
            if found.requests > MOST_REQUESTS:
                self._end(found)
                return None
        return found

    def take(self, invitation: Invitation, key: str) -> bool:
        """Somebody with that public key comes by it; returns whether it may.

        Again with the same key it may: an answer was lost.
        """
        if invitation.state is State.OPEN:
            invitation.state, invitation.taken_by = State.USED, key
        return invitation.is_for(key)

    def look(self, now: float) -> None:
        """End those whose time is over."""
        for each in [each for each in self._all.values() if now >= each.until]:
            self._end(each)

    def next_end(self) -> float | None:
        """When the next one ends; None where there is none."""
        return min((each.until for each in self._all.values()), default=None)

    def _end(self, invitation: Invitation) -> None:
        del self._all[invitation.public]
        self._tell()

    def _tell(self) -> None:
        self._changed(frozenset(self._all))
