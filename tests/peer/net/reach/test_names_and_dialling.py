"""Names of neighbours: looked up beside, tried number by number, told once."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from peer.experiment import addresses
from peer.experiment.addresses import is_number, name_in, numeric, to_bind, where_to_listen
from peer.net.away.contacts import Contact
from peer.net.reach import dialler as dialler_module
from peer.net.reach import resolver as resolver_module
from peer.net.reach.dialler import Dialler
from peer.net.reach.resolver import Found, NotFound, Resolver
from peer.net.sockets import Sockets
from topology.errors import UserError

pytestmark = pytest.mark.timeout(60)


def eventually(condition: Any, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def known(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[str]]) -> list[str]:
    """Names stand for what ``table`` says; returns what was asked for, as it is asked."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any) -> Any:
        asked.append(host)
        if host in table:
            return [found for number in table[host] for found in real(number, port, *rest)]
        if host.endswith(".test"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, port, *rest)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    return asked


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("192.168.0.13", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("::", True),
        ("*", True),
        ("pi-3.local", False),
        ("localhost", False),
        ("1.2.3", False),
    ],
)
def test_what_is_a_number(host: str, is_one: bool) -> None:
    assert is_number(host) is is_one


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("tcp://pi-3.local:47103", ("pi-3.local", 47103)),
        ("tcp://192.168.0.13:47103", None),
        ("tcp://[fe80::1%eth0]:47103", None),
        ("tcp://[::1]:47103", None),
        ("ipc:///run/hearsay-3", None),
    ],
)
def test_the_name_in_an_address(address: str, named: tuple[str, int] | None) -> None:
    assert name_in(address) == named


def test_numbers_of_ipv6_stand_in_brackets() -> None:
    assert numeric("fe80::1%eth0", 5) == "tcp://[fe80::1%eth0]:5"
    assert numeric("10.0.0.1", 5) == "tcp://10.0.0.1:5"
    assert to_bind("tcp://[::1]:5") == "tcp://[::1]:5"
    assert to_bind("tcp://*:5") == "tcp://*:5"


def test_where_a_machine_listens_whose_name_is_its_own_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known(monkeypatch, {"pi-1.test": ["127.0.1.1"], "pi-2.test": ["127.0.1.1", "10.0.0.2"]})
    where, note = where_to_listen("tcp://pi-1.test:47101")
    assert where == "tcp://*:47101"
    assert "pi-1.test stands for tcp://127.0.1.1:47101" in note
    for address in ("tcp://pi-2.test:1", "tcp://localhost:1", "tcp://127.0.0.1:1", "ipc:///a/b"):
        assert where_to_listen(address) == (address, "")


def test_a_name_of_ones_own_that_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, {})
    with pytest.raises(UserError, match=r"pi-9\.test:1 is not known to this machine.*listen:"):
        to_bind("tcp://pi-9.test:1")


# --- the resolver ---------------------------------------------------------------------------------


def test_a_name_is_told_when_it_is_known_and_its_absence_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table: dict[str, list[str]] = {}
    asked = known(monkeypatch, table)
    monkeypatch.setattr(resolver_module, "AGAIN", 0.02)
    told: list[Found | NotFound] = []
    resolver = Resolver(told.append)
    resolver.ask(3, "pi-3.test", 47103)
    assert eventually(lambda: len(asked) >= 3)
    assert told == [NotFound(3, "the name pi-3.test is not known here (Name or service not known)")]
    table["pi-3.test"] = ["10.0.0.3", "fd00::3"]
    assert eventually(lambda: len(told) == 2)
    assert told[1] == Found(3, ("tcp://10.0.0.3:47103", "tcp://[fd00::3]:47103"))
    resolver.ask(3, "pi-3.test", 47103)  # anew: it may have moved
    assert eventually(lambda: len(told) == 3)
    resolver.close()


def test_a_name_that_nobody_answers_for_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def getaddrinfo(host: str, *rest: Any) -> Any:
        answer.wait(20.0)
        raise OSError("too late")

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(resolver_module, "SLOW", 0.05)
    told: list[Found | NotFound] = []
    resolver = Resolver(told.append)
    began = time.monotonic()
    for _ in range(100):
        resolver.ask(1, "silent.test", 1)
    assert time.monotonic() - began < 5.0
    assert sum(thread.name == "resolver" for thread in threading.enumerate()) == 1
    assert eventually(lambda: resolver.is_slow(1))
    assert not resolver.is_slow(2)
    assert told == []
    resolver.close()
    answer.set()


