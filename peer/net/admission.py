"""Who is who among those that greet us: which neighbour a connection belongs to, whom we ignore.

Pure, as the endpoint whose part it is. A connection is bound to a neighbour by its HELLO; what
CURVE says of a sender may not contradict it. Of two processes with one id, the first keeps its
place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peer.net.link import Link
from peer.net.session import MISMATCH, NAMED, Claim
from peer.net.wire import Envelope, Hello, Probe, Reject, Welcome, encode

STRANGERS = 16
"""Peers without a link to us that are named in the log, at most."""

TAKEN = "taken"
"""Of a REJECT to a second process of one id: its place is taken."""


@dataclass(frozen=True)
class Answer:
    """An answer to whoever greeted us wrongly, by the connection that the greeting came by."""

    connection: bytes
    header: bytes


@dataclass(frozen=True)
class Note:
    """A line that a user may want to read."""

    line: str


class Admission:
    """Binds connections to neighbours.

    Args:
        links: one a neighbour.
        tell: queues an event.

    Attributes:
        foreign: messages that were ignored, being nobody's whom we know.
    """

    def __init__(self, links: Mapping[int, Link], tell: Callable[[Answer | Note], None]) -> None:
        self.links = links
        self.foreign = 0
        self._tell = tell
        self._has_said = False  # that there was something foreign
        self._neighbour_at: dict[bytes, int] = {}  # by the connection that its HELLO came by
        self._strangers: set[int] = set()
        self._doubles: set[int] = set()  # neighbours whose ids others claimed, told once

    def ignore(self, *, is_stale: bool = False) -> None:
        """Bytes from nobody we know: counted, said once, never answered.

        What is left of a neighbour's old connection is no news (``is_stale``).
        """
        self.foreign += 1
        if not is_stale and not self._has_said:
            self._has_said = True
            line = "ignored a message that is not of this network; more are only counted"
            self._tell(Note(line))

    def neighbour_at(self, connection: bytes) -> int | None:
        """Whose connection that is; None where nobody has greeted by it whom we know."""
        return self._neighbour_at.get(connection)

    def is_spoilt(self, connection: bytes) -> bool:
        """Whether a neighbour's connection carries what nobody has sent: its bytes are shifted."""
        return connection in self._neighbour_at

    def sender(self, connection: bytes, authenticated: int | None, session: int) -> Link | None:
        """The link whose neighbour greeted by this connection, if CURVE does not contradict."""
        neighbour = self.neighbour_at(connection)
        if neighbour is None or authenticated not in (None, neighbour):
            self.ignore(is_stale=neighbour is None and self._is_stale(session, authenticated))
            return None
        return self.links[neighbour]

    def _is_stale(self, session: int, authenticated: int | None) -> bool:
        """Whether a message is of a neighbour whose connection is another one by now."""
        return any(
            link.session.number == session and authenticated in (None, k)
            for k, link in self.links.items()
        )

    def greeted(
        self, connection: bytes, authenticated: int | None, envelope: Envelope, now: float
    ) -> Link | None:
        """The link of whoever greets by this connection, if it may be who it says it is."""
        hello = envelope.message
        assert isinstance(hello, Hello)
        link = self.links.get(hello.peer)
        if authenticated not in (None, hello.peer):
            self.ignore()
            return None
        if link is None:
            self._name_stranger(hello.peer)
            self.ignore()
            return None
        claim = link.session.claim(envelope.session, now)
        if claim is Claim.WRONG:
            self._refuse_double(connection, link, envelope.session)
        if claim is not Claim.RIGHT:
            return None
        for old in [c for c, k in self._neighbour_at.items() if k == hello.peer]:
            del self._neighbour_at[old]
        self._neighbour_at[connection] = hello.peer
        return link

    def probed(
        self, connection: bytes, authenticated: int | None, envelope: Envelope, probe: Probe
    ) -> None:
        """Answer somebody who asks whether its HELLO would be accepted: a neighbour, or ourselves.

        Nothing changes by it: `peer doctor` may ask while everybody trains.
        """
        me = next((link.me for link in self.links.values()), None)
        known = me is not None and (probe.peer in self.links or probe.peer == me.peer)
        if me is None or not known or authenticated not in (None, probe.peer):
            self.ignore()
            return
        differing = me.differing(probe)
        answer: Reject | Welcome = Welcome(envelope.session, self._round(), me.machine())
        if differing:
            answer = Reject(envelope.session, MISMATCH, list(differing[:NAMED]))
        self._tell(Answer(connection, encode(me.session, 0, answer)))

    def _round(self) -> int:
        return max(0, *(link.session.at.round for link in self.links.values()))

    def _name_stranger(self, peer: int) -> None:
        if peer not in self._strangers and len(self._strangers) < STRANGERS:
            self._strangers.add(peer)
            self._tell(Note(f"peer {peer} greets us, but our graph has no link to it"))

    def _refuse_double(self, connection: bytes, link: Link, session: int) -> None:
        """Two processes have one id: the first keeps its place, and both are told."""
        reject = Reject(session, TAKEN, [])
        self._tell(Answer(connection, encode(link.me.session, 0, reject)))
        if link.neighbour not in self._doubles:
            self._doubles.add(link.neighbour)
            link.warn_of_double()
            line = (
                f"a second process says that it is peer {link.neighbour}; the first keeps its "
                "place (give every process an --id of its own)"
            )
            self._tell(Note(line))
