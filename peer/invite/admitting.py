"""Letting a peer in that the file does not list: on an operator's word, or on a neighbour's."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace

from peer.experiment.addresses import is_loopback
from peer.net.keys import check_public
from peer.net.members.newcomers import Contact, address_of, write_admitted
from peer.runtime.process import PeerProcess
from topology.errors import UserError
from topology.membership import FAR, NEWCOMERS

MOST = 16
"""Peers that one peer lets in by codes, its own and its neighbours', at most."""


class Admitting:
    """Lets peers in at one peer; called by any thread.

    Args:
        process: the peer's.
    """

    def __init__(self, process: PeerProcess) -> None:
        self.process = process
        self.me = process.state.peer
        self._lock = threading.Lock()

    def admit(self, peer: int, address: str | None, key: str | None) -> Contact:
        """Let ``peer`` in, on the operator's word; returns where it is.

        Raises:
            UserError: its key or address is missing, or is none.
        """
        experiment = self.process.experiment
        if peer == self.me:
            raise UserError(f"peer {peer} is the one that is told; name the one that is to come")
        key = key or experiment.keys.get(peer)
        if experiment.keys and key is None:
            raise UserError(
                f"--key: links have keys here, and the file has none of peer {peer}; run 'peer "
                f"keys --id {peer}' on its machine, and say --key with what it prints"
            )
        if not experiment.keys and key is not None:
            raise UserError("--key: links have no keys here; leave it out")
        where = address_of(experiment, peer, address)
        if key is not None:
            check_public(key, "--key")
        elif not (experiment.insecure or is_loopback(where)):
            raise UserError(
                f"--address {where}: is beyond loopback, where links are encrypted; give the file "
                "keys (or insecure: true)"
            )
        with self._lock:
            return self._let_in(peer, Contact(where, key))

    def introduced(self, by: int, peer: int, key: str, address: str) -> None:
        """Let ``peer`` in, whom that neighbour has invited.

        Raises:
            UserError: it is not let in, and why.
        """
        experiment = self.process.experiment
        if not experiment.invitations:
            raise UserError(f"peer {self.me} lets nobody in on a neighbour's word (invitations)")
        voucher = self.process.admitted.get(by)
        if voucher is not None and voucher.invited:
            raise UserError(f"peer {by} was invited itself, and lets nobody in at peer {self.me}")
        if self.come(peer, key, address):
            self.process.log(f"peer {peer}, at {address}, is let in: peer {by} has invited it")

    def come(self, peer: int, key: str, address: str) -> bool:
        """Let in whom a code has brought; returns whether that is new.

        Again with the same key it may be at another address.

        Raises:
            UserError: its id is another's, or there are many.
        """
        check_public(key, "its key")
        contact = Contact(address_of(self.process.experiment, peer, address), key, invited=True)
        with self._lock:
            known = self.process.admitted.get(peer)
            if known == contact:
                return False
            if known is None or known.key != key:
                self.refuse_taken(peer)
                if sum(each.invited for each in self.process.admitted.values()) >= MOST:
                    raise UserError(f"peer {self.me} has let in {MOST} by codes, and no more")
            self._let_in(peer, contact)
        return True

    def refuse_taken(self, peer: int) -> None:
        """Refuse an id that is none of a newcomer's.

        Raises:
            UserError: it is listed, far beyond, taken, or its peer has not been forgotten.
        """
        listed = self.process.experiment.peers
        if peer < listed or peer == self.me:
            raise UserError(
                f"peer {peer} is one that the file lists, with a key of its own; it comes by: peer "
                f"--id {peer}"
            )
        if peer >= listed + NEWCOMERS:
            raise UserError(
                f"--id {peer}: ids of newcomers are {listed} to {listed + NEWCOMERS - 1}"
            )
        if peer in self.process.admitted or peer in self.taken():
            here = self.process.io.members.departure(peer, FAR) is None
            forget = f", or say first: peer forget {peer}" if here else ""
            raise UserError(f"peer {peer} is taken; choose another --id{forget}")

    def taken(self) -> Collection[int]:
        """Ids of newcomers that take part, or are let in."""
        members = self.process.io.members
        joined = {c.peer for c in members.changes if members.joining(c.peer) is not None}
        return joined | self.process.admitted.keys()

    def turn_away(self) -> bool:
        """Let nobody in any more who has been forgotten; returns whether all is done.

        A peer that the file lists is told by its key in the file.
        """
        done = True
        with self._lock:
            for peer in sorted(self.process.admitted.keys()):
                gone = self.process.io.members.departure(peer, FAR)
                if gone is None or gone.kind != "forget" or peer < self.process.experiment.peers:
                    continue
                if gone.round <= self.process.admitted[peer].since:
                    continue  # it was let in after that
                if gone.round > self.process.state.round:
                    done = False
                    continue
                kept = {k: of for k, of in self.process.admitted.items() if k != peer}
                write_admitted(self.process.folder, kept)
                del self.process.admitted[peer]
                self.process.io.turn_away(peer)
                self.process.log(f"peer {peer} is forgotten: its key opens nothing here any more")
        return done

    def _let_in(self, peer: int, contact: Contact) -> Contact:
        process = self.process
        gone = process.io.members.departure(peer, FAR)
        contact = replace(contact, since=-1 if gone is None else gone.round)
        write_admitted(process.folder, process.admitted | {peer: contact})
        process.admitted[peer] = contact
        key = contact.key.encode() if contact.key else None
        process.io.admit(process.link_to(peer), contact.address, key)
        return contact