# --- dialling -------------------------------------------------------------------------------------


@pytest.fixture
def there() -> Iterator[tuple[Any, int]]:
    """A ROUTER on a port of 127.0.0.1, and that port."""
    context: zmq.Context[Any] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    yield router, router.bind_to_random_port("tcp://127.0.0.1")
    context.destroy(0)


def look_until(dialler: Dialler, condition: Any) -> bool:
    def done() -> bool:
        dialler.sockets.watch()
        dialler.look(time.monotonic())
        return bool(condition())

    return eventually(done)


def test_a_named_neighbour_is_dialled_when_its_name_is_known(
    monkeypatch: pytest.MonkeyPatch, there: tuple[Any, int]
) -> None:
    _, port = there
    table: dict[str, list[str]] = {}
    known(monkeypatch, table)
    monkeypatch.setattr(resolver_module, "AGAIN", 0.02)
    log: list[str] = []
    sockets = Sockets("tcp://127.0.0.1:0", {1: f"tcp://pi-1.test:{port}"}, None)
    dialler = Dialler(sockets, log.append, lambda: None)
    try:
        dialler.start()
        assert look_until(dialler, lambda: dialler.unknown)
        assert sockets.contacts[1] is Contact.NONE
        table["pi-1.test"] = ["127.0.0.1"]
        assert look_until(dialler, lambda: sockets.contacts[1] is Contact.THROUGH)
        assert dialler.unknown == {}
        assert [line.partition(": ")[2][:24] for line in log] == [
            "the name pi-1.test is no",
            "its name is known now: t",
        ]
    finally:
        dialler.close()
        sockets.close(0)


def test_the_next_number_of_a_name_is_tried_where_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, there: tuple[Any, int]
) -> None:
    _, port = there
    known(monkeypatch, {"pi-1.test": ["127.0.0.9", "127.0.0.1"]})  # nothing listens at the first
    monkeypatch.setattr(dialler_module, "NEXT", 0.1)
    sockets = Sockets("tcp://127.0.0.1:0", {1: f"tcp://pi-1.test:{port}"}, None)
    dialler = Dialler(sockets, lambda line: None, lambda: None)
    try:
        dialler.start()
        assert look_until(dialler, lambda: sockets.contacts[1] is Contact.THROUGH)
    finally:
        dialler.close()
        sockets.close(0)


def test_without_descriptors_a_neighbour_is_dialled_again_later(
    monkeypatch: pytest.MonkeyPatch, there: tuple[Any, int]
) -> None:
    _, port = there
    sockets = Sockets("tcp://127.0.0.1:0", {1: f"tcp://127.0.0.1:{port}"}, None)
    dialler = Dialler(sockets, lambda line: None, lambda: None)
    make = sockets._make
    left = [2]

    def scarce(kind: int) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise zmq.ZMQError(errno.EMFILE)
        return make(kind)

    monkeypatch.setattr(sockets, "_make", scarce)
    monkeypatch.setattr(dialler_module, "AGAIN", 0.05)
    try:
        dialler.dial(1, time.monotonic())
        assert 1 not in sockets.dealers
        assert look_until(dialler, lambda: sockets.contacts[1] is Contact.THROUGH)
        assert left == [0]
    finally:
        dialler.close()
        sockets.close(0)


def test_answers_come_back_by_the_connection_of_a_greeting() -> None:
    a = Sockets("tcp://127.0.0.1:0", {}, None)
    b = Sockets("tcp://127.0.0.1:0", {0: a.listening}, None)
    try:
        outbox: deque[tuple[bytes, memoryview | None]] = deque([(b"hello", None)])
        assert eventually(lambda: b.send(0, outbox))
        assert a.router.poll(20_000) != 0
        arrival = a.arrival()
        assert arrival is not None
        assert a.body() is None
        a.answer(arrival.connection, b"no")
        a.answer(b"nobody", b"lost")
        found: list[tuple[int, bytes]] = []
        assert eventually(lambda: found.extend(b.answers()) or found)  # type: ignore[func-returns-value]
        assert found == [(0, b"no")]
    finally:
        a.close(0)
        b.close(0)
