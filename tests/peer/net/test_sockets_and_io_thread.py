"""Real sockets and network threads, all on loopback; and the keys that guard them."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import socket
import stat
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
import zmq
from zmq.utils.monitor import recv_monitor_message

from peer.effects import Moment
from peer.experiment import Experiment, from_mapping
from peer.experiment.addresses import is_loopback
from peer.net.away.failure_detector import Timing
from peer.net.commands import Part
from peer.net.endpoint import Endpoint
from peer.net.events import Outcome
from peer.net.exchange import Delivered
from peer.net.header.seal import HEADER_LIMIT
from peer.net.io_thread import IoThread
from peer.net.keys import (
    curve_secret,
    keys_folder,
    make_keys,
    public_key,
    read_secret,
)
from peer.net.link import Link
from peer.net.session import Identity, Phase
from peer.net.sockets import Security, Sockets
from peer.net.transfer.outgoing import Outgoing
from peer.net.transfer.send_buffers import Released, SendBuffer, SendBuffers
from peer.net.wire import MESSAGE_LIMIT, Chunk, Hello, Offer, encode
from tests.support.links import agreed
from topology.errors import UserError

pytestmark = pytest.mark.timeout(60)

LONGEST = 20.0
"""Seconds after which something that must happen has not happened."""

NETS = {"small": 1_000, "large": 1_500_000}
"""Parameters: one chunk, and 6 MB in 23."""

LOOPBACK = "tcp://127.0.0.1:0"


@pytest.fixture(autouse=True)
def nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test, and every failure to construct, closes what it opened."""
    made: list[Sockets] = []
    construct = Sockets.__init__

    def remember(self: Sockets, *args: Any) -> None:
        made.append(self)
        construct(self, *args)

    monkeypatch.setattr(Sockets, "__init__", remember)
    yield
    left = [sockets for sockets in made if not sockets.context.closed]
    for sockets in left:
        sockets.context.destroy(0)
    assert left == []


def keypair() -> tuple[bytes, bytes]:
    public, secret = zmq.curve_keypair()
    return public, secret


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def endpoint(address: str) -> tuple[str, int]:
    host, port = address.removeprefix("tcp://").split(":")
    return host, int(port)


