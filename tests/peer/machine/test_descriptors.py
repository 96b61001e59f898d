"""Connections by which nobody speaks are bounded, and neighbours come through all the same."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from peer.machine.descriptors import MOST, Strangers, allowed
from peer.net.sockets import Sockets
from topology.errors import UserError

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def listening() -> Iterator[Sockets]:
    sockets = Sockets("tcp://127.0.0.1:0", {}, None)
    yield sockets
    sockets.close(0)


def eventually(condition: Callable[[], bool], seconds: float = 4.0) -> bool:
    """Whether it comes true, before ZeroMQ's own five seconds for a handshake are over."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def silent(sockets: Sockets) -> socket.socket:
    host, port = sockets.listening.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)))


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end is gone; what it says first is its half of a greeting."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def test_of_silent_connections_the_oldest_are_closed(listening: Sockets) -> None:
    listening.strangers.most = 10
    before = len(os.listdir("/proc/self/fd"))
    connections = [silent(listening) for _ in range(60)]

    def is_bounded() -> bool:
        listening.limit_strangers()
        return sum(map(is_closed, connections)) == 50

    try:
        assert eventually(is_bounded)
        assert len(listening.strangers) == 10
        assert [is_closed(each) for each in connections] == [True] * 50 + [False] * 10
        # ours, and those that were accepted and kept; ZeroMQ's thread closes the others in its time
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) - before <= 60 + 10)
    finally:
        for each in connections:
            each.close()


def test_a_neighbour_reaches_us_and_speaks_while_strangers_come_and_come(
    listening: Sockets,
) -> None:
    listening.strangers.most = 20
    is_over = threading.Event()

    def flood() -> None:
        connections = []
        while not is_over.is_set():
            connections.append(silent(listening))
            time.sleep(0.001)
        for each in connections:
            each.close()

    flooding = threading.Thread(target=flood)
    flooding.start()
    neighbour = Sockets("tcp://127.0.0.1:0", {0: listening.listening}, None)
    try:
        for turn in range(3):
            neighbour.redial(0, listening.listening)
            heard: list[bytes] = []

            def is_heard(heard: list[bytes] = heard, word: bytes = b"turn %d" % turn) -> bool:
                neighbour.dealers[0].send(word) if neighbour.dealers[0].poll(0, 2) else None
                listening.limit_strangers()
                while arrival := listening.arrival():
                    heard.append(arrival.header)
                return word in heard

            assert eventually(is_heard)
            assert len(listening.strangers) <= 20
    finally:
        is_over.set()
        flooding.join()
        neighbour.close(0)


def test_who_has_spoken_is_kept(listening: Sockets) -> None:
    listening.strangers.most = 5
    neighbour = Sockets("tcp://127.0.0.1:0", {0: listening.listening}, None)
    connections: list[socket.socket] = []
    try:
        assert eventually(lambda: neighbour.dealers[0].poll(0, 2) != 0)
        neighbour.dealers[0].send(b"here")

        def is_heard() -> bool:
            listening.limit_strangers()
            return listening.arrival() is not None

        assert eventually(is_heard)
        connections += [silent(listening) for _ in range(30)]

        def is_bounded() -> bool:
            listening.limit_strangers()
            return sum(map(is_closed, connections)) == 25

        assert eventually(is_bounded)
        neighbour.dealers[0].send(b"still here")  # by the oldest connection of all
        assert eventually(is_heard)
    finally:
        for each in connections:
            each.close()
        neighbour.close(0)


def test_who_greets_a_byte_at_a_time_is_hung_up_on(listening: Sockets) -> None:
    connection = silent(listening)
    began = time.monotonic()
    try:
        for byte in b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48):  # all of a greeting
            if is_closed(connection) or time.monotonic() - began > 15:
                break
            connection.setblocking(True)
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.2)
        assert is_closed(connection)
        assert 3 < time.monotonic() - began < 9  # ZeroMQ's five seconds for a handshake
    finally:
        connection.close()


def test_a_number_that_is_no_connection_any_more_is_left_alone() -> None:
    strangers = Strangers(0)
    reader, writer = os.pipe()
    try:
        strangers.came(reader)  # closed meanwhile, and given to a file
        os.write(writer, b"x")
        assert os.read(reader, 1) == b"x"
    finally:
        os.close(reader)
        os.close(writer)
    strangers.came(reader)  # and to nobody
    assert len(strangers) == 0


@pytest.mark.parametrize(
    ("limit", "most"), [(1024, 256), (48, 12), (1 << 20, MOST), (resource.RLIM_INFINITY, MOST)]
)
def test_a_quarter_of_the_descriptors_may_be_strangers(
    limit: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    assert allowed() == most


def test_a_hub_whose_descriptors_do_not_suffice_says_so_before_it_begins() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/proc/self/fd"))
    addresses = {k: f"tcp://127.0.0.1:{40000 + k}" for k in range(1, 200)}
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 200, before[1]))
    try:
        with pytest.raises(UserError, match=r"199 neighbours take \d+ .* raise it: ulimit -n"):
            Sockets("tcp://127.0.0.1:0", addresses, None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
