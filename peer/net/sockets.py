"""The sockets of one peer: one that receives, and one a neighbour that sends.

A bound ROUTER receives; a DEALER for every neighbour sends. There is one way back: a ROUTER may
answer whoever greets it wrongly, by the connection that the greeting came by. Used by one thread.
This file and no other imports zmq's sockets.

ZeroMQ is given numbers alone, never names: it would look them up on its only I/O thread, on which
one name that nobody answers for stalls every link (:mod:`peer.net.reach.resolver` does it instead).
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import zmq
import zmq.auth.thread
from zmq.utils.monitor import recv_monitor_message

from peer.experiment.addresses import check_dialled, name_in, no_address
from peer.machine.descriptors import Strangers, require_descriptors, shut
from peer.machine.listening import bind
from peer.net.away.contacts import Contact, Contacts
from peer.net.header.seal import HEADER_LIMIT, WireError
from peer.net.keys import KeyRing, is_let_in
from peer.net.wire import MESSAGE_LIMIT
from topology.errors import UserError

ZAP_DOMAIN = b"hearsay"


@dataclass(frozen=True)
class Security:
    """CURVE keys: one's own secret, and the public keys of those who may talk to us."""

    secret: bytes
    public: bytes
    allowed: dict[int, bytes]  # Z85 public keys by neighbour
    hosts: frozenset[bytes] = frozenset()  # let in, and nobody until one takes a neighbour's place


class Arrival(NamedTuple):
    """The first part of a message.

    Attributes:
        connection: which connection it came by.
        authenticated: the neighbour that CURVE says sent it; -1 for nobody, None in plain text.
        header: its header frame; empty where it has none, or one that is too long.
    """

    connection: bytes
    authenticated: int | None
    header: bytes


class NoDescriptors(OSError):
    """The process has no file descriptors left for another connection."""


_CONTACTS = {
    zmq.EVENT_CONNECTED: Contact.CONNECTED,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: Contact.REFUSED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: Contact.FAILED,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: Contact.FAILED,
    zmq.EVENT_HANDSHAKE_SUCCEEDED: Contact.THROUGH,
    zmq.EVENT_DISCONNECTED: Contact.NONE,
}
_WATCHED = sum(_CONTACTS) | zmq.EVENT_CONNECT_RETRIED