def moment(exchange: int) -> Moment:
    return Moment(exchange // 2, exchange % 2)


def net_at(exchange: int) -> str:
    return ("small", "large")[exchange % 2]


def value_of(peer: int, exchange: int) -> torch.Tensor:
    draw = np.random.default_rng([peer, exchange])
    return torch.from_numpy(draw.standard_normal(NETS[net_at(exchange)], dtype=np.float32))


class Node:
    """One peer: sockets, links and a network thread, driven by the test."""

    def __init__(
        self,
        peer: int,
        addresses: dict[int, str],
        security: Security | None = None,
        *,
        fingerprint: str = "same",
        session: int | None = None,
        timing: Timing = Timing(),  # noqa: B008 (frozen)
    ) -> None:
        self.peer = peer
        self.log: list[str] = []
        self.session = secrets.randbits(64) if session is None else session
        others = {k: address for k, address in addresses.items() if k != peer}
        me = Identity(peer, self.session, {"seed": fingerprint}, {"model": "mlp"})
        sizes = {net: 4 * length for net, length in NETS.items()}
        self.sockets = Sockets(addresses[peer], others, security)
        now = time.monotonic()
        links = {k: Link(me, k, sizes, timing, security is None, now) for k in others}
        self.io = IoThread(self.sockets, Endpoint(links, others), self.log.append)
        self.buffers: list[SendBuffer] = []
        self.exchange = 0

    def link(self, k: int) -> Link:
        return self.io.endpoint.links[k]

    def begin(self) -> SendBuffer:
        """The next exchange begins."""
        buffer = SendBuffer(torch.empty(NETS[net_at(self.exchange)]))
        t = moment(self.exchange)
        buffer.begin(dict.fromkeys(self.io.endpoint.links, t))
        part = Part(t, net_at(self.exchange), buffer)
        self.io.begin(dict.fromkeys(self.io.endpoint.links, part))
        buffer.fill(value_of(self.peer, self.exchange), self.io.wake)
        self.exchange += 1
        self.buffers.append(buffer)
        return buffer

    def releases(self, count: int) -> list[Released]:
        """What is told of buffers that are ours again."""
        return [self.io.released.get(timeout=LONGEST) for _ in range(count)]

    def settled(self) -> dict[int, torch.Tensor]:
        """What came of it, copied (its memory is good until the next exchange)."""
        result = self.io.results.get(timeout=LONGEST)
        if isinstance(result, Exception):
            raise result
        return {
            k: torch.from_numpy(np.frombuffer(value, dtype="<f4").copy())
            for k, value in result.received.items()
        }


@contextlib.contextmanager
def running(*nodes: Node) -> Iterator[tuple[Node, ...]]:
    for node in nodes:
        node.io.start()
    try:
        yield nodes
    finally:
        for node in nodes:
            if node.io.is_alive():
                node.io.finish(round=9, patience=0.0)
        assert not any(node.io.is_alive() for node in nodes)


def pair(**settings: Any) -> tuple[Node, Node]:
    addresses = {k: free_address() for k in (0, 1)}
    return Node(0, addresses, **settings), Node(1, addresses, **settings)


def secure_pair() -> tuple[Node, Node, list[Security]]:
    keys = [keypair(), keypair()]
    security = [Security(keys[k][1], keys[k][0], {1 - k: keys[1 - k][0]}) for k in (0, 1)]
    addresses = {k: free_address() for k in (0, 1)}
    return Node(0, addresses, security[0]), Node(1, addresses, security[1]), security


def swap(a: Node, b: Node, exchanges: int = 2) -> None:
    """Exchanges, each with the other's bits."""
    for _ in range(exchanges):
        exchange = a.exchange
        for node in (a, b):
            node.begin()
        for node, other in ((a, b), (b, a)):
            received = node.settled()
            assert list(received) == [other.peer]
            assert torch.equal(received[other.peer], value_of(other.peer, exchange))


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true, given ample time (a failure alone takes that long)."""
    until = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


# --- a pair ---------------------------------------------------------------------------------------


def test_a_pair_swaps_small_and_large_values_bit_for_bit() -> None:
    with running(*pair()) as (a, b):
        swap(a, b, exchanges=6)
        assert a.link(1).phase is b.link(0).phase is Phase.UP
        assert a.link(1).strikes == b.link(0).strikes == 0
    values = 3 * 4 * sum(NETS.values())
    assert a.sockets.bytes_out >= values
    assert a.sockets.bytes_in >= values
    assert a.sockets.bytes_out < values * 1.02  # headers, and nothing sent twice


def test_a_buffer_is_ours_again_once_the_neighbour_has_it() -> None:
    with running(*pair()) as (a, b):
        for exchange in range(2):
            a.begin()
            b.begin()
            a.settled()
            b.settled()
            for node, other in ((a, 1), (b, 0)):
                assert node.releases(1) == [Released(other, moment(exchange), False)]
        assert a.io.released.empty()
        assert b.io.released.empty()


@pytest.mark.parametrize("in_flight", [True, False])
def test_of_a_buffer_parts_may_lie_in_a_socket(in_flight: bool) -> None:
    a = Node(0, {k: free_address() for k in (0, 1)})
    with running(a):
        buffer = a.begin()
        assert eventually(lambda: a.link(1).exchange.t == moment(0))  # the thread knows of it
        a.link(1).events.append(Delivered(moment(0), in_flight))
        assert a.releases(1) == [Released(1, moment(0), in_flight)]
    assert buffer.readers == {(1, moment(0))}  # the compute thread alone changes that


def test_memory_of_buffers_is_used_again_once_nothing_is_sent_from_it() -> None:
    buffers = SendBuffers()
    first = buffers.next("net", 5, {})
    assert buffers.next("net", 5, {1: moment(0), 2: moment(3)}) is first
    second = buffers.next("net", 5, {})
    assert second is not first
    buffers.release(Released(1, moment(0), False))
    buffers.release(Released(2, moment(0), False))  # of another exchange
    assert first.readers == {(2, moment(3))}
    assert buffers.next("net", 5, {}) is second
    buffers.release(Released(2, moment(3), True))
    assert not first.readers
    assert buffers.next("net", 5, {3: moment(4)}) is second  # what is in flight is left alone
    assert buffers.next("net", 5, {}) not in (first, second)


def test_one_begins_long_before_the_other_comes() -> None:
    addresses = {k: free_address() for k in (0, 1)}
    a = Node(0, addresses)
    with running(a):
        a.begin()
        with pytest.raises(queue.Empty):
            a.io.results.get(timeout=0.5)
        b = Node(1, addresses)
        with running(b):
            b.begin()
            assert torch.equal(a.settled()[1], value_of(1, 0))
            assert torch.equal(b.settled()[0], value_of(0, 0))
            swap(a, b)


def test_a_triangle_of_three() -> None:
    addresses = {k: free_address() for k in range(3)}
    with running(*[Node(k, addresses) for k in range(3)]) as nodes:
        for exchange in range(4):
            for node in nodes:
                node.begin()
            for node in nodes:
                received = node.settled()
                assert sorted(received) == sorted({0, 1, 2} - {node.peer})
                for k, value in received.items():
                    assert torch.equal(value, value_of(k, exchange))


def test_who_leaves_is_missed_by_name_and_waited_for_no_more() -> None:
    a, b = pair()
    with running(a):
        with running(b):
            swap(a, b)
            b.io.finish(round=1, patience=LONGEST)
        assert eventually(lambda: a.link(1).phase is Phase.LEFT)
        a.begin()
        assert a.settled() == {}
    assert any("peer 1: left (finished after round 1)" in line for line in a.log)
    assert any("going on without peer 1" in line for line in a.log)


def test_a_restarted_neighbour_takes_part_again() -> None:
    addresses = {k: free_address() for k in (0, 1)}
    timing = Timing(suspect=0.5)
    a = Node(0, addresses, timing=timing)
    with running(a):
        b = Node(1, addresses, timing=timing)
        with running(b):
            swap(a, b)
        again = Node(1, addresses, timing=timing)
        again.exchange = a.exchange
        with running(again):
            assert eventually(lambda: a.link(1).session.number == again.session)
            assert eventually(lambda: a.link(1).phase is again.link(0).phase is Phase.UP)
            swap(a, again)


def test_another_experiment_next_door_is_named_on_both_sides() -> None:
    addresses = {k: free_address() for k in (0, 1)}
    nodes = Node(0, addresses), Node(1, addresses, fingerprint="other")
    with running(*nodes) as (a, b):
        for node, other in ((a, b), (b, a)):
            node.begin()
            problem = None
            while problem is None:  # the exchange settles without, and then the thread complains
                result = node.io.results.get(timeout=LONGEST)
                problem = result if isinstance(result, Exception) else None
            assert isinstance(problem, UserError)
            assert f"peer {other.peer} at {addresses[other.peer]}" in str(problem)
            assert "seed differ" in str(problem)


def test_greeting_another_experiment_is_not_a_flood() -> None:
    # Both refuse; nothing is left to be said. (Each HELLO used to be answered with a HELLO.)
    addresses = {k: free_address() for k in (0, 1)}
    nodes = Node(0, addresses), Node(1, addresses, fingerprint="other")
    with running(*nodes) as (a, b):
        assert eventually(lambda: a.link(1).phase is b.link(0).phase is Phase.REFUSED)
        for node in (a, b):
            with contextlib.suppress(queue.Empty):
                node.io.results.get(timeout=1.5)
        assert a.sockets.bytes_out < 20_000
        assert b.sockets.bytes_out < 20_000


def test_a_network_thread_that_fails_hands_its_error_over_and_can_be_finished() -> None:
    a = Node(0, {k: free_address() for k in (0, 1)})

    def fail(now: float) -> None:
        raise RuntimeError("broken on purpose")

    a.link(1).tick = fail  # type: ignore[method-assign]
    a.io.start()
    with pytest.raises(RuntimeError, match="on purpose"):
        a.settled()
    a.io.join(LONGEST)
    assert not a.io.is_alive()
    assert a.sockets.context.closed
    a.io.finish(round=0, patience=0.0)  # as the driver does, whatever happened


# --- garbage on the port of a live pair -----------------------------------------------------------


def tcp_noise(address: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    noise = [
        b"",
        b"GET / HTTP/1.1\r\nHost: peer\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\0\0\0\0\0\0\0\1\x7f",  # the beginning of a ZMTP greeting
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + b"\0" * 48,
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + b"\0" * 48 + draw.bytes(500),
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + b"\0" * 48 + b"\2" + struct.pack(">Q", 2**62),
        draw.bytes(5000),
        b"\0" * 5000,
    ]
    for each in noise:
        somebody = socket.create_connection(endpoint(address), timeout=LONGEST)
        with somebody, contextlib.suppress(OSError):  # it may hang up on us, and should
            somebody.sendall(each)


class Stranger:
    """Speaks ZeroMQ, but is no peer."""

    EVENTS = (
        zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED
    )

    def __init__(self, address: str, **curve: bytes) -> None:
        self.context = zmq.Context()
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.sndhwm = 0  # send never waits: what is not taken is queued
        for name, value in curve.items():
            setattr(self.dealer, f"curve_{name}", value)
        self.monitor = self.dealer.get_monitor_socket(self.EVENTS)
        self.dealer.connect(address)

    def send(self, *frames: bytes) -> None:
        self.dealer.send_multipart(frames)

    def pour(self, frame: bytes, count: int) -> int:
        """Send the frame so often, or until nobody takes it any more; returns how often."""
        for sent in range(count):
            try:
                self.dealer.send(frame, zmq.DONTWAIT)
            except zmq.Again:
                return sent
        return count

    def event(self) -> int:
        """The next thing that happens to the connection."""
        assert self.monitor.poll(int(1000 * LONGEST)) != 0
        return int(recv_monitor_message(self.monitor)["event"])

    def close(self) -> None:
        self.dealer.disable_monitor()
        self.monitor.close(0)
        self.dealer.close(0)
        self.context.term()


@contextlib.contextmanager
def stranger(address: str, **curve: bytes) -> Iterator[Stranger]:
    each = Stranger(address, **curve)
    try:
        yield each
    finally:
        each.close()


def hello(peer: int, *, fingerprint: str = "same") -> Hello:
    return Hello(peer, {"seed": fingerprint}, {"model": "mlp"}, 0, checksums=["crc32"])


def random_frames(send: Callable[..., None]) -> int:
    draw = np.random.default_rng(1)
    for _ in range(300):
        send(*[draw.bytes(int(draw.integers(0, 3000))) for _ in range(draw.integers(1, 4))])
    return 300


def endless_small_messages(send: Callable[..., None]) -> int:
    for _ in range(20_000):
        send(b"")
    return 20_000


def many_frames(send: Callable[..., None]) -> int:
    for count in (3, 100, 5000):
        send(*[b"x"] * count)
        send(encode(1, 0, hello(1)), *[b"x"] * count)
    return 6


def a_claim(send: Callable[..., None]) -> int:
    """The neighbour's name on another session's HELLO, of our experiment and of another one."""
    for session in range(50):
        send(encode(session, 0, hello(1)))
        send(encode(session, 0, hello(1, fingerprint="other")))
        send(encode(session, 1, Offer(Moment(0, 0), "small", 4000, 4096, "float32")))
        send(encode(session, 2, Chunk(Moment(0, 0), 0, 0)), b"\0" * 4000)
    return 100  # who it is, is asked; what it says before that is known is foreign


def oversized_headers(send: Callable[..., None]) -> int:
    valid = encode(1, 0, hello(1))
    for length in (HEADER_LIMIT + 1, 100_000, MESSAGE_LIMIT - 1):
        send(valid + b"\0" * (length - len(valid)))
        send(b"\0" * length, b"\0" * length)
    return 6


def deep_headers(send: Callable[..., None]) -> int:
    for depth in (100, 500, 1000, 2000):
        send(b"\x91" * depth)
        send(b"\x95" + msgpack.packb("hearsay") + b"\x91" * depth + b"\x01\0\0\0")
    return 8


ATTACKS = (
    random_frames,
    endless_small_messages,
    many_frames,
    a_claim,
    oversized_headers,
    deep_headers,
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_live_pair_goes_on_whatever_a_stranger_sends(
    attack: Callable[[Callable[..., None]], int],
) -> None:
    with running(*pair()) as (a, b), stranger(a.sockets.listening) as somebody:
        swap(a, b)
        sent = 0

        def bombard() -> None:
            nonlocal sent
            sent = attack(somebody.send)

        bombardment = threading.Thread(target=bombard)
        bombardment.start()
        swap(a, b, exchanges=6)
        bombardment.join(LONGEST)
        assert not bombardment.is_alive()
        assert eventually(
            lambda: a.io.endpoint.admission.foreign == sent
        )  # all were taken, and thrown away
        swap(a, b)
        assert a.link(1).phase is b.link(0).phase is Phase.UP
        assert a.link(1).strikes == 0
    assert len(a.log) < 10  # said once, and then counted


def test_a_live_pair_goes_on_through_noise_on_its_port() -> None:
    with running(*pair()) as (a, b):
        address = a.sockets.listening
        swap(a, b)
        noise = threading.Thread(target=lambda: [tcp_noise(address, seed) for seed in range(20)])
        noise.start()
        swap(a, b, exchanges=6)
        noise.join(LONGEST)
        swap(a, b)
        assert a.link(1).phase is b.link(0).phase is Phase.UP


def test_frames_beyond_the_limit_close_the_connection_and_reach_nobody() -> None:
    with running(*pair()) as (a, b), stranger(a.sockets.listening) as somebody:
        swap(a, b)
        assert somebody.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        somebody.send(encode(1, 0, hello(1)), b"\0" * (MESSAGE_LIMIT + 1))
        assert somebody.event() == zmq.EVENT_DISCONNECTED
        swap(a, b)
        assert a.io.endpoint.admission.foreign == 0
        assert a.sockets.bytes_in < 3 * 4 * sum(NETS.values())


def test_names_of_many_strangers_fill_neither_log_nor_memory() -> None:
    with running(*pair()) as (a, b), stranger(a.sockets.listening) as somebody:
        for peer in range(2, 2002):
            somebody.send(encode(7, 0, hello(peer)))
        assert eventually(lambda: a.io.endpoint.admission.foreign == 2000)
        assert len(a.log) < 50
        assert len(a.io.endpoint.admission._strangers) < 100
        swap(a, b)


def test_the_neighbours_own_connection_may_send_garbage_between_its_messages() -> None:
    """Its bytes may be shifted for good: it is closed, made anew, and nothing is missing."""
    with running(*pair()) as (a, b):
        swap(a, b)
        outbox = b.link(0).outbox
        draw = np.random.default_rng(3)
        for _ in range(20):
            outbox.append((draw.bytes(50), None))
            outbox.append((encode(b.session, 0, Chunk(Moment(0, 0), 0, 0)), memoryview(b"x" * 99)))
            outbox.append((encode(1, 0, Chunk(Moment(9, 0), 0, 0)), None))
        swap(a, b, exchanges=4)
        assert 1 <= a.io.endpoint.admission.foreign <= 20
        assert a.link(1).phase is Phase.UP


# --- sockets alone --------------------------------------------------------------------------------


def experiment(**keys: Any) -> Experiment:
    return from_mapping(
        {
            "peers": 4,
            "graph": "ring",
            "algorithm": {"name": "diffusion", "rounds": 1},
            "gan": "mlp-digits",
            "optimizer": "adam",
        }
        | keys
    )


def with_address(address: str) -> Experiment:
    """An experiment in which peer 0 is at this address: refused, if it is none, or never."""
    return experiment(addresses=[address, *(f"tcp://127.0.0.1:{47100 + k}" for k in (1, 2, 3))])


def arrivals(sockets: Sockets, count: int) -> list[tuple[bytes, memoryview | None]]:
    """The next messages' headers and bodies."""
    taken = []
    while len(taken) < count:
        assert sockets.router.poll(int(1000 * LONGEST)) != 0
        arrival = sockets.arrival()
        if arrival is not None:
            taken.append((arrival.header, sockets.body()))
    return taken


@pytest.fixture
def listening() -> Iterator[Sockets]:
    sockets = Sockets(LOOPBACK, {}, None)
    yield sockets
    sockets.close(0)


def test_a_body_is_as_it_was_sent_and_outlives_its_message(listening: Sockets) -> None:
    bodies = [b"", b"x" * 9, b"0123456789abc", b"y" * 100_000]
    with stranger(listening.listening) as somebody:
        for body in bodies:
            somebody.send(b"h", body)
        somebody.send(b"h")
        taken = arrivals(listening, 5)
    assert taken == [(b"h", body) for body in bodies] + [(b"h", None)]
    assert listening.bytes_in == 5 + sum(map(len, bodies))


def test_too_many_frames_are_all_dropped(listening: Sockets) -> None:
    with stranger(listening.listening) as somebody:
        somebody.send(b"h", *[b"x"] * 50)
        somebody.send(b"next")
        assert listening.router.poll(int(1000 * LONGEST)) != 0
        arrival = listening.arrival()
        assert arrival is not None
        assert arrival.header == b"h"
        with pytest.raises(ValueError, match="too many frames"):
            listening.body()
        assert arrivals(listening, 1) == [(b"next", None)]


def test_a_buffer_hands_out_what_is_written() -> None:
    w = torch.arange(SendBuffer.STEP + 1000, dtype=torch.float32)
    whole = w.numpy().tobytes()
    buffer = SendBuffer(torch.full_like(w, torch.nan))
    buffer.begin({})
    assert bytes(buffer[0:4096]) == b""  # nothing of an old one
    seen = []
    buffer.fill(w, lambda: seen.append([bytes(buffer[0:4096]), bytes(buffer[4096 : len(whole)])]))
    first, everything = 4 * buffer.STEP, len(whole)
    assert seen == [[whole[:4096], whole[4096:end]] for end in (first, everything)]
    assert len(buffer) == everything


def test_a_value_is_sent_while_it_is_written() -> None:
    nbytes, chunk = 10 * 4096, 4096
    buffer = SendBuffer(torch.zeros(nbytes // 4))
    outgoing = Outgoing(Offer(moment(0), "net", nbytes, chunk, "float32"), buffer, 2.0)
    buffer.begin({})
    assert list(outgoing.chunks(agreed("crc32"))) == []
    buffer._written = 2 * chunk + 100
    assert [c.index for c, _ in outgoing.chunks(agreed("crc32"))] == [0, 1]
    buffer._written = nbytes
    assert [c.index for c, _ in outgoing.chunks(agreed("crc32"))] == list(range(2, 10))


def test_nothing_waiting_is_no_arrival(listening: Sockets) -> None:
    assert listening.arrival() is None


def test_nothing_is_queued_for_a_neighbour_that_is_not_there() -> None:
    address = free_address()
    sockets = Sockets(LOOPBACK, {5: address}, None)
    outbox: deque[tuple[bytes, memoryview | None]] = deque([(b"a", None), (b"b", None)])
    try:
        assert sockets.send(5, outbox) is False
        assert list(outbox) == [(b"a", None), (b"b", None)]
        there = Sockets(address, {}, None)
        try:
            assert eventually(lambda: sockets.send(5, outbox))
            assert arrivals(there, 2) == [(b"a", None), (b"b", None)]
            sockets.redial(5, address)
            outbox.append((b"c", memoryview(b"body")))
            assert eventually(lambda: sockets.send(5, outbox))
            assert arrivals(there, 1) == [(b"c", b"body")]
        finally:
            there.close(0)
    finally:
        sockets.close(0)


def test_an_address_in_use_is_said_in_one_line(listening: Sockets) -> None:
    threads = threading.active_count()
    with pytest.raises(
        UserError, match=r"^addresses: tcp://127\.0\.0\.1:\d+ is in use.*port"
    ) as info:
        Sockets(listening.listening, {1: free_address()}, None)
    assert "\n" not in str(info.value)
    assert threading.active_count() == threads  # nothing was left open


@pytest.mark.parametrize(
    "address",
    [
        "tcp://192.0.2.1:47100",  # reserved for documentation: no machine's own
        "tcp://127.0.0.1:port",
        "tcp://127.0.0.1:99999",
        "tcp://127.0.0.1",
        "tcp://[::1:47100",
        "127.0.0.1:47100",
        "udp://127.0.0.1:47100",
    ],
)
def test_an_address_that_cannot_be_listened_at_is_said_in_one_line(address: str) -> None:
    with pytest.raises(UserError, match=r"^addresses: ") as info:
        Sockets(with_address(address).listening_address(0), {}, None)
    assert address in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:port",
        "tcp://127.0.0.1:99999",
        "tcp://127.0.0.1",
        "127.0.0.1:4",
        "ftp://a:1",
    ],
)
def test_a_neighbours_address_that_is_none_is_said_in_one_line(address: str) -> None:
    with pytest.raises(UserError, match=r"^addresses: ") as info:
        Sockets(LOOPBACK, {0: with_address(address).address(0)}, None)
    assert address in str(info.value)
    assert "\n" not in str(info.value)


def test_a_name_that_nobody_knows_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*question: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UserError, match=r"^addresses: the name in tcp://nobody:47100 is not known"):
        Sockets("tcp://nobody:47100", {}, None)


