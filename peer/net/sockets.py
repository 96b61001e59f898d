"""The sockets of one peer: one that receives, and one a neighbour that sends.

A bound ROUTER only receives; a DEALER for every neighbour only sends. Used by one thread. This file
and no other imports zmq's sockets.
"""

from __future__ import annotations

import socket as system_sockets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import zmq
import zmq.auth.thread
from zmq.utils.monitor import recv_monitor_message

from peer.experiment.addresses import ipc_path, is_ipc, make_way, split
from peer.net.wire import HEADER_LIMIT, MESSAGE_LIMIT, WireError
from topology.errors import UserError

ZAP_DOMAIN = b"hearsay"


@dataclass(frozen=True)
class Security:
    """CURVE keys: one's own secret, and the public keys of those who may talk to us."""

    secret: bytes
    public: bytes
    allowed: Mapping[int, bytes]  # Z85 public keys by neighbour


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


class Sockets:
    """A ROUTER at ``listen`` and a DEALER to every address in ``addresses``.

    Raises:
        UserError: an address is none, is in use, or is not this machine's.
    """

    def __init__(
        self, listen: str, addresses: Mapping[int, str], security: Security | None
    ) -> None:
        self.context = zmq.Context()
        self.security = security
        self.addresses = dict(addresses)
        self.bytes_in = 0
        self.bytes_out = 0
        self._more = False  # frames of the message that is being received
        self._peers = {} if security is None else {k: p for p, k in security.allowed.items()}
        self._authenticator = self._guard() if security else None
        self.dealers: dict[int, zmq.Socket[bytes]] = {}
        self.router = self._make(zmq.ROUTER)
        self.router.rcvhwm = 64
        self.router.maxmsgsize = MESSAGE_LIMIT
        if security:
            self.router.curve_server = True
            self.router.curve_secretkey = security.secret
            self.router.zap_domain = ZAP_DOMAIN
        try:
            _bind(self.router, listen)
            for neighbour in self.addresses:
                self.dealers[neighbour] = self._dial(neighbour)
        except UserError:
            self.close(0)
            raise

    def _make(self, kind: int) -> zmq.Socket[bytes]:
        made = self.context.socket(kind)
        made.linger = 0
        made.handshake_ivl = 5000
        made.tcp_keepalive = 1
        return made

    def _dial(self, neighbour: int) -> zmq.Socket[bytes]:
        dealer = self._make(zmq.DEALER)
        dealer.immediate = True  # nothing is queued for a connection that is not there
        dealer.sndhwm = 32
        dealer.reconnect_ivl = 100
        dealer.reconnect_ivl_max = 5000
        dealer.heartbeat_ivl = 5000
        dealer.heartbeat_timeout = 30000
        if self.security:
            dealer.curve_serverkey = self.security.allowed[neighbour]
            dealer.curve_secretkey = self.security.secret
            dealer.curve_publickey = self.security.public
        try:
            _check(self.addresses[neighbour])
            dealer.connect(self.addresses[neighbour])
        except (UserError, zmq.ZMQError):
            dealer.close(0)
            raise UserError(
                f"addresses: {self.addresses[neighbour]} of peer {neighbour} is no address; "
                "say tcp://HOST:PORT or ipc:///FOLDER/NAME"
            ) from None
        return dealer

    def redial(self, neighbour: int) -> None:
        """Make the connection to a neighbour anew: a refused or dead one does not mend itself."""
        old, self.dealers[neighbour] = self.dealers[neighbour], self._dial(neighbour)
        old.close(0)  # only now: where no other can be made, it stays

    def send(self, neighbour: int, outbox: deque[tuple[bytes, memoryview | None]]) -> bool:
        """Send from ``outbox`` until it is empty (True) or the socket is full (False)."""
        dealer = self.dealers[neighbour]
        while outbox:
            header, body = outbox[0]
            try:
                if body is None:
                    dealer.send(header, zmq.DONTWAIT)
                else:
                    dealer.send_multipart([header, body], zmq.DONTWAIT, copy=False)
                    self.bytes_out += len(body)
            except zmq.Again:
                return False
            self.bytes_out += len(header)
            outbox.popleft()
        return True

    def arrival(self) -> Arrival | None:
        """The header of the next message, if one is waiting; its body is still to be received."""
        try:
            connection = self.router.recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
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
        return self._peers.get(key, -1)

    @property
    def listening(self) -> str:
        """The address that the ROUTER is really bound to."""
        endpoint = self.router.get(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return endpoint.rstrip(b"\0").decode()

    def close(self, linger: float) -> None:
        """Close everything; what is queued gets ``linger`` seconds to leave."""
        for dealer in self.dealers.values():
            dealer.close(int(1000 * linger))
        if not self.router.closed:
            self.router.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self.context.term()

    # --- who may come in --------------------------------------------------------------------------

    def _guard(self) -> zmq.auth.thread.ThreadAuthenticator:
        assert self.security is not None
        guard = zmq.auth.thread.ThreadAuthenticator(self.context)
        guard.start()
        allowed = set(self.security.allowed.values())
        guard.configure_curve_callback(ZAP_DOMAIN.decode(), _AllowList(allowed))
        return guard

    def prove_that_strangers_are_refused(self) -> None:
        """Knock with a key that is on no list: CURVE without a working guard would let anybody in.

        Raises:
            UserError: it was let in.
        """
        if self.security is None:
            return
        public, secret = zmq.curve_keypair()
        stranger = self._make(zmq.DEALER)
        stranger.curve_serverkey = self.security.public
        stranger.curve_secretkey, stranger.curve_publickey = secret, public
        events = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED
        monitor = stranger.get_monitor_socket(events)
        try:
            stranger.connect(self.listening.replace("0.0.0.0", "127.0.0.1"))
            refused = (
                monitor.poll(5000) != 0
                and recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            )
        finally:
            stranger.disable_monitor()
            monitor.close(0)
            stranger.close(0)
        if not refused:
            raise UserError(
                "keys: a stranger's key was not refused; this installation of ZeroMQ does not "
                "authenticate, do not use it beyond loopback"
            )


class _AllowList:
    """Who may come in, in the form that zmq.auth asks."""

    def __init__(self, keys: set[bytes]) -> None:
        self.keys = keys

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the holder of ``key`` is a neighbour."""
        return key in self.keys


def _bind(router: zmq.Socket[bytes], listen: str) -> None:
    try:
        router.bind(_numeric(listen))
    except zmq.ZMQError as problem:
        if problem.errno == zmq.EADDRINUSE:
            raise UserError(
                f"addresses: {listen} is in use; stop the program that listens there, or choose "
                "another 'port'"
            ) from None
        raise UserError(
            f"addresses: cannot listen at {listen}: {problem.strerror}; if this machine is reached "
            "under another address than its own, say listen: 'tcp://*:PORT'"
        ) from None


def _check(address: str) -> None:
    """ZeroMQ takes the port 99999 for 34463, and looks for a relative path wherever it was started.

    Raises:
        UserError: it is no address.
    """
    if is_ipc(address):
        ipc_path(address)
    else:
        split(address)


def _numeric(listen: str) -> str:
    """ZeroMQ binds to numbers and interfaces, not to names: look the name up."""
    if is_ipc(listen):
        make_way(listen)
        return listen
    scheme, host, port = split(listen)
    if scheme != "tcp" or host in (None, "*"):
        return listen
    try:
        found = system_sockets.getaddrinfo(
            host, port, system_sockets.AF_INET, system_sockets.SOCK_STREAM
        )
    except OSError:
        raise UserError(f"addresses: the name in {listen} is not known to this machine") from None
    return f"tcp://{found[0][4][0]}:{port}"
