"""Connections between simulated processes: real frames, in virtual time, on a bad network."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sim.torture.chaos.scenario import Rates
from sim.torture.world.agenda import Agenda
from sim.torture.world.failpoints import Failpoints

Frames = tuple[bytes, memoryview | None]
"""A message's header, and its body where it has one."""

UNDER_WAY = 64
"""Messages that a connection holds; who finds it full tries again later."""

LATENCY = 0.002
"""Seconds."""

_DRAWS = 4096


class Receiver(Protocol):
    """A process that messages arrive at."""

    def arrive(self, connection: bytes, header: bytes, body: memoryview | None) -> bool:
        """Take a message; False where it stands still, and takes nothing yet."""

    def connected_anew(self, neighbour: int) -> None:
        """A connection of its own broke, and is there again."""


@dataclass(eq=False)
class Connection:
    """From one process's DEALER to another's ROUTER, until it breaks."""

    name: bytes
    up_at: float
    is_made: bool = False  # it carried something, or the one before did that its DEALER made
    is_broken: bool = False
    under_way: int = 0
    held: list[Frames] = field(default_factory=list)  # while it is clogged, or nobody takes it


class Network:
    """All connections, and what happens to what they carry.

    Args:
        agenda: the time.
        rates: of what happens to messages until :meth:`heal`.
        seed: of that.
        failpoints: where a process may be killed, by what it sends.
        is_silent: broken connections are there again without a word to whose they are.

    Attributes:
        lost: (source, target) of directions in which everything is lost.
        clogged: (source, target) of directions in which nothing moves.
        processes: those that are there, by peer.
        counts: what happened to messages, by kind.
    """

    def __init__(
        self,
        agenda: Agenda,
        rates: Rates,
        seed: int,
        failpoints: Failpoints,
        is_silent: bool = False,
    ) -> None:
        self.agenda = agenda
        self.is_silent = is_silent
        self.failpoints = failpoints
        self.rates = rates
        self.lost: set[tuple[int, int]] = set()
        self.clogged: set[tuple[int, int]] = set()
        self.processes: dict[int, Receiver] = {}
        self.counts = dict.fromkeys(("sent", "lost", "twice", "late", "flipped", "arrived"), 0)
        self._connections: dict[tuple[int, int], Connection] = {}
        self._generator = np.random.default_rng([seed, 1])
        self._draws: list[float] = []
        self._names = 0
        self._trace = hashlib.blake2b(digest_size=16)

    @property
    def trace(self) -> str:
        """A digest of everything that arrived, and when."""
        return self._trace.hexdigest()

    def note(self, *numbers: float) -> None:
        """Put something else into the trace."""
        self._trace.update(struct.pack(f"<{len(numbers)}d", *numbers))

    def draw(self) -> float:
        """Uniform on [0, 1)."""
        if not self._draws:
            self._draws = self._generator.random(_DRAWS).tolist()
        return self._draws.pop()

    def heal(self) -> None:
        """From now on nothing is lost any more."""
        self.rates = Rates()
        self.lost.clear()
        for direction in sorted(self.clogged):
            self.unclog(*direction)

    # --- connections ------------------------------------------------------------------------------

    def connect(
        self, source: int, target: int, seconds: float = 0.1, is_dialled: bool = False
    ) -> None:
        """Another connection takes the place of the one before; what was under way is lost.

        It ``is_dialled`` by another DEALER, to which it is the first; otherwise the source is told.
        """
        old = self._connections.get((source, target))
        if old is not None:
            old.is_broken = True
        self._names += 1
        is_made = old is not None and old.is_made and not is_dialled
        connection = Connection(b"\0%d" % self._names, self.agenda.now + seconds, is_made)
        self._connections[source, target] = connection
        if is_made and not self.is_silent:
            self.agenda.at(connection.up_at, lambda: self._tell(source, target, connection))

    def _tell(self, source: int, target: int, connection: Connection) -> None:
        process = self.processes.get(source)
        if process is not None and target in self.processes and not connection.is_broken:
            process.connected_anew(target)

    def hang_up(self, target: int, name: bytes) -> None:
        """Who receives by a connection breaks it off."""
        for (source, there), connection in self._connections.items():
            if there == target and connection.name == name:
                self.connect(source, target)
                return

    def disconnect(self, peer: int, neighbours: Iterable[int]) -> None:
        """A process ends, or begins: all its connections are new."""
        for k in neighbours:
            self.connect(peer, k, is_dialled=True)
            self.connect(k, peer)

    def unclog(self, source: int, target: int) -> None:
        """What was held moves on, in its order."""
        self.clogged.discard((source, target))
        self._let_go(source, target)

    def take_again(self, target: int) -> None:
        """A process that stood still takes what has piled up."""
        for source, there in list(self._connections):
            if there == target:
                self._let_go(source, target)

    def _let_go(self, source: int, target: int) -> None:
        connection = self._connections[source, target]
        held, connection.held = connection.held, []
        for frames in held:
            self._arrive(source, target, connection, *frames)

    # --- messages ---------------------------------------------------------------------------------

    def send(self, source: int, target: int, outbox: deque[Frames]) -> None:
        """As much of ``outbox`` as the connection takes."""
        connection = self._connections[source, target]
        if target not in self.processes or self.agenda.now < connection.up_at:
            return
        connection.is_made = connection.is_made or bool(outbox)
        watched = self.failpoints.are_armed(source)
        while outbox and connection.under_way < UNDER_WAY:
            header, body = outbox.popleft()
            if watched and self.failpoints.strikes(source, "sending", header):
                return
            self._carry(source, target, connection, header, body)
            if watched and self.failpoints.strikes(source, "sent", header):
                return

    def _carry(
        self,
        source: int,
        target: int,
        connection: Connection,
        header: bytes,
        body: memoryview | None,
    ) -> None:
        counts, rates, draw = self.counts, self.rates, self.draw
        counts["sent"] += 1
        if (source, target) in self.lost or (rates.loss and draw() < rates.loss):
            counts["lost"] += 1
            return
        copies = 1
        if rates.twice and draw() < rates.twice:
            counts["twice"] += 1
            copies = 2
        if body is not None and draw() < 0.5:
            body = memoryview(bytes(body))  # it is copied now; otherwise, when it arrives
        for _ in range(copies):
            delay = LATENCY
            if rates.late and draw() < rates.late:
                counts["late"] += 1
                delay -= 0.5 * float(np.log1p(-draw()))  # exponential, of mean 0.5 s
            connection.under_way += 1
            self.agenda.at(
                self.agenda.now + delay,
                lambda: self._arrive(source, target, connection, header, body),
            )

    def _arrive(
        self,
        source: int,
        target: int,
        connection: Connection,
        header: bytes,
        body: memoryview | None,
    ) -> None:
        process = self.processes.get(target)
        if process is None or connection.is_broken:
            return
        if (source, target) in self.clogged or connection.held:
            connection.held.append((header, body))
            return
        came = None if body is None else memoryview(bytearray(body))
        read = header
        if self.rates.flip and self.draw() < self.rates.flip:
            self.counts["flipped"] += 1
            if came is None:
                read = self._flipped(header)
            else:
                came[int(self.draw() * len(came))] ^= 1 << int(self.draw() * 8)
        if not process.arrive(connection.name, read, came):
            connection.held.append((header, body))
            return
        connection.under_way -= 1
        self.counts["arrived"] += 1
        self._trace.update(struct.pack("<dII", self.agenda.now, source, target) + header)
        if came is not None:
            self._trace.update(struct.pack("<I", zlib.crc32(came)))

    def _flipped(self, header: bytes) -> bytes:
        damaged = bytearray(header)
        damaged[int(self.draw() * len(damaged))] ^= 1 << int(self.draw() * 8)
        return bytes(damaged)