def test_names_are_looked_up() -> None:
    sockets = Sockets("tcp://localhost:0", {}, None)
    try:
        assert sockets.listening.startswith("tcp://127.0.0.1:")
        assert not sockets.listening.endswith(":0")
    finally:
        sockets.close(0)


# --- CURVE ----------------------------------------------------------------------------------------


def test_a_secure_pair_swaps_bit_for_bit() -> None:
    a, b, _ = secure_pair()
    with running(a, b):
        swap(a, b, exchanges=4)
        assert a.io.endpoint.admission.foreign == b.io.endpoint.admission.foreign == 0


def test_none_of_many_messages_of_a_strangers_key_is_delivered() -> None:
    a, b, security = secure_pair()
    public, secret = keypair()
    curve = {"serverkey": security[0].public, "publickey": public, "secretkey": secret}
    with running(a, b):
        swap(a, b)
        poured = 0
        for _ in range(5):
            with stranger(a.sockets.listening, **curve) as somebody:
                # none where the handshake has failed already: on a busy machine, we come too late
                poured += somebody.pour(encode(1, 0, hello(1)), 2_000)
                assert somebody.event() == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        assert poured > 0
        with stranger(a.sockets.listening) as somebody:  # in plain text
            assert somebody.pour(encode(1, 0, hello(1)), 2_000) > 0
            swap(a, b, exchanges=4)
            assert somebody.event() == zmq.EVENT_DISCONNECTED
        assert a.io.endpoint.admission.foreign == 0
        assert a.link(1).session.number == b.session


