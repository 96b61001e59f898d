"""The network thread: it owns all sockets and links, and answers PINGs while a long step runs.

Two queues join it to the compute thread: exchanges that begin go in, values come out, whole or, the
last one, piece by piece. A snapshot of an arena is written by the compute thread and sent from by
this one, and written again only once every neighbour has acknowledged it.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import zmq

from peer.effects import Moment
from peer.net.link import Delivered, Link, Piece, Settled
from peer.net.session import Changed, Mismatch, Phase, Reconnect
from peer.net.sockets import Arrival, Sockets
from peer.net.transfer.send_buffers import Snapshot
from peer.net.transfer.values import Payload, Sums
from peer.net.wire import Envelope, Hello, WireError, decode
from topology.errors import UserError

TICK = 0.05
"""Seconds between two looks at the time."""

STRANGERS = 16
"""Peers without a link to us that are named in the log, at most."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One link's part in an exchange: what goes out, if anything, and whether anything comes in."""

    t: Moment
    net: str
    payload: Payload | None
    wants: bool = True
    snapshot: Snapshot | None = None  # where that is the payload


@dataclass
class Outcome:
    """An exchange, once every link has settled its part."""

    received: dict[int, memoryview] = field(default_factory=dict)  # but what came in pieces
    missing: set[int] = field(default_factory=set)  # sent nothing, or did not get ours


@dataclass(frozen=True)
class Arriving:
    """A piece of the last value that is waited for; the ``others`` are here."""

    neighbour: int
    piece: Piece
    others: Mapping[int, memoryview]


@dataclass
class _Open:
    """The exchange that the compute thread waits for."""

    waiting: dict[int, Part]
    in_pieces: bool  # may the last value be handed on so?
    outcome: Outcome = field(default_factory=Outcome)


@dataclass
class Status:
    """What the live table shows; written by both threads, a field by one of them only."""

    round: int = 0
    phases: dict[int, str] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0


