"""Why a neighbour is not reached: which layer fails, and what would be right."""

from __future__ import annotations

import errno
import socket

from peer.experiment.addresses import answers, ipc_path, is_ipc, name_in, split
from peer.net.away.contacts import Contact

PATIENCE = 3.0
"""Seconds to wait for a connection that is tried."""


def why_not_reached(address: str, contact: Contact, unknown: str, is_slow: bool) -> str:
    """Why a neighbour at ``address`` is not reached, in words.

    Tries a connection where ZeroMQ's own did not get that far: up to :data:`PATIENCE` seconds.

    Args:
        address: as the experiment file has it.
        contact: how far ZeroMQ's connection got.
        unknown: why its name is not known here, if it is not.
        is_slow: nobody answers for its name.
    """
    if unknown:
        return unknown
    if is_slow:
        named = name_in(address)
        return f"nobody answers for the name {named[0] if named else address}"
    match contact:
        case Contact.REFUSED:
            return (
                "our key is refused: its experiment file names another public key for us; give "
                "every peer the same file"
            )
        case Contact.FAILED:
            return (
                "its key differs from the one under 'keys:' (or it is no peer of hearsay); give "
                "every peer the same file"
            )
        case Contact.THROUGH:
            return "it answers, but has not greeted us: is that peer of this experiment there?"
        case Contact.CONNECTED:
            return (
                "it takes connections, but does not get through the handshake: does it use keys as "
                "we do, and is it a peer of hearsay?"
            )
    return _try_address(address)


def _try_address(address: str) -> str:
    if is_ipc(address):
        there = answers(ipc_path(address))
        return "it answers, but has not greeted us" if there else "nobody listens there"
    _, host, port = split(address)
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return "it takes connections, but has not greeted us"
    except socket.gaierror as problem:
        return f"the name {host} is not known here ({problem.strerror})"
    except TimeoutError:
        return "no answer: is the machine on, and on this network?"
    except OSError as problem:
        return _CAUSES.get(problem.errno or 0, f"{problem.strerror or problem}")


_CAUSES = {
    errno.ECONNREFUSED: "connection refused: nothing listens at that port",
    errno.EHOSTUNREACH: "no route to that machine, or it is off",
    errno.ENETUNREACH: "no route: this machine has no network to that address (or no such family)",
    errno.EAFNOSUPPORT: "this machine has no IPv6",
    errno.EADDRNOTAVAIL: "no route: this machine has no address of that family",
    errno.EINVAL: "a link-local address needs its interface: tcp://[fe80::1%eth0]:PORT",
}