def test_a_neighbours_key_cannot_speak_as_another_neighbour() -> None:
    # Peer 0 has two neighbours, 1 and 2. A holder of 2's key claims to be 1.
    keys = [keypair() for _ in range(3)]
    security = Security(keys[0][1], keys[0][0], {k: keys[k][0] for k in (1, 2)})
    addresses = {k: free_address() for k in range(3)}
    a = Node(0, addresses, security)
    curve = {"serverkey": keys[0][0], "publickey": keys[2][0], "secretkey": keys[2][1]}
    with running(a), stranger(a.sockets.listening, **curve) as two:
        for session in range(100):
            two.send(encode(session, 0, hello(1)))
        assert eventually(lambda: a.io.endpoint.admission.foreign == 100)
        assert a.link(1).session.number is None
        assert a.link(1).phase is Phase.UNKNOWN
        two.send(encode(500, 0, hello(2)))  # as itself it is heard
        assert eventually(lambda: a.link(2).session.number == 500)
        two.send(encode(500, 1, hello(1)))
        assert eventually(lambda: a.io.endpoint.admission.foreign == 101)
        assert a.link(1).session.number is None


def test_the_key_that_came_with_a_message_is_told(listening: Sockets) -> None:
    keys = [keypair() for _ in range(3)]
    security = Security(keys[0][1], keys[0][0], {k: keys[k][0] for k in (1, 2)})
    sockets = Sockets(LOOPBACK, {}, security)
    try:
        told = []
        for k in (1, 2):
            curve = {"serverkey": keys[0][0], "publickey": keys[k][0], "secretkey": keys[k][1]}
            with stranger(sockets.listening, **curve) as neighbour:
                neighbour.send(b"h")
                assert sockets.router.poll(int(1000 * LONGEST)) != 0
                arrival = sockets.arrival()
                assert arrival is not None
                told.append(arrival.authenticated)
        assert told == [1, 2]
    finally:
        sockets.close(0)
    with stranger(listening.listening) as somebody:
        somebody.send(b"h")
        assert listening.router.poll(int(1000 * LONGEST)) != 0
        arrival = listening.arrival()
        assert arrival is not None
        assert arrival.authenticated is None