class Sockets:
    """A ROUTER at ``listen`` and a DEALER to every neighbour in ``addresses``.

    A neighbour whose address is a number, or a file, is dialled at once; one whose address is a
    name, when :meth:`redial` is told its number.

    Raises:
        UserError: an address is none, is in use, or is not this machine's; or descriptors are few.
    """

    def __init__(
        self, listen: str, addresses: Mapping[int, str], security: Security | None
    ) -> None:
        require_descriptors(len(addresses))
        self.context = zmq.Context()
        self.security = security
        self.addresses = dict(addresses)
        self.bytes_in = 0
        self.bytes_out = 0
        self.sent: Counter[int] = Counter()  # bytes by neighbour
        self.cut: set[int] = set()  # neighbours that nothing goes to: it is lost on the way
        self._more = False  # frames of the message that is being received
        self._sender = zmq.Frame()  # of that message
        self.renewed: set[int] = set()  # neighbours that have come by new keys
        self.keys = KeyRing({} if security is None else security.allowed)
        self.keys.let_in = frozenset() if security is None else security.hosts
        self._authenticator = self._guard() if security else None
        self.contacts = Contacts(self.addresses)
        self.dialled: dict[int, str] = {}  # the number that each neighbour is dialled at
        self.dealers: dict[int, zmq.Socket[bytes]] = {}
        self._monitors: dict[int, zmq.Socket[bytes]] = {}
        self.strangers = Strangers()
        self.router = self._make(zmq.ROUTER)
        self.accepted = self._watch_accepted()
        self.router.rcvhwm = 64
        self.router.maxmsgsize = MESSAGE_LIMIT
        if security:
            self.router.curve_server = True
            self.router.curve_secretkey = security.secret
            self.router.zap_domain = ZAP_DOMAIN
        try:
            bind(self.router, listen)
            for neighbour, address in self.addresses.items():
                check_dialled(address, neighbour)
                if name_in(address) is None:
                    self._dial(neighbour, address)
        except (UserError, NoDescriptors):
            self.close(0)
            raise

    def _make(self, kind: int) -> zmq.Socket[bytes]:
        made = self.context.socket(kind)
        made.linger = 0
        made.handshake_ivl = 5000
        made.tcp_keepalive = 1
        return made

    def _watch_accepted(self) -> zmq.Socket[bytes]:
        """A socket that tells of every connection that is accepted or closed."""
        self.router.monitor("inproc://accepted", zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        accepted = self.context.socket(zmq.PAIR)
        accepted.linger = 0
        accepted.rcvhwm = 0  # ZeroMQ's I/O thread must not wait for us
        accepted.connect("inproc://accepted")
        return accepted

    def _dial(self, neighbour: int, address: str) -> None:
        try:
            dealer = self._make(zmq.DEALER)
            self.dealers[neighbour] = dealer
            self._monitors[neighbour] = dealer.get_monitor_socket(_WATCHED)
        except zmq.ZMQError as problem:
            self._hang_up(neighbour)
            raise NoDescriptors(problem.errno, problem.strerror) from None
        dealer.immediate = True  # nothing is queued for a connection that is not there
        dealer.sndhwm = 32
        dealer.rcvhwm = 4
        dealer.maxmsgsize = HEADER_LIMIT
        dealer.reconnect_ivl = 100
        dealer.reconnect_ivl_max = 5000
        dealer.heartbeat_ivl = 5000
        dealer.heartbeat_timeout = 30000
        dealer.ipv6 = "[" in address
        if self.security:
            dealer.curve_serverkey = self.keys.used(neighbour)
            dealer.curve_secretkey = self.security.secret
            dealer.curve_publickey = self.security.public
        self.contacts.dialled(neighbour)
        self.dialled[neighbour] = address
        try:
            dealer.connect(address)
        except zmq.ZMQError:
            self._hang_up(neighbour)
            raise no_address(self.addresses[neighbour], neighbour) from None

    def _hang_up(self, neighbour: int, linger: int = 0) -> None:
        dealer = self.dealers.pop(neighbour, None)
        monitor = self._monitors.pop(neighbour, None)
        if dealer is not None:
            if monitor is not None:
                dealer.disable_monitor()
                monitor.close(0)
            dealer.close(linger)

    def take_keys(self, public: bytes, secret: bytes) -> None:
        """From now on this peer has that pair; what is connected stays until it is dialled anew.

        Raises:
            UserError: the address cannot be bound again.
        """
        assert self.security is not None
        self.security = replace(self.security, public=public, secret=secret)
        here = self.listening
        self.router.unbind(here)  # by another thread of ZeroMQ's, so perhaps not at once
        self.router.curve_secretkey = secret  # of what is bound from now on
        bind(self.router, here, patience=2.0)

    def admit(self, neighbour: int, address: str, key: bytes | None) -> None:
        """From now on there is another neighbour, or it has another address or key."""
        self.addresses[neighbour] = address
        self.contacts.setdefault(neighbour, Contact.NONE)
        if key is not None:
            self.keys.expect(neighbour, key)

    def reseat(self, neighbour: int, key: bytes) -> None:
        """That neighbour is whoever holds ``key`` (Z85) from now on; the key before means nobody.

        In plain text, nothing changes.
        """
        if self.security is not None:
            self.keys.replace(neighbour, key)

    def redial(self, neighbour: int, address: str) -> None:
        """Make the connection to a neighbour anew: a refused or dead one does not mend itself.

        Args:
            neighbour: whose.
            address: a number's, or a file's.
        """
        self._hang_up(neighbour)
        self._dial(neighbour, address)

    def watch(self) -> None:
        """See how far connections have got: ``contacts`` tells."""
        for neighbour, monitor in self._monitors.items():
            while monitor.poll(0):
                event = zmq.Event(recv_monitor_message(monitor)["event"])
                if event in _CONTACTS:
                    self.contacts.note(neighbour, _CONTACTS[event])
                else:
                    self.contacts.tried_again(neighbour)

    def limit_strangers(self) -> None:
        """Close connections by which nobody has said anything, where there are too many."""
        while self.accepted.poll(0):
            told = recv_monitor_message(self.accepted)
            if told["event"] == zmq.EVENT_ACCEPTED:
                self.strangers.came(int(told["value"]))
            else:
                self.strangers.went(int(told["value"]))

    def answers(self) -> Iterator[tuple[int, bytes]]:
        """What neighbours answered by the connections on which we greet them, by neighbour."""
        for neighbour, dealer in self.dealers.items():
            while True:
                try:
                    frames = dealer.recv_multipart(zmq.DONTWAIT)
                except zmq.Again:
                    break
                self.bytes_in += sum(map(len, frames))
                if len(frames) == 1:
                    yield neighbour, frames[0]

    def answer(self, connection: bytes, header: bytes) -> None:
        """Answer whoever greeted us by that connection; lost where it takes nothing."""
        try:
            self.router.send_multipart([connection, header], zmq.DONTWAIT)
        except zmq.ZMQError:
            return
        self.bytes_out += len(header)

    def send(self, neighbour: int, outbox: deque[tuple[bytes, memoryview | None]]) -> bool:
        """Send from ``outbox`` until it is empty (True) or the socket is full (False)."""
        if neighbour in self.cut:
            outbox.clear()
        dealer = self.dealers.get(neighbour)
        while outbox and dealer is not None:
            header, body = outbox[0]
            try:
                if body is None:
                    dealer.send(header, zmq.DONTWAIT)
                else:
                    dealer.send_multipart([header, body], zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return False
            size = len(header) + (0 if body is None else len(body))
            self.bytes_out += size
            self.sent[neighbour] += size
            outbox.popleft()
        return not outbox

    def arrival(self) -> Arrival | None:
        """The header of the next message, if one is waiting; its body is still to be received."""
        try:
            connection = self.router.recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        self._sender = connection
        if self.strangers:
            with contextlib.suppress(zmq.ZMQError):  # not told of ZeroMQ 2 and 3
                self.strangers.spoke(int(connection.get(zmq.SRCFD)))
        self._more = connection.more  # asked of a frame, it costs less than of the socket
        if not self._more:
            return Arrival(connection.bytes, None, b"")
        frame = self._frame()
        header = frame.bytes if len(frame) <= HEADER_LIMIT else b""
        return Arrival(connection.bytes, self._who(frame), header)

    def body(self) -> memoryview | None:
        """The message's body, in ZeroMQ's own memory (the view keeps it); None where it has none.

        Raises:
            WireError: the message has more frames than a message has; all are dropped.
        """
        if not self._more:
            return None
        frame = self._frame()
        if not frame.more:
            return frame.buffer
        while self._frame().more:
            pass
        raise WireError("a message of too many frames")

    def hang_up_on_sender(self) -> None:
        """Close the connection that the last message came by; whose it is makes it anew."""
        with contextlib.suppress(zmq.ZMQError, AttributeError):  # ZeroMQ has closed it
            shut(int(self._sender.get(zmq.SRCFD)))

    def _frame(self) -> zmq.Frame:
        frame = self.router.recv(copy=False)
        self.bytes_in += len(frame)
        self._more = frame.more
        return frame

    def _who(self, frame: zmq.Frame) -> int | None:
        """Which neighbour CURVE says that this is; None in plain text."""
        if self.security is None:
            return None
        try:
            key = str(frame.get("User-Id")).encode()
        except zmq.ZMQError:
            return -1
        who = self.keys.who(key)
        if who >= 0 and self.keys.came(who, key):
            self.renewed.add(who)
        return who

    @property
    def listening(self) -> str:
        """The address that the ROUTER is really bound to."""
        endpoint = self.router.get(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return endpoint.rstrip(b"\0").decode()

    def close(self, linger: float) -> None:
        """Close everything; what is queued gets ``linger`` seconds to leave."""
        for neighbour in list(self.dealers):
            self._hang_up(neighbour, int(1000 * linger))
        if not self.router.closed:
            self.router.disable_monitor()
            self.accepted.close(0)
            self.router.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self.context.term()

    # --- who may come in --------------------------------------------------------------------------

    def _guard(self) -> zmq.auth.thread.ThreadAuthenticator:
        assert self.security is not None
        guard = zmq.auth.thread.ThreadAuthenticator(self.context)
        guard.start()
        guard.configure_curve_callback(ZAP_DOMAIN.decode(), self.keys)
        return guard

    def prove_that_strangers_are_refused(self) -> None:
        """Knock with a key that is on no list: CURVE without a working guard would let anybody in.

        Raises:
            UserError: it was let in.
        """
        if self.security is None:
            return
        public, secret = zmq.curve_keypair()
        here = self.listening.replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1")
        refused = is_let_in(here, self.security.public, public, secret) is False
        if not refused:
            raise UserError(
                "keys: a stranger's key was not refused; this installation of ZeroMQ does not "
                "authenticate, do not use it beyond loopback"
            )
