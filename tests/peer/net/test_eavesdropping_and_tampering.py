"""Somebody on the way between two peers, who reads what passes or changes it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator

import pytest
import zmq

from peer.effects import Moment
from peer.net.sockets import Security, Sockets
from peer.net.wire import Chunk, encode

pytestmark = pytest.mark.timeout(60)

LONGEST = 20.0
"""Seconds after which something that must happen has not happened."""

LOOPBACK = "tcp://127.0.0.1:0"

BODY = b"a value that is private, " * 40

HEADER = encode(1, 0, Chunk(Moment(0, 0), 0, 0))


class OnTheWay:
    """Passes on what one connection after another sends, and keeps a copy of it.

    Args:
        address: where the listener is.
        changes: flip a bit in the middle of whatever is as long as a value.
    """

    def __init__(self, address: str, changes: bool = False) -> None:
        host, port = address.removeprefix("tcp://").split(":")
        self.seen = b""
        self.changed = 0
        self._changes = changes
        self._there = host, int(port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._door.getsockname()[1]}"

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._door.close()

    def _work(self) -> None:
        other_end: dict[socket.socket, socket.socket] = {}
        incoming: set[socket.socket] = set()
        while not self._is_over.is_set():
            for ready in select.select([self._door, *other_end], [], [], 0.05)[0]:
                if ready is self._door:
                    here, there = self._door.accept()[0], socket.create_connection(self._there)
                    other_end |= {here: there, there: here}
                    incoming.add(here)
                elif ready in other_end:
                    data = b""
                    with contextlib.suppress(OSError):
                        data = ready.recv(1 << 16)
                    try:
                        other_end[ready].sendall(self._passed(data, ready in incoming))
                    except OSError:
                        data = b""
                    if not data:
                        for each in (ready, other_end.pop(ready)):
                            other_end.pop(each, None)
                            each.close()
        for each in other_end:
            each.close()

    def _passed(self, data: bytes, is_incoming: bool) -> bytes:
        self.seen += data
        if self._changes and is_incoming and len(data) > len(BODY) // 2:
            self.changed += 1
            middle = len(data) // 2
            return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data


@contextlib.contextmanager
def sent_through(is_secure: bool, changes: bool = False) -> Iterator[tuple[OnTheWay, Sockets]]:
    """One value is sent by one peer's sockets to another's, over somebody on the way."""
    ours, theirs = zmq.curve_keypair(), zmq.curve_keypair()
    there = Sockets(
        LOOPBACK, {}, Security(theirs[1], theirs[0], {0: ours[0]}) if is_secure else None
    )
    way = OnTheWay(there.listening, changes)
    us = Security(ours[1], ours[0], {1: theirs[0]}) if is_secure else None
    here = Sockets(LOOPBACK, {1: way.address}, us)
    try:
        outbox: deque[tuple[bytes, memoryview | None]] = deque([(HEADER, memoryview(BODY))])
        until = time.monotonic() + LONGEST
        while not here.send(1, outbox) and time.monotonic() < until:
            time.sleep(0.01)
        assert not outbox
        yield way, there
    finally:
        here.close(0)
        way.close()
        there.close(0)


def received(sockets: Sockets, seconds: float) -> bytes | None:
    """The body that comes within so many seconds, if one does."""
    if not sockets.router.poll(int(1000 * seconds)) or sockets.arrival() is None:
        return None
    return bytes(sockets.body() or b"")


def test_with_keys_nothing_of_a_value_can_be_read_on_the_way() -> None:
    with sent_through(is_secure=True) as (way, there):
        assert received(there, LONGEST) == BODY
        assert len(way.seen) > len(BODY)
        assert b"private" not in way.seen
        assert b"hearsay" not in way.seen  # of headers, neither


def test_without_keys_all_can_be_read() -> None:
    with sent_through(is_secure=False) as (way, there):
        assert received(there, LONGEST) == BODY
        assert HEADER in way.seen
        assert BODY in way.seen


def test_with_keys_a_changed_value_reaches_nobody() -> None:
    with sent_through(is_secure=True, changes=True) as (way, there):
        until = time.monotonic() + LONGEST
        while not way.changed and time.monotonic() < until:
            time.sleep(0.01)
        assert way.changed
        assert received(there, 1.0) is None


def test_without_keys_a_changed_value_arrives_for_the_checksum_to_find() -> None:
    with sent_through(is_secure=False, changes=True) as (way, there):
        changed = received(there, LONGEST)
        assert way.changed
        assert changed is not None
        assert len(changed) == len(BODY)
        assert changed != BODY