def test_an_impostor_at_a_neighbours_address_is_sent_nothing() -> None:
    # It answers there with a key of its own, and lets us in; our DEALER insists on the right key.
    ours, theirs, impostors = (keypair() for _ in range(3))
    impostor = Sockets(LOOPBACK, {}, Security(impostors[1], impostors[0], {0: ours[0]}))
    outboxes = []
    for pinned in (theirs, impostors):
        security = Security(ours[1], ours[0], {1: pinned[0]})
        sockets = Sockets(LOOPBACK, {1: impostor.listening}, security)
        outbox: deque[tuple[bytes, memoryview | None]] = deque([(b"a value", None)])
        outboxes.append(outbox)
        until = time.monotonic() + 1.0
        while outbox and time.monotonic() < until:
            sockets.send(1, outbox)
            time.sleep(0.01)
        sockets.close(1.0)
    try:
        assert [len(outbox) for outbox in outboxes] == [1, 0]  # the second knows it for who it is
        assert arrivals(impostor, 1) == [(b"a value", None)]
        assert impostor.arrival() is None
    finally:
        impostor.close(0)


def test_strangers_are_proven_to_be_refused() -> None:
    public, secret = keypair()
    known, _ = keypair()
    sockets = Sockets(LOOPBACK, {}, Security(secret, public, {1: known}))
    try:
        sockets.prove_that_strangers_are_refused()
        sockets.prove_that_strangers_are_refused()
    finally:
        sockets.close(0)


