"""Letters between network threads on loopback, several megabytes long."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
import torch

from peer.effects import Letter, Moment
from peer.net.away.failure_detector import Timing
from peer.net.commands import Part
from peer.net.events import Outcome
from peer.net.sockets import Sockets
from peer.net.transfer.letters import PREFIX, pack, unpack
from tests.peer.net.test_sockets_and_io_thread import LONGEST, Node, free_address, pair, running

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test closes what it opened."""
    made: list[Sockets] = []
    construct = Sockets.__init__

    def remember(self: Sockets, *args: object) -> None:
        made.append(self)
        construct(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Sockets, "__init__", remember)
    yield
    assert all(sockets.context.closed for sockets in made)


def letter(source: int, exchange: int, length: int) -> Letter:
    draw = np.random.default_rng([source, exchange])
    tensors = {
        "images": torch.from_numpy(draw.standard_normal((length, 3), dtype=np.float32)),
        "labels": torch.from_numpy(draw.integers(0, 10, length)),
    }
    return Letter("batch", tensors, {"from": source, "exchange": exchange, "list": [1, None, "é"]})


def same(one: Letter, other: Letter) -> bool:
    return (
        one.name == other.name
        and one.facts == other.facts
        and list(one.tensors) == list(other.tensors)
        and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    )


def begin(node: Node, exchange: int, sends: Letter | None, wants: bool, round: int = 0) -> None:
    others = list(node.io.endpoint.links)
    payload = None if sends is None else pack(sends)
    part = Part(Moment(round, exchange), PREFIX + "batch", payload, wants)
    node.io.begin(dict.fromkeys(others, part))


def outcome(node: Node) -> Outcome:
    result = node.io.results.get(timeout=LONGEST)
    if isinstance(result, Exception):
        raise result
    return result


LENGTHS = [0, 1, 1000, 200_000]
"""Rows: up to 4 MB, in 16 chunks of 256 KiB."""


@pytest.mark.parametrize("ways", ["><", "x", ">>><<x", "<x>"])
def test_letters_go_both_ways_bit_for_bit(ways: str) -> None:
    with running(*pair()) as (a, b):
        for exchange, (way, length) in enumerate(
            (way, length) for length in LENGTHS for way in ways
        ):
            there, back = letter(0, exchange, length), letter(1, exchange, length)
            begin(a, exchange, there if way in ">x" else None, way in "<x")
            begin(b, exchange, back if way in "<x" else None, way in ">x")
            at_a, at_b = outcome(a), outcome(b)
            assert at_a.missing == at_b.missing == set()
            assert list(at_a.received) == ([1] if way in "<x" else [])
            assert list(at_b.received) == ([0] if way in ">x" else [])
            assert all(same(unpack(value), back) for value in at_a.received.values())
            assert all(same(unpack(value), there) for value in at_b.received.values())
        assert a.link(1).strikes == b.link(0).strikes == 0


def test_a_letter_stays_as_it_is_as_long_as_its_reader_keeps_it() -> None:
    with running(*pair()) as (a, b):
        kept = []
        for exchange in range(8):
            begin(a, exchange, letter(0, exchange, 100_000), wants=False)
            begin(b, exchange, None, wants=True)
            kept.append(unpack(outcome(b).received[0]))
            outcome(a)
        a.exchange = b.exchange = 8  # and arenas after them, on the same link
        for node in (a, b):
            node.begin()
        for node in (a, b):
            node.settled()
        for exchange, each in enumerate(kept):
            assert same(each, letter(0, exchange, 100_000))
            each.tensors["images"].zero_()  # it is the reader's own
        begin(a, 20, letter(0, 20, 100_000), wants=False, round=9)
        begin(b, 20, None, wants=True, round=9)
        assert same(unpack(outcome(b).received[0]), letter(0, 20, 100_000))
        outcome(a)


def test_tensors_lie_where_vector_instructions_like_them() -> None:
    """As a simulation's do: rounding may depend on where a matrix begins."""
    with running(*pair()) as (a, b):
        for exchange, length in enumerate([7, 1000, 200_000, 33, 5]):
            begin(a, exchange, letter(0, exchange, length), wants=False)
            begin(b, exchange, None, wants=True)
            tensors = unpack(outcome(b).received[0]).tensors
            outcome(a)
            assert {tensor.data_ptr() % 64 for tensor in tensors.values()} == {0}


def test_one_letter_to_many_and_one_from_each() -> None:
    addresses = {k: free_address() for k in range(4)}
    server, *workers = [Node(k, addresses) for k in range(4)]
    for worker in workers:
        worker.io.endpoint.links = {0: worker.io.endpoint.links[0]}
    with running(server, *workers):
        for node in (server, *workers):
            begin(node, 0, letter(0, 0, 50_000) if node is server else None, node is not server)
        assert outcome(server).missing == set()
        for worker in workers:
            assert same(unpack(outcome(worker).received[0]), letter(0, 0, 50_000))
        for node in (server, *workers):
            mine = None if node is server else letter(node.peer, 1, 50_000)
            begin(node, 1, mine, node is server)
        received = outcome(server).received
        assert sorted(received) == [1, 2, 3]
        for k, value in received.items():
            assert same(unpack(value), letter(k, 1, 50_000))
        for worker in workers:
            assert outcome(worker).missing == set()


@pytest.mark.parametrize("wants", [True, False])
def test_a_neighbour_that_is_not_there_is_missed_by_name(wants: bool) -> None:
    addresses = {k: free_address() for k in (0, 1)}
    node = Node(0, addresses, timing=Timing.within(0.5, 0.5))
    with running(node):
        for exchange in range(3):
            began = time.monotonic()
            begin(node, exchange, None if wants else letter(0, exchange, 10), wants)
            assert outcome(node).missing == {1}
            assert time.monotonic() - began < (2.0 if exchange == 0 else 0.5)
        assert any("going on without peer 1" in line for line in node.log)


def test_a_sender_whose_neighbour_goes_away_is_told() -> None:
    with running(*pair(timing=Timing.within(10.0, 10.0))) as (a, b):
        begin(a, 0, letter(0, 0, 1000), wants=False)
        begin(b, 0, None, wants=True)
        assert outcome(a).missing == outcome(b).missing == set()
        b.io.finish(round=1, patience=0.0)
        begin(a, 1, letter(0, 1, 1000), wants=False)
        assert outcome(a).missing == {1}


@pytest.mark.parametrize(
    "content",
    [
        b"\x93\xa1a\x81\xa1f" + b"\x91" * 5000 + b"\xc0" + b"\x90",
        msgpack.packb(["batch", {}, [["t", "<f4", [0, 2**39, 2**39]]]]),
        msgpack.packb(["batch", {"f": float("nan")}, []]),
        b"",
    ],
)
def test_a_letter_that_is_none_leaves_the_thread_alive(content: bytes) -> None:
    """It is asked for once more, then done without; the next one is taken."""
    with running(*pair()) as (a, b):
        raw = len(content).to_bytes(4, "little") + content
        raw += bytes(-len(raw) % 64)
        part = Part(Moment(0, 0), PREFIX + "batch", memoryview(raw), wants=False)
        a.io.begin({1: part})
        begin(b, 0, None, wants=True)
        assert outcome(b).missing == {0}
        assert outcome(a).missing == {1}
        assert b.link(0).strikes == 1
        begin(a, 1, letter(0, 1, 100), wants=False)
        begin(b, 1, None, wants=True)
        assert same(unpack(outcome(b).received[0]), letter(0, 1, 100))
        assert outcome(a).missing == set()
