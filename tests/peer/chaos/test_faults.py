"""What happens to a connection, in virtual time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from peer.chaos.faults import Connection, Direction, Faults, Passage, flipped

TO, FROM = Direction.TO, Direction.FROM


def sent(
    faults: Faults, seconds: float, connection: int = 0, way: Direction = TO, step: float = 0.1
) -> list[Passage]:
    """A piece of 100 zero bytes every ``step`` seconds."""
    fate = Connection(faults, 7, 3, connection, 0.0)
    return [fate.passes(way, now, bytes(100)) for now in np.arange(0, seconds, step)]


def test_without_faults_all_passes_at_once() -> None:
    fate = Connection(Faults(), 0, 0, 0, 5.0)
    assert fate.passes(TO, 6.0, b"abc") == Passage(6.0, b"abc", ())
    assert fate.passes(FROM, 6.0, b"") == Passage(6.0, b"", ())
    assert fate.reset_at == math.inf


def test_jitter_keeps_the_order_and_its_limits() -> None:
    passed = sent(Faults(delay=0.05, jitter=0.3), 50)
    late = np.array([each.at for each in passed]) - np.arange(0, 50, 0.1)
    assert np.all(np.diff([each.at for each in passed]) >= 0)
    assert late.min() >= 0.05 - 1e-9
    assert late.max() <= 0.35 + 1e-9
    assert np.ptp(late) > 0.2


def test_a_throttle_is_a_rate_a_direction() -> None:
    fate = Connection(Faults(throttle=1000), 0, 0, 0, 0.0)
    assert [fate.passes(TO, 0.0, bytes(100)).at for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert fate.passes(FROM, 0.0, bytes(100)).at == pytest.approx(0.1)
    assert fate.passes(TO, 9.0, bytes(100)).at == pytest.approx(9.1)  # idle time is not saved up


def test_a_stall_holds_both_directions_up_and_is_told_once() -> None:
    faults = Faults(stall_every=10, stall=2.0)
    fate = Connection(faults, 7, 3, 0, 0.0)
    held, told = 0, []
    for now in np.arange(0, 300, 0.05):
        passages = [fate.passes(way, now, b"x") for way in (TO, FROM)]
        assert passages[0].at == passages[1].at
        assert now <= passages[0].at <= now + 2.0
        held += passages[0].at > now
        told += [now for each in passages if each.faults]
    assert 15 <= len(told) <= 40  # 300 s, one every 12 on average
    assert held == pytest.approx(len(told) * 40, rel=0.1)
    assert min(np.diff(told)) > 2.0


def test_what_is_due_in_a_stall_goes_when_it_ends() -> None:
    fate = Connection(Faults(stall_every=1.0, stall=100.0), 1, 0, 0, 0.0)
    first = next(
        p for p in (fate.passes(TO, now, b"x") for now in np.arange(0, 50, 0.1)) if p.faults
    )
    assert [fault.kind for fault in first.faults] == ["stall"]
    assert fate.passes(TO, 60.0, b"y").at == first.at  # and behind it, in order


def test_a_flip_changes_one_bit_as_often_as_said() -> None:
    passed = sent(Faults(corrupt_every=5), 500)
    bits = [int.from_bytes(each.piece, "big").bit_count() for each in passed]
    assert set(bits) == {0, 1}
    assert 75 <= sum(bits) <= 125
    assert sum(bits) == sum(len(each.faults) for each in passed)
    places = {each.piece.index(max(each.piece)) for each in passed if any(each.piece)}
    assert len(places) > 30  # all over the piece


def test_bits_are_counted_from_the_lowest_of_the_first_byte() -> None:
    assert flipped(b"\x00\x00", 0) == b"\x01\x00"
    assert flipped(b"\x00\xff", 15) == b"\x00\x7f"


def test_a_cut_loses_one_direction_for_good_but_its_end() -> None:
    ways = []
    for number in range(40):
        fate = Connection(Faults(cut_every=5), 0, 0, number, 0.0)
        lost = {way: fate.passes(way, 1e6, b"x").piece == b"" for way in (TO, FROM)}
        assert sorted(lost.values()) == [False, True]
        (cut,) = [way for way in lost if lost[way]]
        assert fate.passes(cut, 1e6, b"y") == Passage(1e6, b"", ())  # told once
        assert fate.passes(cut, 1e6, b"").piece == b""
        ways.append(cut)
    assert 10 <= ways.count(TO) <= 30


def test_resets_come_as_often_as_said() -> None:
    times = [Connection(Faults(reset_every=20), 0, 0, k, 100.0).reset_at for k in range(1000)]
    assert min(times) >= 100.0
    assert np.mean(times) - 100 == pytest.approx(20, rel=0.15)


def test_a_seed_gives_the_same_fate_and_connections_differ() -> None:
    faults = Faults(jitter=0.1, stall_every=5, corrupt_every=3, reset_every=9)
    assert sent(faults, 60) == sent(faults, 60)
    assert sent(faults, 60) != sent(faults, 60, connection=1)
    assert sent(faults, 60) != sent(faults, 60, way=FROM)


def test_one_fault_does_not_move_another() -> None:
    resets = [Connection(f, 1, 2, 3, 0.0).reset_at for f in (
        Faults(reset_every=9), Faults(reset_every=9, cut_every=3, stall_every=1, corrupt_every=2)
    )]  # fmt: skip
    assert resets[0] == resets[1]