def test_the_proof_fails_where_nobody_authenticates(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoGuard:
        def stop(self) -> None:
            pass

    monkeypatch.setattr(Sockets, "_guard", lambda self: NoGuard())
    public, secret = keypair()
    known, _ = keypair()
    sockets = Sockets(LOOPBACK, {}, Security(secret, public, {1: known}))
    try:
        with pytest.raises(UserError, match="stranger's key was not refused"):
            sockets.prove_that_strangers_are_refused()
    finally:
        sockets.close(0)


def test_without_keys_there_is_nothing_to_prove(listening: Sockets) -> None:
    listening.prove_that_strangers_are_refused()
    assert listening._authenticator is None


def test_a_neighbour_that_learns_our_key_later_is_reached_in_the_end() -> None:
    # It refused us once, and ZeroMQ does not knock twice: somebody has to dial again.
    keys = [keypair() for _ in range(2)]
    addresses = {k: free_address() for k in (0, 1)}
    wrong, _ = keypair()
    timing = Timing(suspect=0.5, down=1.0, retry=0.2, ping=0.2)
    a = Node(0, addresses, Security(keys[0][1], keys[0][0], {1: keys[1][0]}), timing=timing)
    deaf = Sockets(addresses[1], {}, Security(keys[1][1], keys[1][0], {0: wrong}))
    monitor = deaf.router.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    with running(a):
        heard = monitor.poll(int(1000 * LONGEST))
        deaf.router.disable_monitor()
        monitor.close(0)
        deaf.close(0)
        assert heard != 0  # it knocked, and was refused
        b = Node(1, addresses, Security(keys[1][1], keys[1][0], {0: keys[0][0]}), timing=timing)
        with running(b):
            a.begin()
            b.begin()
            received = a.io.results.get(timeout=20.0)
            assert isinstance(received, Outcome)
            assert list(received.received) == [1]


# --- keys -----------------------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "where"
    before = os.umask(0)  # whatever the user's habits are
    try:
        public = make_keys(3, folder)
    finally:
        os.umask(before)
    assert mode_of(folder) == 0o700
    assert mode_of(folder / "peer-3.secret") == 0o600
    assert [path.name for path in folder.iterdir()] == ["peer-3.secret"]
    secret = read_secret(3, folder)
    assert len(secret) == len(public) == 40
    assert zmq.curve_public(secret).decode() == public == public_key(secret)
    assert public.encode() not in (folder / "peer-3.secret").read_bytes()
    kept = (folder / "peer-3.secret").read_bytes()
    assert make_keys(3, folder) == public
    assert (folder / "peer-3.secret").read_bytes() == kept
    assert make_keys(4, folder) != public


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"^keys: cannot write .*peer-0\.secret"):
        make_keys(0, tmp_path / "file")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660, 0o601, 0o777])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    make_keys(0, tmp_path)
    path = tmp_path / "peer-0.secret"
    path.chmod(mode)
    with pytest.raises(UserError, match=f"mode {mode:04o}.*chmod 600"):
        read_secret(0, tmp_path)
    with pytest.raises(UserError, match="chmod 600"):
        make_keys(0, tmp_path)
    path.chmod(0o600)
    assert len(read_secret(0, tmp_path)) == 40
    path.chmod(0o400)
    assert len(read_secret(0, tmp_path)) == 40


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    # Who can write the folder can put another secret in the place of ours.
    folder = tmp_path / "keys"
    make_keys(0, folder)
    folder.chmod(mode)
    try:
        with pytest.raises(UserError, match="chmod 700"):
            read_secret(0, folder)
    finally:
        folder.chmod(0o700)


