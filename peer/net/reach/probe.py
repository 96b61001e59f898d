"""Asking a peer whether it would take us: name, route, port, key, experiment, in this order."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace

from peer.experiment.addresses import look_up, name_in
from peer.net.away.contacts import Contact
from peer.net.header.seal import WireError
from peer.net.reach.diagnosis import why_not_reached
from peer.net.reach.resolver import Find, Found, NotFound, Resolver
from peer.net.session import MISMATCH, Identity, remedy
from peer.net.sockets import Security, Sockets
from peer.net.wire import Probe, Reject, Welcome, decode, encode

PATIENCE = 5.0
"""Seconds to wait for a name, and for an answer."""

NOWHERE = "tcp://127.0.0.1:0"
"""Where who only asks listens: at a port that nobody knows."""


ROUTE = ("no answer", "no route", "this machine has no IPv6", "a link-local address")
"""How a reason begins that lies below the port: the machine is not reached at all."""


@dataclass(frozen=True)
class Told:
    """What came of asking a peer.

    Attributes:
        layer: the one that fails: name, route, port, key, experiment, threads or data; empty where
            none does.
        words: what was found there.
        machine: what a peer that would take us tells of its machine (`peer.machine.likeness`).
    """

    layer: str
    words: str
    machine: str = ""


def ask(
    peer: int, address: str, me: Identity, security: Security | None, find: Find = look_up
) -> Told:
    """Ask the peer at ``address`` whether it would take us as what we say we are."""
    where, problem = number_of(peer, address, find)
    if problem:
        return Told("name", problem)
    sockets = Sockets(NOWHERE, {peer: where}, security)
    try:
        return _ask(sockets, peer, address, me)
    finally:
        sockets.close(0)


def ask_whether_it_runs(address: str, me: Identity, security: Security | None) -> str:
    """What listens at a peer's own address, which is in use: that very peer, as a rule."""
    own = None
    if security is not None:
        own = replace(security, allowed={me.peer: security.public})
    sockets = Sockets(NOWHERE, {me.peer: address}, own)
    try:
        told = _ask(sockets, me.peer, address, me)
        if sockets.contacts[me.peer] is Contact.REFUSED:  # it has our key, and no use for itself
            return f"peer {me.peer} runs already, at {address}"
    finally:
        sockets.close(0)
    if not told.layer:
        return f"peer {me.peer} {told.words}"
    return f"{address} is in use by another program, or by a peer of another experiment"


def number_of(peer: int, address: str, find: Find = look_up) -> tuple[str, str]:
    """An address as a number, or why it is none; ``find`` looks names up."""
    named = name_in(address)
    if named is None:
        return address, ""
    told: list[Found | NotFound] = []
    resolver = Resolver(told.append)
    resolver.find = find
    resolver.ask(peer, *named)
    until = time.monotonic() + PATIENCE
    while not told and time.monotonic() < until:
        time.sleep(0.02)
    resolver.close()
    match told[:1]:
        case [Found(_, numbers)]:
            return numbers[0], ""
        case [NotFound(_, reason)]:
            return "", reason
    return "", f"nobody answers for the name {named[0]}"


def _ask(sockets: Sockets, peer: int, address: str, me: Identity) -> Told:
    data = me.data.statement.to_words() if me.data is not None else {}
    probe = Probe(me.peer, dict(me.fingerprint), dict(me.signature), data)
    until = time.monotonic() + PATIENCE
    asked = False
    while time.monotonic() < until:
        sockets.watch()
        contact = sockets.contacts[peer]
        if contact is Contact.REFUSED or (contact is Contact.FAILED and not asked):
            return Told("key", why_not_reached(address, contact, "", False))
        if contact is Contact.THROUGH and not asked:
            asked = sockets.send(peer, deque([(encode(me.session, 0, probe), None)]))
        for _, header in sockets.answers():
            try:
                answer = decode(header).message
            except WireError:
                continue
            if isinstance(answer, Welcome):
                return Told("", f"runs, and is at round {answer.round}", answer.heard)
            if isinstance(answer, Reject) and answer.code == MISMATCH:
                return _mismatch(answer.parts)
        time.sleep(0.02)
    contact = sockets.contacts[peer]
    reason = why_not_reached(address, contact, "", False)
    if contact is Contact.NONE:
        return Told("route" if reason.startswith(ROUTE) else "port", reason)
    return Told("key" if contact is Contact.CONNECTED else "experiment", reason)


def _mismatch(parts: list[str]) -> Told:
    """What differs between two experiments, where the neighbour names it."""
    if parts == ["data"]:
        return Told("data", "its images' shape, or its list of classes, is not ours")
    if parts == ["images"]:
        return Told("data", f"its images are not ours; {remedy(parts)}")
    if parts == ["threads"]:
        return Told(
            "threads",
            "it computes with another number of threads; say the same "
            "'threads:' in every peer's file",
        )
    return Told("experiment", f"{', '.join(parts)} differ; {remedy(parts)}")
