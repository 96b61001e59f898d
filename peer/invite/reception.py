"""A peer's reception: it gives out codes, and answers those who come by them.

It has a thread of its own, which may wait for the disk and for neighbours; training and the I/O
thread do not wait for it. What it is asked comes by :class:`peer.net.members.desk.Desk`, from whom
CURVE has let in: a neighbour, or somebody with the key of a code.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from peer.experiment.addresses import (
    check_dialled,
    is_ipc,
    is_loopback,
    number_towards,
    numeric,
    split,
)
from peer.invite.admitting import Admitting
from peer.invite.code import SECRET, Code, digest_of
from peer.invite.invitations import Invitation, Invitations, State
from peer.invite.portable import portable
from peer.net.keys import check_public, packed_key
from peer.net.members.desk import PART, Request
from peer.net.members.newcomers import Contact, address_of, check_newcomer
from peer.net.reach.asking import Asking, NotReached
from topology.errors import UserError
from topology.membership import FAR

EVERY = 1.0
"""Seconds between two looks whether a code has ended."""

PATIENCE = 5.0
"""Seconds in which a neighbour lets in whom we introduce."""

AT_ONCE = 2
"""Links that a newcomer has, unless they are named."""


USED = "the code was used already, by a machine with another key; ask for a new one"


class Reception:
    """Answers at one peer, until its process ends.

    Args:
        admitting: of this peer.
        address: where this peer is reached; as the file says, if None.
    """

    def __init__(self, admitting: Admitting, address: str | None = None) -> None:
        self.admitting = admitting
        self.process = admitting.process
        self.me = admitting.me
        self.address = address_of(self.process.experiment, self.me, address)
        self._lock = threading.Lock()  # orders come by another thread
        self._invitations = Invitations(self.process.io.invite)
        self._texts: dict[bytes, bytes] = {}  # of experiments, by the key of a code

    def open(self) -> None:
        """Answer from now on; where links have no keys, there is nobody to be answered."""
        if self.process.io.sockets.security is not None:
            threading.Thread(target=self._serve, name="reception", daemon=True).start()

    # --- orders -----------------------------------------------------------------------------------

    def invite(self, peer: int | None, links: Sequence[int] | None, seconds: float) -> str:
        """Make a code; returns it, and below it, in words, what it is good for.

        Raises:
            UserError: nobody can be invited, or not so.
        """
        security = self.process.io.sockets.security
        if security is None:
            raise UserError(
                "peer invite: links have no keys here, so nobody could be told from anybody else; "
                "give the file keys ('peer keys'), or let the newcomer in by 'peer admit'"
            )
        reached_at = self._reached_at()
        with self._lock:
            peer = self._free_id() if peer is None else peer
            self.admitting.refuse_taken(peer)
            chosen = self._links() if links is None else self._checked(links)
            check_newcomer(self.process.experiment, self.process.program, peer, True, chosen)
            text = self._text()
            secret = secrets.token_bytes(SECRET)
            now = time.monotonic()
            made = self._invitations.make(peer, chosen, secret, now, seconds)
            self._texts[made.public] = text.encode()
        until = int(time.time() + seconds)
        key = packed_key(security.public)
        code = Code(self.me, peer, until, digest_of(text), key, secret, reached_at)
        who = ", ".join(map(str, chosen))
        lines = [
            str(code),
            f"peer {peer} may come once by this code, within {seconds / 60:g} minutes, to have "
            f"links to {who}; on its machine: peer join CODE",
        ]
        if is_loopback(reached_at):
            lines.append(f"it leads to {reached_at}, which this machine alone reaches")
        return "\n".join(lines)

    def listed(self) -> str:
        """The codes that are valid, a line each."""
        now = time.monotonic()
        with self._lock:
            found = self._invitations.listed(now)
        return "\n".join(_line(each, now) for each in found) or f"peer {self.me} has invited nobody"

    def revoke(self, peer: int) -> str:
        """Take a code back; returns what it comes to.

        Raises:
            UserError: there is none.
        """
        with self._lock:
            gone = self._invitations.revoke(peer, time.monotonic())
        if gone.state is State.USED:
            return (
                f"the code of peer {peer} opens nothing any more, but somebody has come by it; to "
                f"be rid of that peer: peer forget {peer}"
            )
        return f"the code of peer {peer} opens nothing any more, and nobody has come by it"

    def _reached_at(self) -> str:
        """The address that a code leads to.

        Raises:
            UserError: there is none.
        """
        if is_ipc(self.address):
            raise UserError(
                f"peer invite: {self.address} is a file of this machine, where no code leads; let "
                "the newcomer in by 'peer admit'"
            )
        if not self.process.experiment.discovers or self.address.startswith("tcp"):
            return self.address
        sockets = self.process.io.sockets
        there = [sockets.dialled[k] for k in self._neighbours() if k in sockets.dialled]
        if not there:
            raise UserError("peer invite: no neighbour is up, by which this machine's number shows")
        port = split(sockets.listening)[2]
        assert port is not None
        return numeric(number_towards(there[0]), port)

    def _free_id(self) -> int:
        invited = {each.peer for each in self._invitations.listed(time.monotonic())}
        members = self.process.io.members
        ever = {change.peer for change in members.changes}
        taken = {*invited, *ever, *self.process.admitted}
        return next(k for k in range(self.process.experiment.peers, FAR) if k not in taken)

    def _neighbours(self) -> list[int]:
        """Those that can be told of a newcomer: they are there, and stay.

        Who was invited itself has no word to give.
        """
        io = self.process.io
        if self.me >= self.process.experiment.peers:
            return []
        phases = io.status.phases
        stay = [k for k in io.endpoint.links if io.members.departure(k, FAR) is None]
        return sorted(k for k in stay if phases.get(k) == "up")

    def _links(self) -> tuple[int, ...]:
        """Ourselves, and the neighbour with the fewest links."""
        roster = self.process.io.endpoint.roster
        members = roster.members.joined(self.process.io.members)
        graph = members.graph(roster.base, FAR - 1)
        few = sorted(self._neighbours(), key=lambda k: (graph.degree(k) if k in graph else 0, k))
        return tuple(sorted([self.me, *few[: AT_ONCE - 1]]))

    def _checked(self, links: Sequence[int]) -> tuple[int, ...]:
        """The links that an operator names.

        Raises:
            UserError: we are not among them, or cannot introduce a newcomer to all.
        """
        there = [self.me, *self._neighbours()]
        for k in links:
            if k not in there:
                raise UserError(
                    f"--links {k}: peer {self.me} can introduce a newcomer to its own neighbours "
                    f"that are up ({', '.join(map(str, there[1:])) or 'none is'}); choose among "
                    "them, or invite at another peer"
                )
        return tuple(sorted({self.me, *links}))

    def _text(self) -> str:
        ring = self.process.io.sockets.keys
        security = self.process.io.sockets.security
        assert security is not None
        used = {k: ring.used(k).decode() for k in self.process.io.endpoint.links}
        used[self.me] = security.public.decode()
        listed = {k: key for k, key in used.items() if k in self.process.experiment.keys}
        return portable(self.process.experiment, listed)

    # --- who comes --------------------------------------------------------------------------------

    def _serve(self) -> None:
        desk = self.process.io.desk
        while not self.process.finished.is_set():
            request = desk.next(EVERY)
            try:
                if request is not None:
                    desk.answer(request, *self._answer(request))
                    self.process.io.wake()
                self._look()
            except UserError as problem:  # a disk that takes nothing
                self.process.log(f"reception: {problem}")

    def _look(self) -> None:
        """Let time pass."""
        with self._lock:
            self._invitations.look(time.monotonic())
            valid = {each.public for each in self._invitations.listed(time.monotonic())}
            self._texts = {key: text for key, text in self._texts.items() if key in valid}
        self.admitting.turn_away()

    def _answer(self, request: Request) -> tuple[Any, ...]:
        """The kind and the words of the answer."""
        if request.who >= 0:
            if request.kind != "introduce":
                return "no", "a neighbour asks nothing but to let a peer in"
            try:
                self.admitting.introduced(request.who, *request.words)
            except UserError as problem:
                return "no", _short(problem)
            return ("yes",)
        public = self.process.io.sockets.keys.guests.get(request.who, b"")
        with self._lock:
            invitation = self._invitations.asked(public, time.monotonic())
            text = self._texts.get(public, b"")
        if invitation is None:
            return "no", "the code has ended"
        match request.kind, request.words:
            case "file", (_, str(key)) if not invitation.is_for(key):
                return "no", USED
            case "file", (int(begin), _):
                return "part", len(text), text[begin : begin + PART]
            case "contact", (int(peer),) if peer in invitation.links:
                contact = self._contact(peer)
                return "at", contact.address, contact.key or ""
            case "claim", (str(key), str(address)):
                try:
                    return "in", self._claimed(invitation, key, address)
                except UserError as problem:
                    return "no", _short(problem)
        return "no", "that is not asked by a code"

    def _contact(self, peer: int) -> Contact:
        io = self.process.io
        if peer == self.me:
            assert io.sockets.security is not None
            return Contact(self.address, io.sockets.security.public.decode())
        return Contact(io.endpoint.addresses[peer], io.sockets.keys.used(peer).decode())

    def _claimed(self, invitation: Invitation, key: str, address: str) -> list[int]:
        """Somebody comes: let it in here and at the others; returns who lets it in.

        Raises:
            UserError: the code was used already, or what it says of itself cannot be.
        """
        check_public(key, "its key")
        check_dialled(address, invitation.peer)
        if is_ipc(address):
            raise UserError(f"{address} is a file of another machine's")
        with self._lock:
            if not self._invitations.take(invitation, key):
                raise UserError(USED)
        if self.admitting.come(invitation.peer, key, address):
            self.process.log(f"peer {invitation.peer}, at {address}, has come by its code")
        let_in = [self.me]
        for k in invitation.links:
            if k == self.me:
                continue
            problem = self._introduce(k, invitation.peer, key, address)
            if not problem:
                let_in.append(k)
            else:
                self.process.log(f"peer {invitation.peer} has no link to peer {k}: {problem}")
        return sorted(let_in)

    def _introduce(self, neighbour: int, peer: int, key: str, address: str) -> str:
        """Tell a neighbour of a newcomer; returns why it is not let in there, if it is not."""
        security = self.process.io.sockets.security
        assert security is not None
        contact = self._contact(neighbour)
        assert contact.key is not None
        where = self.process.io.sockets.dialled.get(neighbour, contact.address)  # as it was found
        own = replace(security, allowed={neighbour: contact.key.encode()}, hosts=frozenset())
        try:
            with Asking(neighbour, where, own) as asking:
                kind, words = asking.ask("introduce", peer, key, address, seconds=PATIENCE)
        except (NotReached, UserError) as problem:
            return str(problem)
        return "" if kind == "yes" else str(words[0] if words else kind)


def _short(problem: UserError) -> str:
    """What was wrong, as it fits an answer."""
    words = str(problem)
    return words if len(words) <= 250 else f"{words[:247]}..."


def _line(invitation: Invitation, now: float) -> str:
    left = (invitation.until - now) / 60
    what = "open" if invitation.state is State.OPEN else "used"
    who = ", ".join(map(str, invitation.links))
    return f"peer {invitation.peer}: {what}, {left:.1f} minutes left, links to {who}"