def test_a_missing_secret_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="peer keys --id 7") as info:
        read_secret(7, tmp_path)
    assert str(tmp_path / "peer-7.secret") in str(info.value)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 41, b" " * 40, b'"' * 40, b"\xff" * 40])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peer-0.secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UserError, match=r"^keys: .*peer keys"):
        public_key(read_secret(0, tmp_path))


def test_where_keys_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HEARSAY_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert keys_folder() == tmp_path / "config" / "hearsay" / "keys"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert keys_folder() == Path.home() / ".config" / "hearsay" / "keys"
    monkeypatch.setenv("HEARSAY_KEYS", str(tmp_path / "elsewhere"))
    assert keys_folder() == tmp_path / "elsewhere"
    assert keys_folder(tmp_path / "given") == tmp_path / "given"


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("tcp://127.0.0.1:47100", True),
        ("tcp://127.8.9.10:47100", True),
        ("tcp://localhost:47100", True),
        ("tcp://LOCALHOST:47100", True),
        ("tcp://[::1]:47100", True),
        ("ipc:///tmp/peer", True),
        ("inproc://peer", True),
        ("tcp://0.0.0.0:47100", False),
        ("tcp://*:47100", False),
        ("tcp://[::]:47100", False),
        ("tcp://192.168.0.13:47100", False),
        ("tcp://10.0.0.1:47100", False),
        ("tcp://128.0.0.1:47100", False),
        ("tcp://raspberry.local:47100", False),
        ("tcp://localhost.example.org:47100", False),
        ("tcp://127.0.0.1.example.org:47100", False),
        ("tcp://127.0.0.1@192.168.0.13:47100", False),
        ("tcp://eth0:47100", False),
        ("tcp://:47100", False),
        ("tcp://[::1:47100", False),  # no address at all
        ("", False),
    ],
)
def test_what_is_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


