"""A TCP proxy that does to its connections what :mod:`peer.chaos.faults` decides."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from peer.chaos.faults import Connection, Direction, Faults, Passage
from topology.errors import UserError

PIECE = 1 << 14
"""Bytes that are read at once, at most: what one fault happens to."""

WAITING = 256
"""Pieces on their way in one direction, at most; then the sender has to wait."""


class Place(NamedTuple):
    """A host and a port; host None is every interface."""

    host: str | None
    port: int


class Proxy:
    """Takes connections at ``listen`` and passes their bytes to ``target``, and back.

    Args:
        name: stands before its lines of the log.
        number: of this proxy among all, for the seed.
        listen: where it is dialled; port 0 for any that is free.
        target: what stands behind it.
        faults: how bad its connections are.
        seed: of everything random.
        say: gets a line of the log.

    Attributes:
        counts: of connections and of each kind of fault.
    """

    def __init__(
        self,
        name: str,
        number: int,
        listen: Place,
        target: Place,
        faults: Faults,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self._number = number
        self._listen = listen
        self._target = target
        self._faults = faults
        self._seed = seed
        self._say = say
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._is_refused = False  # said once, until the target answers

    async def open(self) -> None:
        """Listen from now on.

        Raises:
            UserError: it cannot listen there.
        """
        host, port = self._listen
        try:
            self._server = await asyncio.start_server(self._take_in, host, port)
        except OSError as problem:
            in_use = problem.errno == errno.EADDRINUSE
            why = "is in use" if in_use else f"cannot be listened at: {problem.strerror}"
            raise UserError(f"chaos: {host or '*'}:{port} {why}") from None

    @property
    def port(self) -> int:
        """The port that it listens at."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Reset all connections and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _take_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.counts["connections"]
        self.counts["connections"] += 1
        try:
            beyond = await asyncio.open_connection(*self._target)
        except OSError as problem:
            if not self._is_refused:
                self._is_refused = True
                self._say(f"{self.name}: nobody answers behind it ({problem.strerror})")
            _reset(writer)
            return
        except asyncio.CancelledError:
            _reset(writer)
            raise
        self._is_refused = False
        now = asyncio.get_running_loop().time
        fate = Connection(self._faults, self._seed, self._number, number, now())
        name = f"{self.name}, connection {number}"
        lines = []
        for direction, source, sink in (
            (Direction.TO, reader, beyond[1]),
            (Direction.FROM, beyond[0], writer),
        ):
            line: asyncio.Queue[tuple[Passage, bool]] = asyncio.Queue(WAITING)
            lines.append(asyncio.create_task(_take(source, line, fate, direction)))
            lines.append(asyncio.create_task(self._give(line, sink, name)))
        wait = None if math.isinf(fate.reset_at) else max(0.0, fate.reset_at - now())
        is_whole = False
        try:
            done, lasting = await asyncio.wait(
                lines, timeout=wait, return_when=asyncio.FIRST_EXCEPTION
            )
            is_lost = any(task.exception() is not None for task in done)
            is_whole = not lasting and not is_lost
            if lasting and not is_lost:
                self.counts["reset"] += 1
                self._say(f"{name}: reset")
        finally:
            for task in lines:
                task.cancel()
            for each in (writer, beyond[1]):  # before any await: this task may be cancelled, too
                if is_whole:
                    each.close()
                else:
                    _reset(each)
            await asyncio.gather(*lines, return_exceptions=True)

    async def _give(
        self,
        line: asyncio.Queue[tuple[Passage, bool]],
        sink: asyncio.StreamWriter,
        name: str,
    ) -> None:
        """Pass pieces on, each when its time has come."""
        now = asyncio.get_running_loop().time
        is_end = False
        while not is_end:
            passage, is_end = await line.get()
            for fault in passage.faults:
                self.counts[fault.kind] += 1
                self._say(f"{name}: {fault.words}")
            wait = passage.at - now()
            if wait > 0:
                await asyncio.sleep(wait)
            if passage.piece:
                sink.write(passage.piece)
                await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


async def _take(
    source: asyncio.StreamReader,
    line: asyncio.Queue[tuple[Passage, bool]],
    fate: Connection,
    direction: Direction,
) -> None:
    """Read pieces, as many as may wait, up to the stream's end."""
    now = asyncio.get_running_loop().time
    piece = b"?"
    while piece:
        piece = await source.read(PIECE)
        await line.put((fate.passes(direction, now(), piece), not piece))


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once: the other end gets an RST, not an orderly end."""
    at_once = struct.pack("ii", 1, 0)  # linger for 0 seconds
    with contextlib.suppress(OSError):  # it has gone already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()
