"""The ZeroMQ driver: one peer on one machine.

Two threads. The *compute* thread runs the coroutine and its local effects; the *network* thread owns
all sockets and links, answers PINGs while a long step runs, and hands over whole values. Between them
go two queues; a snapshot of an arena is written by the one and sent from by the other, and written
again only once every neighbour has acknowledged it.
"""

from __future__ import annotations

import queue
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import zmq

from peer.combine import combine
from peer.effects import Combine, Moment, Report, Sleep
from peer.local import carry_out, prepare_compute_thread
from peer.net.link import (
    Changed,
    Delivered,
    Identity,
    Link,
    Mismatch,
    Phase,
    Reconnect,
    Settled,
    Timing,
)
from peer.net.sockets import Sockets
from peer.net.wire import Chunk, Envelope, Hello, WireError, decode
from peer.peer import Peer
from peer.program import Program
from topology.errors import UserError

TICK = 0.05
"""Seconds between two looks at the time."""

Log = Callable[[str], None]


class Stopped(Exception):
    """The user asked the peer to stop, and it has waited long enough for a good moment."""


@dataclass(eq=False)
class Snapshot:
    """What a net was at one exchange, while it is sent from."""

    vector: torch.Tensor  # float32 (P,), on the CPU
    readers: set[int] = field(default_factory=set)

    @property
    def payload(self) -> memoryview:
        """The same memory as bytes."""
        return memoryview(self.vector.numpy()).cast("B")


@dataclass(frozen=True)
class _Begin:
    """From compute to network: an exchange begins."""

    t: Moment
    net: str
    snapshot: Snapshot
    neighbours: frozenset[int]


@dataclass
class _Open:
    """The exchange that the compute thread waits for."""

    t: Moment
    waiting: set[int]
    received: dict[int, memoryview] = field(default_factory=dict)


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
        self.settled: queue.SimpleQueue[dict[int, memoryview] | Exception] = queue.SimpleQueue()
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
        self._snapshots: dict[Moment, Snapshot] = {}
        self._fatal: tuple[float, Exception] | None = None
        self._finishing: tuple[int, float, threading.Event] | None = None
        self._linger = 0.0

    # --- called by the compute thread -------------------------------------------------------------

    def begin(self, t: Moment, net: str, snapshot: Snapshot, neighbours: frozenset[int]) -> None:
        """Begin an exchange; its values come by ``settled``."""
        snapshot.readers.update(neighbours)
        self._tell(_Begin(t, net, snapshot, neighbours))

    def finish(self, round: int, patience: float) -> None:
        """Send what is still owed, say that we leave, and end the thread."""
        self._tell((round, patience))
        self.join()

    def _tell(self, command: Any) -> None:
        self._commands.put(command)
        try:
            self._wake_out.send(b"!")
        except BlockingIOError:
            pass  # it is awake enough

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
                    link.skip_time(now - last)
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
            arrived: list[Envelope | None] = [None]

            def place(
                connection: bytes,
                authenticated: int | None,
                header: bytes,
                arrived: list[Envelope | None] = arrived,
            ) -> memoryview | None:
                arrived[0] = self._decode(header)
                link = self._sender(connection, authenticated)
                if arrived[0] is None or link is None:
                    return None
                chunk = arrived[0].message
                ours = arrived[0].session == link.their_session
                return link.place(chunk) if ours and isinstance(chunk, Chunk) else None

            message = self.sockets.receive(place)
            if message is None:
                return
            connection, authenticated, header, filled = message
            envelope = arrived[0] or self._decode(header)
            if envelope is None:
                continue
            if isinstance(envelope.message, Hello):
                self._hello(connection, authenticated, envelope, now)
            elif (link := self._sender(connection, authenticated)) is not None:
                link.receive(envelope.session, envelope.seq, envelope.message, now, filled)
            else:
                self._ignore()

    def _decode(self, header: bytes) -> Envelope | None:
        try:
            return decode(header)
        except WireError:
            self._ignore()
            return None

    def _ignore(self) -> None:
        """Bytes from nobody we know: counted, said once, never answered."""
        self.foreign += 1
        if self.foreign == 1:
            self.log("ignored a message that is not of this network; more are only counted")

    def _sender(self, connection: bytes, authenticated: int | None) -> Link | None:
        neighbour = self._senders.get(connection)
        if neighbour is None or (authenticated is not None and authenticated != neighbour):
            return None
        return self.links[neighbour]

    def _hello(
        self, connection: bytes, authenticated: int | None, envelope: Envelope, now: float
    ) -> None:
        """Bind the connection to the neighbour that greets, if it may be who it says it is."""
        hello = envelope.message
        assert isinstance(hello, Hello)
        link = self.links.get(hello.peer)
        if link is None and authenticated is None and hello.peer not in self._strangers:
            self._strangers.add(hello.peer)
            self.log(f"peer {hello.peer} greets us, but our graph has no link to it: graphs differ")
        if link is None or (authenticated is not None and authenticated != hello.peer):
            self._ignore()
            return
        if authenticated is None and link.claimed_by_another(envelope.session, now):
            self._ignore()
            return
        for old in [c for c, k in self._senders.items() if k == hello.peer]:
            del self._senders[old]
        self._senders[connection] = hello.peer
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
                case _Begin(t, net, snapshot, neighbours):
                    self._open = _Open(t, set(neighbours))
                    self._snapshots[t] = snapshot
                    for neighbour in sorted(neighbours):
                        self.links[neighbour].begin(t, net, snapshot.payload, now)
                    self._hand_over()
                case (round, patience):
                    self._finishing = (round, now + patience, threading.Event())

    def _hand_over(self) -> None:
        """Give the exchange back to the compute thread once every neighbour is settled."""
        if self._open is not None and not self._open.waiting:
            done, self._open = self._open, None
            self._learning = True
            self.settled.put(done.received)

    # --- what the links say -----------------------------------------------------------------------

    def _happen(self) -> None:
        for neighbour, link in self.links.items():
            while link.events:
                event = link.events.popleft()
                match event:
                    case Settled(t, value, reason):
                        self._settled(neighbour, t, value, reason)
                    case Delivered(t):
                        snapshot = self._snapshots.get(t)
                        if snapshot is not None:
                            snapshot.readers.discard(neighbour)
                            if not snapshot.readers:
                                del self._snapshots[t]
                    case Changed(phase, reason):
                        self.status.phases[neighbour] = phase.value
                        if phase is not Phase.LEFT or self._finishing is None:
                            self.log(f"peer {neighbour}: {phase.value} ({reason})")
                    case Reconnect():
                        self.sockets.redial(neighbour)
                    case Mismatch(parts):
                        self._mismatch(neighbour, parts)

    def _settled(self, neighbour: int, t: Moment, value: memoryview | None, reason: str) -> None:
        if self._open is None or self._open.t != t:
            return
        self._open.waiting.discard(neighbour)
        if value is not None:
            self._open.received[neighbour] = value
            self._without.discard(neighbour)
        elif neighbour not in self._without:
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