class Network(threading.Thread):
    """The network thread.

    Args:
        sockets: made by the caller, used from now on by this thread alone.
        links: one a neighbour.
        log: gets one line for everything that a user may want to know.
        orphaned: is set when the process that started us is gone (standard input ends).
    """

    def __init__(
        self, sockets: Sockets, links: Mapping[int, Link], log: Log, watch_parent: bool
    ) -> None:
        super().__init__(name="network", daemon=True)
        self.sockets = sockets
        self.links = dict(links)
        self.log = log
        self.watch_parent = watch_parent
        self.settled: queue.SimpleQueue[Arriving | Outcome | Exception] = queue.SimpleQueue()
        self.status = Status(phases={k: link.phase.value for k, link in links.items()})
        self.orphaned = threading.Event()
        self.foreign = 0
        self._learning = False  # the first exchange is over
        self._commands: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._strangers: set[int] = set()
        self._without: set[int] = set()  # neighbours that the last exchange went on without
        self._senders: dict[bytes, int] = {}  # which neighbour's HELLO came by which connection
        self._open: _Open | None = None
        self._snapshots: dict[tuple[int, Moment], Snapshot] = {}
        self._fatal: tuple[float, Exception] | None = None
        self._finishing: tuple[int, float, threading.Event] | None = None
        self._linger = 0.0

    # --- called by the compute thread -------------------------------------------------------------

    def begin(self, parts: Mapping[int, Part], in_pieces: bool = False) -> None:
        """Begin an exchange with the neighbours in ``parts``; what comes of it, by ``settled``.

        The last outstanding value of floats may come ``in_pieces``, while it is on its way.
        """
        for neighbour, part in parts.items():
            if part.snapshot is not None:
                part.snapshot.readers.add(neighbour)
        self._tell(_Open(dict(parts), in_pieces))

    def finish(self, round: int, patience: float) -> None:
        """Send what is still owed, say that we leave, and end the thread."""
        self._tell((round, patience))
        self.join()

    def _tell(self, command: Any) -> None:
        self._commands.put(command)
        with contextlib.suppress(OSError):  # it is awake enough, or gone
            self._wake_out.send(b"!")

    # --- the thread -------------------------------------------------------------------------------

    def run(self) -> None:
        """Poll until told to finish."""
        try:
            self._loop()
        except Exception as problem:  # the compute thread must not wait for a thread that is gone
            self.settled.put(problem)
            self.log(f"network thread: {type(problem).__name__}: {problem}")
        finally:
            self.sockets.close(self._linger)
            self._wake_in.close()
            self._wake_out.close()

    def _loop(self) -> None:
        poller = zmq.Poller()
        poller.register(self.sockets.router, zmq.POLLIN)
        poller.register(self._wake_in, zmq.POLLIN)
        parent = self._parent()
        last = time.monotonic()
        while True:
            poller.poll(int(1000 * TICK))
            now = time.monotonic()
            if now - last > 1.0:  # our own loop stood still (SIGSTOP, a starved machine)
                for link in self.links.values():
                    link.standing.skip_time(now - last)
            self._receive(now)
            self._obey(now)
            if now - last >= TICK:
                last = now
                for link in self.links.values():
                    link.tick(now)
                if (
                    parent is not None
                    and select.select([parent], [], [], 0)[0]
                    and not parent.read(1)
                ):
                    parent = None
                    self.orphaned.set()
            self._happen()
            self._flush()
            if self._over(now):
                return

    def _parent(self) -> Any:
        return sys.stdin.buffer if self.watch_parent else None

    def _receive(self, now: float) -> None:
        """Take what has arrived, a bounded amount of it."""
        for _ in range(64):
            arrival = self.sockets.arrival()
            if arrival is None:
                return
            link = self._sender(arrival)
            envelope = body = None
            with contextlib.suppress(WireError):
                body = self.sockets.body()
                envelope = decode(arrival.header)
            if envelope is None:
                self._ignore()
            elif isinstance(envelope.message, Hello):
                self._hello(arrival, envelope, envelope.message, now)
            elif link is not None:
                link.receive(envelope.session, envelope.seq, envelope.message, now, body)
            else:
                self._ignore()

    def _ignore(self) -> None:
        """Bytes from nobody we know: counted, said once, never answered."""
        self.foreign += 1
        if self.foreign == 1:
            self.log("ignored a message that is not of this network; more are only counted")

    def _sender(self, arrival: Arrival) -> Link | None:
        """The link whose neighbour greeted by this connection, if CURVE does not contradict."""
        neighbour = self._senders.get(arrival.connection)
        if neighbour is None or arrival.authenticated not in (None, neighbour):
            return None
        return self.links[neighbour]

    def _hello(self, arrival: Arrival, envelope: Envelope, hello: Hello, now: float) -> None:
        """Bind the connection to the neighbour that greets, if it may be who it says it is."""
        link = self.links.get(hello.peer)
        if arrival.authenticated not in (None, hello.peer):
            self._ignore()
        elif link is None:
            if hello.peer not in self._strangers and len(self._strangers) < STRANGERS:
                self._strangers.add(hello.peer)
                self.log(f"peer {hello.peer} greets us, but our graph has no link to it")
            self._ignore()
        elif arrival.authenticated is None and link.standing.rejects_claim(envelope.session, now):
            self._ignore()
        else:
            for old in [c for c, k in self._senders.items() if k == hello.peer]:
                del self._senders[old]
            self._senders[arrival.connection] = hello.peer
            link.hello(envelope.session, envelope.seq, hello, now)

    # --- what the compute thread asked for --------------------------------------------------------

    def _obey(self, now: float) -> None:
        try:
            self._wake_in.recv(4096)
        except BlockingIOError:
            return
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            match command:
                case _Open(waiting=parts):
                    self._open = command
                    sums: defaultdict[int, Sums] = defaultdict(dict)  # one for every payload
                    for neighbour, part in sorted(parts.items()):
                        if part.snapshot is not None:
                            self._snapshots[neighbour, part.t] = part.snapshot
                        link = self.links[neighbour]
                        known = sums[id(part.payload)]
                        link.begin(part.t, part.net, part.payload, now, part.wants, known)
                    self._hand_over()
                case (round, patience):
                    self._finishing = (round, now + patience, threading.Event())

    def _hand_over(self) -> None:
        """Give the exchange back to the compute thread once every neighbour is settled.

        Where one alone is not, what comes of it is given on as it comes.
        """
        if self._fatal is not None or self._open is None:
            return  # nothing is learned any more, and the reason follows; or nobody waits
        if not self._open.waiting:
            done, self._open = self._open, None
            self._learning = True
            self.settled.put(done.outcome)
        elif len(self._open.waiting) == 1 and self._open.in_pieces:
            (last,) = self._open.waiting
            piece = self.links[last].in_pieces()
            if piece is not None:
                self._arriving(last, piece)

    def _arriving(self, neighbour: int, piece: Piece) -> None:
        if self._open is not None:
            self.settled.put(Arriving(neighbour, piece, self._open.outcome.received))

    # --- what the links say -----------------------------------------------------------------------

    def _happen(self) -> None:
        for neighbour, link in self.links.items():
            while link.events:
                event = link.events.popleft()
                match event:
                    case Piece():
                        self._arriving(neighbour, event)
                    case Settled(t, value, reason):
                        self._settled(neighbour, t, value, reason)
                    case Delivered(t, adrift):
                        snapshot = self._snapshots.pop((neighbour, t), None)
                        if snapshot is not None:
                            snapshot.is_adrift |= adrift
                            snapshot.readers.discard(neighbour)
                    case Changed(phase, reason):
                        self.status.phases[neighbour] = phase.value
                        if phase is not Phase.LEFT or self._finishing is None:
                            self.log(f"peer {neighbour}: {phase.value} ({reason})")
                    case Reconnect():
                        link.outbox.clear()  # what was meant for the old connection
                        self.sockets.redial(neighbour)
                    case Mismatch(parts):
                        self._mismatch(neighbour, parts)

    def _settled(self, neighbour: int, t: Moment, value: memoryview | None, reason: str) -> None:
        part = self._open.waiting.get(neighbour) if self._open is not None else None
        if self._open is None or part is None or part.t != t:
            return
        del self._open.waiting[neighbour]
        if value is not None:
            self._open.outcome.received[neighbour] = value
        if not reason:
            self._without.discard(neighbour)
            self._hand_over()
            return
        self._open.outcome.missing.add(neighbour)
        if neighbour not in self._without:
            self._without.add(neighbour)
            self.log(f"round {t.round + 1}: going on without peer {neighbour}: {reason}")
        self._hand_over()

    def _mismatch(self, neighbour: int, parts: tuple[str, ...]) -> None:
        """Before anything was learned, another experiment next door is the user's to put right."""
        if not self._learning and self._fatal is None:
            grace = time.monotonic() + 1.0  # the neighbour is told, too, before we are gone
            problem = UserError(
                f"peer {neighbour} at {self.sockets.addresses[neighbour]} runs another experiment: "
                f"{', '.join(parts)} differ; give every peer the same file"
            )
            self._fatal = (grace, problem)

    def _flush(self) -> None:
        for neighbour, link in self.links.items():
            if link.outbox and link.phase is not Phase.QUARANTINED:
                self.sockets.send(neighbour, link.outbox)
        self.status.bytes_in = self.sockets.bytes_in
        self.status.bytes_out = self.sockets.bytes_out

    def _over(self, now: float) -> bool:
        if self._fatal is not None and now >= self._fatal[0]:
            self.settled.put(self._fatal[1])
            self._fatal = (float("inf"), self._fatal[1])
        if self._finishing is None:
            return False
        round, until, said = self._finishing
        if said.is_set():
            return all(not link.outbox for link in self.links.values()) or now >= until
        if now >= until or all(link.idle for link in self.links.values()):
            for link in self.links.values():
                link.abandon()
                if link.phase in (Phase.UP, Phase.SUSPECT):
                    link.leave(round)
            said.set()
            self._linger = 1.0
            self._finishing = (round, now + 1.0, said)
        return False
