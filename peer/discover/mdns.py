"""Who announces itself on this network, by multicast DNS (RFC 6762, RFC 6763).

What is heard is a hint: anybody on the network may announce anything. It says where to knock; the
keys of the experiment's file decide who is let in, and whom we take for a neighbour.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from peer.experiment import Experiment
from peer.experiment.addresses import UNSAID, look_up, numeric
from peer.net.reach.resolver import Unannounced
from topology.errors import UserError

if TYPE_CHECKING:
    from zeroconf import ServiceInfo

SERVICE = "_hearsay._tcp.local."

MOST = 8
"""Addresses of one peer, at most: others may announce themselves as that peer, too."""

MOST_NAMES = 1024
"""Announcements that are looked at, at most, of those that are there at a time."""

PATIENCE = 4.0
"""Seconds that whoever looks for a peer waits for its announcement."""

QUIET = 10.0
"""Seconds without any peer of the experiment after which that is said."""


def network_of(experiment: Experiment) -> str:
    """A digest of what all peers agree on: peers of another experiment are not looked at."""
    facts = json.dumps(experiment.fingerprint(), sort_keys=True)
    return hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()


class Discovery:
    """Hears announcements, and makes one, until it is closed.

    Args:
        network: of the experiment; see :func:`network_of`.
        log: gets a line where nobody is heard, and once where another experiment is.
        interfaces: this machine's numbers on the networks that are used; all of them, if None.

    Raises:
        UserError: the package for it is missing, or no network can be used.
    """

    def __init__(
        self,
        network: str,
        log: Callable[[str], None],
        interfaces: Sequence[str] | None = None,
    ) -> None:
        try:
            import zeroconf
        except ImportError:
            raise UserError(
                "addresses: discover needs the package zeroconf: pip install 'hearsay[discover]', "
                "or list the addresses"
            ) from None
        self.network = network
        self._log = log
        self._zeroconf = zeroconf
        chosen = zeroconf.InterfaceChoice.All if interfaces is None else list(interfaces)
        self._here = list(interfaces or [])
        try:
            self._sockets = zeroconf.Zeroconf(chosen)
        except OSError as problem:
            raise UserError(
                f"addresses: discover: no network can be asked ({problem.strerror or problem}); "
                "list the addresses"
            ) from None
        self._me = -1
        self._found: dict[int, dict[str, tuple[str, ...]]] = {}  # by peer and announcement
        self._whose: dict[str, int] = {}  # of each announcement, the peer
        self._changed = threading.Condition()
        self._names: queue.SimpleQueue[tuple[str, bool] | None] = queue.SimpleQueue()
        self._has_met_others = False
        self._thread = threading.Thread(target=self._look, name="discovery", daemon=True)
        self._thread.start()
        self._browser = zeroconf.ServiceBrowser(self._sockets, SERVICE, handlers=[self._hear])

    def announce(self, peer: int, port: int) -> None:
        """Say that this is that peer, listening at that port, on all networks of this machine."""
        self._me = peer
        name = f"{self.network}-{peer}-{secrets.token_hex(4)}"
        here = self._here or _numbers()
        of = self._zeroconf.ServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            port=port,
            properties={"net": self.network, "id": str(peer)},
            server=f"hearsay-{name}.local.",
            parsed_addresses=here,
        )
        self._sockets.register_service(of, cooperating_responders=True)

    def find(self, host: str, port: int) -> tuple[str, ...]:
        """Where ``host`` (``peer-3``) may be, the newest announcement first; waits for one.

        A name with a port is the system's to look up.

        Raises:
            Unannounced: nobody announces it.
            OSError: the name is not known.
        """
        if port != UNSAID:
            return look_up(host, port)
        peer = int(host.removeprefix("peer-"))
        with self._changed:
            self._changed.wait_for(lambda: bool(self._found.get(peer)), PATIENCE)
            found = list(reversed(self._found.get(peer, {}).values()))
        if not found:
            raise Unannounced(f"nobody announces peer {peer} on this network (mDNS)")
        return tuple(dict.fromkeys(number for numbers in found for number in numbers))

    def warn_if_alone(self, seconds: float) -> None:
        """Say so where no other peer is heard for long, of a run that waits so many seconds."""

        def watch() -> None:
            with self._changed:
                if self._changed.wait_for(self._is_met, QUIET):
                    return
            self._log(
                "addresses: discover: no other peer of this experiment is heard of in "
                f"{QUIET:g} s; is one running? mDNS stays within one network, and guest Wi-Fi, "
                "client isolation, VPNs, containers and firewalls (UDP 5353) keep it back; looking "
                f"on, for {max(seconds - QUIET, 0):g} s (start_timeout), or list the addresses in "
                "the file"
            )

        threading.Thread(target=watch, name="discovery watch", daemon=True).start()

    def close(self) -> None:
        """Announce and hear nothing any more."""
        self._sockets.close()
        self._names.put(None)

    def _is_met(self) -> bool:
        return any(numbers for k, numbers in self._found.items() if k != self._me)

    def _hear(self, name: str, state_change: object, **rest: object) -> None:
        """Something is announced, or is no more; called by zeroconf's own thread."""
        self._names.put((name, state_change is not self._zeroconf.ServiceStateChange.Removed))

    def _look(self) -> None:
        while (heard := self._names.get()) is not None:
            name, is_there = heard
            if not is_there:
                self._forget(name)
            elif name in self._whose or len(self._whose) < MOST_NAMES:
                # of a name that is none, or when all is closed meanwhile, there is nothing to take
                with contextlib.suppress(self._zeroconf.Error, OSError, RuntimeError, ValueError):
                    info = self._zeroconf.ServiceInfo(SERVICE, name)
                    if info.request(self._sockets, 3000):
                        self._take(name, info)

    def _take(self, name: str, info: ServiceInfo) -> None:
        """Take in an announcement, if it is of our experiment."""
        said = {key: value for key, value in info.decoded_properties.items() if value is not None}
        peer, port = said.get("id", ""), info.port
        if said.get("net") != self.network:
            if not self._has_met_others:
                self._has_met_others = True
                self._log("addresses: discover: another experiment is announced here, and ignored")
            return
        if not (peer.isdecimal() and len(peer) < 8 and port):
            return
        numbers = tuple(numeric(host, port) for host in info.parsed_scoped_addresses())[:MOST]
        with self._changed:
            self._forget(name)
            of = self._found.setdefault(int(peer), {})
            if len(of) < MOST:
                of[name] = numbers
                self._whose[name] = int(peer)
            self._changed.notify_all()

    def _forget(self, name: str) -> None:
        with self._changed:
            peer = self._whose.pop(name, None)
            if peer is not None:
                self._found[peer].pop(name, None)


def _numbers() -> list[str]:
    """This machine's numbers that others may reach; loopback where there are none."""
    import ifaddr

    found = []
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            number = ipaddress.ip_address(each.ip if isinstance(each.ip, str) else each.ip[0])
            if not (number.is_loopback or number.is_link_local):
                found.append(number)
    return [str(number) for number in sorted(found, key=lambda n: n.version)] or ["127.0.0.1"]