class ZmqDriver:
    """Runs ``program`` for one peer until it ends.

    Args:
        peer: the facade over the peer's state.
        network: a network thread, not yet started.
        report: is called with each :class:`Report` (records, checkpoints).
        stop: once set, the peer stops at the end of its round.
    """

    def __init__(
        self,
        peer: Peer,
        network: Network,
        report: Callable[[Report], None],
        stop: threading.Event,
    ) -> None:
        self.peer = peer
        self.network = network
        self.report = report
        self.stop = stop
        self._snapshots: dict[str, list[Snapshot]] = {}
        self._scratch: dict[str, torch.Tensor] = {}

    def run(self, program: Program, threads: int, patience: float) -> bool:
        """Carry out the program; returns False where it was stopped before its end.

        Raises:
            UserError: a neighbour runs another experiment.
            Stopped: asked to stop while waiting for a neighbour.
        """
        prepare_compute_thread(threads)
        self.network.start()
        running = program.start(self.peer)
        result: Any = None
        try:
            while True:
                try:
                    effect = running.send(result)
                except StopIteration:
                    return True
                match effect:
                    case Combine():
                        result = self._combine(effect)
                    case Report():
                        self.report(effect)
                        if self._asked_to_stop():
                            return False
                        result = None
                    case Sleep(seconds):
                        self.stop.wait(seconds)
                        result = None
                    case _:
                        result = carry_out(effect, self.peer.state)
        finally:
            running.close()
            self.network.finish(self.peer.state.round, 1.0 if self._asked_to_stop() else patience)

    def _asked_to_stop(self) -> bool:
        return self.stop.is_set() or self.network.orphaned.is_set()

    def _combine(self, effect: Combine) -> frozenset[int]:
        """Swap with the neighbours; returns those that stayed away."""
        neighbours = frozenset(effect.weights)
        if not neighbours:
            return frozenset()
        w = self.peer.state.nets[effect.net].arena.vector
        own = self._snapshot(effect.net, w)
        self.network.begin(effect.t, effect.net, own, neighbours)
        received = {
            neighbour: torch.from_numpy(np.frombuffer(value, dtype="<f4"))
            for neighbour, value in self._wait().items()
        }
        scratch = self._scratch.setdefault(effect.net, torch.empty_like(own.vector))
        if w.device.type == "cpu":
            combine(w, own.vector, received, effect.weights, scratch)
        else:
            moved = own.vector.clone()
            combine(moved, own.vector, received, effect.weights, scratch)
            w.copy_(moved)
        return neighbours - received.keys()

    def _wait(self) -> dict[int, memoryview]:
        """The values of the exchange, or what went wrong."""
        asked = None
        while True:
            try:
                result = self.network.settled.get(timeout=0.2)
            except queue.Empty:
                if self._asked_to_stop():
                    asked = asked or time.monotonic()
                    if time.monotonic() - asked > 2.0:
                        raise Stopped from None
                continue
            if isinstance(result, Exception):
                raise result
            return result

    def _snapshot(self, net: str, w: torch.Tensor) -> Snapshot:
        """``w`` copied into memory that nobody sends from any more: two buffers do, as a rule."""
        ring = self._snapshots.setdefault(net, [])
        free = next((s for s in ring if not s.readers), None)
        if free is None:
            free = Snapshot(torch.empty(w.shape, dtype=torch.float32))
            ring.append(free)
        free.vector.copy_(w)
        return free


def make_links(
    me: Identity,
    neighbours: tuple[int, ...],
    sizes: Mapping[str, int],
    timing: Timing,
    checksum: bool,
) -> dict[int, Link]:
    """One link a neighbour, all at their beginning."""
    now = time.monotonic()
    return {k: Link(me, k, sizes, timing, checksum, now) for k in neighbours}