AWAY = ["tcp://192.0.2.1:47100", *(f"tcp://127.0.0.1:{47100 + k}" for k in (1, 2, 3))]


def test_loopback_needs_no_keys(tmp_path: Path) -> None:
    assert curve_secret(experiment(), 0, tmp_path) is None


@pytest.mark.parametrize("peer", [0, 1, 3])
def test_beyond_loopback_without_keys_is_refused_in_one_line(tmp_path: Path, peer: int) -> None:
    with pytest.raises(UserError, match=r"^keys: peer 0 is at tcp://192.0.2.1:47100") as info:
        curve_secret(experiment(addresses=AWAY), peer, tmp_path)
    assert "peer keys --id 0" in str(info.value)
    assert "insecure: true" in str(info.value)
    assert "\n" not in str(info.value)


def test_only_ones_own_links_count(tmp_path: Path) -> None:
    assert curve_secret(experiment(addresses=AWAY), 2, tmp_path) is None


def test_insecure_is_possible_when_said(tmp_path: Path) -> None:
    assert curve_secret(experiment(addresses=AWAY, insecure=True), 0, tmp_path) is None


def test_listening_beyond_loopback_without_keys_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^keys: ") as info:
        curve_secret(experiment(listen="tcp://*:{port}"), 0, tmp_path)
    assert "tcp://*:" in str(info.value)  # not the address, which is on loopback


def test_ones_own_key_is_used_where_the_file_names_it(tmp_path: Path) -> None:
    keys = {k: make_keys(k, tmp_path) for k in range(4)}
    assert curve_secret(experiment(keys=keys), 1, tmp_path) == read_secret(1, tmp_path)
    assert curve_secret(experiment(keys=keys, addresses=AWAY), 1, tmp_path) is not None


def test_another_key_in_the_file_than_in_the_folder_is_named(tmp_path: Path) -> None:
    keys = {k: make_keys(k, tmp_path / "mine") for k in range(4)}
    keys[1] = make_keys(1, tmp_path / "other")
    with pytest.raises(
        UserError, match=r"^keys\.1: .*another public key.*peer keys --id 1"
    ) as info:
        curve_secret(experiment(keys=keys), 1, tmp_path / "mine")
    assert str(tmp_path / "mine") in str(info.value)
    assert "\n" not in str(info.value)


def test_a_neighbour_without_a_key_is_named(tmp_path: Path) -> None:
    keys = {k: make_keys(k, tmp_path) for k in range(4)}
    del keys[2]
    with pytest.raises(UserError, match="keys: peer 2 has none; run 'peer keys --id 2'"):
        curve_secret(experiment(keys=keys), 1, tmp_path)
    assert curve_secret(experiment(keys=keys), 0, tmp_path) is not None  # no neighbour of 0


@pytest.mark.parametrize("wrong", ["", "x" * 39, "x" * 41, " " * 40, '"' * 40, "é" * 40])
def test_a_public_key_that_is_none_is_named(tmp_path: Path, wrong: str) -> None:
    keys = {k: make_keys(k, tmp_path) for k in range(4)}
    keys[2] = wrong
    with pytest.raises(UserError, match=r"^keys\.2: "):
        curve_secret(experiment(keys=keys), 1, tmp_path)


def test_no_secret_is_told_to_anybody(tmp_path: Path) -> None:
    keys = {k: make_keys(k, tmp_path / "mine") for k in range(4)}
    keys[1] = make_keys(1, tmp_path / "other")
    secret = read_secret(1, tmp_path / "mine").decode()
    with pytest.raises(UserError) as info:
        curve_secret(experiment(keys=keys), 1, tmp_path / "mine")
    assert secret not in str(info.value)
