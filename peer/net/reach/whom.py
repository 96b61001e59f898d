"""Which neighbours are not reached, and why, once none has been in touch for long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from peer.net.link import Link
from peer.net.reach.diagnosis import why_not_reached
from peer.net.reach.dialler import Dialler
from peer.net.session import FINAL, Phase
from peer.net.sockets import Sockets

_FINAL_WORDS = {
    Phase.REFUSED: "it runs another experiment; give every peer the same file",
    Phase.QUARANTINED: "it sent values that cannot be used, again and again",
}


def diagnose(
    links: Mapping[int, Link],
    sockets: Sockets,
    dialler: Dialler,
    tell: Callable[[dict[int, str]], None],
) -> None:
    """Find out why each neighbour is not reached, in a thread of its own, and tell.

    What it needs of the I/O thread's is copied before; that thread goes on meanwhile.
    """
    refused = {k: _FINAL_WORDS[link.phase] for k, link in links.items() if link.phase in FINAL}
    contacts, addresses = dict(sockets.contacts), dict(sockets.addresses)
    unknown = dict(dialler.unknown)
    slow = {k for k in contacts if dialler.is_slow(k)}

    def diagnose_each() -> None:
        reasons = {
            k: refused.get(k)
            or why_not_reached(address, contacts[k], unknown.get(k, ""), k in slow)
            for k, address in addresses.items()
        }
        tell(reasons)

    threading.Thread(target=diagnose_each, name="diagnosis", daemon=True).start()
