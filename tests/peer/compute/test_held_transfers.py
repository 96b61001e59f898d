"""What is in doubt is kept apart, outlives the process, and is added once or never."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from peer.compute.compressed_combine import compress
from peer.compute.held_transfers import HeldTransfers
from peer.effects import BEFORE_ALL, Combine, Moment
from peer.net.commands import Part
from peer.net.events import Outcome, Resolved
from peer.net.members.taking_part import known_members
from peer.net.zmq_driver import ZmqDriver
from peer.peer import Peer
from peer.state import PeerState
from tests.peer.compute.test_compressed_combine import two_peers
from topology import Change, Membership, build_schedule
from topology.weights import metropolis_weights

NET, T = "generator", Moment(3, 1)


def arena(state: PeerState) -> torch.Tensor:
    return state.nets[NET].arena.vector


@pytest.mark.parametrize("is_used", [True, False])
def test_what_is_held_is_added_once_or_never(is_used: bool) -> None:
    state = two_peers("none")[0]
    before, change = arena(state).clone(), torch.randn(len(arena(state)))
    held = HeldTransfers(state)
    held.hold(1, T, NET, change)
    assert torch.equal(arena(state), before)
    assert held.resolve(1, Moment(3, 0), is_used) is None  # another exchange
    assert held.resolve(1, T, is_used) is not None
    assert torch.equal(arena(state), before + change if is_used else before)
    assert held.resolve(1, T, True) is None
    assert not held.held()
    assert not state.tensors


def test_it_outlives_the_process() -> None:
    state, fresh = two_peers("none")[1], two_peers("none")[1]
    change = torch.randn(len(arena(state)))
    HeldTransfers(state).hold(0, T, NET, change)
    HeldTransfers(state).note_used({0: T, 4: Moment(5, 0)}, [0, 4])
    fresh.load(state.dump())
    again = HeldTransfers(fresh)
    assert {k: (held.t, held.net) for k, held in again.held().items()} == {0: (T, NET)}
    assert again.used(4) == Moment(5, 0)
    assert again.used(0) == BEFORE_ALL  # peer 0 decides, and remembers
    again.resolve(0, T, is_used=True)
    assert torch.equal(arena(fresh), arena(state) + change)


def test_what_is_never_known_is_dropped_and_its_size_told() -> None:
    state = two_peers("none")[0]
    before = arena(state).clone()
    held = HeldTransfers(state)
    held.hold(1, T, NET, torch.full((len(before),), 2.0))
    assert held.drop(1) == pytest.approx(2.0 * len(before) ** 0.5)
    assert torch.equal(arena(state), before)
    assert not held.held()


# --- the driver -----------------------------------------------------------------------------------


class ScriptedIo:
    """In place of the I/O thread: what came is in doubt."""

    def __init__(self, theirs: bytes) -> None:
        self.results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.released: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.resolved: queue.SimpleQueue[Resolved] = queue.SimpleQueue()
        self.furthest = -1
        self.lines: list[str] = []
        self.theirs = theirs

    def begin(self, parts: Mapping[int, Part], in_pieces: bool = False) -> None:
        if self.theirs:
            in_doubt = {k: memoryview(bytearray(self.theirs)) for k in parts}
            self.results.put(Outcome(in_doubt=in_doubt))
        else:
            self.results.put(Outcome(missing=set(parts)))

    def wake(self) -> None: ...

    def log(self, line: str) -> None:
        self.lines.append(line)


def driven(state: PeerState, theirs: bytes) -> tuple[ZmqDriver, ScriptedIo]:
    graph = SimpleNamespace()
    peer = Peer(state, graph, metropolis_weights)  # type: ignore[arg-type]
    io = ScriptedIo(theirs)
    return ZmqDriver(peer, io, lambda report: True, threading.Event()), io  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["none", "bf16", {"name": "choco", "of": "bf16"}])
@pytest.mark.parametrize("is_used", [True, False])
def test_a_driver_goes_on_without_what_is_in_doubt_and_adds_it_later(
    compression: Any, is_used: bool
) -> None:
    other, state = two_peers(compression)  # peer 1 is told by peer 0
    usual = state.copy()
    before = arena(state).clone()
    if compression == "none":
        theirs = bytes(arena(other).numpy().tobytes())
    else:
        theirs = bytes(compress(other, NET, [1])[1])
    driver, io = driven(state, theirs)
    effect = Combine(NET, {0: T}, {0: 0.5})
    assert driver._combine(effect) == frozenset({0})
    assert torch.equal(arena(state), before)
    io.resolved.put(Resolved(0, T, is_used))
    driver._doubts.resolve()
    if not is_used:
        assert torch.equal(arena(state), before)
        assert "not used" in io.lines[-1]
        return
    at_once, _ = driven(usual, b"")
    at_once.io.begin = lambda parts, in_pieces=False: at_once.io.results.put(  # type: ignore
        Outcome(received={0: memoryview(bytearray(theirs))})
    )
    assert at_once._combine(effect) == frozenset()
    torch.testing.assert_close(arena(state), arena(usual))
    assert not torch.equal(arena(state), before)


def test_at_the_end_what_nobody_tells_is_dropped_and_said() -> None:
    other, state = two_peers("none")
    driver, io = driven(state, bytes(arena(other).numpy().tobytes()))
    driver._combine(Combine(NET, {0: T}, {0: 0.5}))
    change = 0.5 * (arena(other) - arena(state))
    driver._doubts.wait(0.0, driver.clock, driver.stop)
    assert not state.tensors
    assert "peer 0 never told" in io.lines[-1]
    assert f"{float(change.norm()) / 2:.3g}" in io.lines[-1]


@pytest.mark.parametrize(
    ("kind", "phase", "is_dropped"),
    [
        ("forget", "down", True),
        ("forget", "up", True),
        ("leave", "up", False),
        ("leave", "left", True),
    ],
)
def test_of_who_takes_part_no_more_what_is_in_doubt_is_dropped_and_the_jump_said(
    kind: Any, phase: str, is_dropped: bool
) -> None:
    """One that leaves may still tell, as long as it is there."""
    other, state = two_peers("none")
    driver, io = driven(state, bytes(arena(other).numpy().tobytes()))
    driver._combine(Combine(NET, {0: T}, {0: 0.5}))
    before, change = arena(state).clone(), 0.5 * (arena(other) - arena(state))
    state.round = 9
    released: list[int] = []
    by = 0 if kind == "leave" else 1
    vars(io).update(
        members=Membership.of([Change(9, 0, kind, by)]),
        status=SimpleNamespace(phases={0: phase}),
        release=released.append,
    )
    driver.peer.schedule = driver.taking_part._base = build_schedule("path", 2, 0)
    driver._take_members()
    assert torch.equal(arena(state), before)
    assert list(driver.peer.schedule.graph(9).edges) == []
    if not is_dropped:
        assert not released
        assert HeldTransfers(state).held().keys() == {0}
        return
    assert released == [0]
    assert not state.tensors
    assert f"{float(change.norm()) / 2:.3g}" in io.lines[-1]
    again = state.copy()
    assert known_members(again) == io.members  # type: ignore[attr-defined]  # a checkpoint has it
