"""Compressed values at the two ends of a link: what is refused, and CHOCO's copies in step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.codecs import CODECS as KINDS
from peer.compute.combine import combine
from peer.compute.compressed_combine import Coding, compress, decompress
from peer.effects import Moment
from peer.experiment import from_mapping
from peer.net.transfer.chunks import FLOATS, LETTER
from peer.net.transfer.incoming import Incoming
from peer.net.transfer.receive_buffers import ReceiveBuffers
from peer.net.wire import Offer
from peer.state import PeerState
from sim.runs.simulate import make_states
from tests.support.codec_settings import CODECS

NET, T = "generator", Moment(0, 0)


def two_peers(
    compression: Any, gan: Any = "tests.support.codec_settings:little", size: int = 8
) -> list[PeerState]:
    data = {"source": "synthetic", "size": size, "partition": "iid", "channels": 1}
    experiment = from_mapping(
        {
            "peers": 2,
            "graph": "path",
            "algorithm": {"name": "diffusion", "rounds": 1},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "gan": gan,
            "data": data,
            "batch": 4,
            "init": "own",
            "compression": compression,
        }
    )
    return list(make_states(experiment).values())


def coding_of(compression: Any, state: PeerState) -> Coding:
    assert state.codec is not None
    name = compression if isinstance(compression, str) else compression["name"]
    return Coding(name, state.codec, {n: net.arena.layout for n, net in state.nets.items()})


@pytest.fixture(scope="module", params=CODECS)
def coded(request: pytest.FixtureRequest) -> tuple[Coding, list[bytes], PeerState]:
    """How a codec's values are received, two that one peer sent, and another one at its start."""
    states = two_peers(CODECS[request.param])
    fresh = states[0].copy()
    values = []
    for _ in range(2):
        sent = [compress(state, NET, [1 - k]) for k, state in enumerate(states)]
        values.append(bytes(sent[0][1]))
        for k, state in enumerate(states):
            decompress(state, NET, {1 - k: 0.5}, sent[k], {1 - k: sent[1 - k][k]})
    return coding_of(CODECS[request.param], states[0]), values, fresh


def test_room_is_made_for_its_sizes_alone(coded: tuple[Coding, list[bytes], PeerState]) -> None:
    coding, values, _ = coded
    sizes = {net: 4 * layout.length for net, layout in coding.layouts.items()}
    shelf = ReceiveBuffers(sizes, coding)
    for value in values:
        assert shelf.fits(Offer(T, NET, len(value), 2**18, coding.name))
        assert not shelf.fits(Offer(T, NET, len(value), 2**18, FLOATS))
        assert not shelf.fits(Offer(T, NET, len(value) + 4, 2**18, coding.name))
        assert not shelf.fits(Offer(T, "nobody", len(value), 2**18, coding.name))
    assert not ReceiveBuffers(sizes).fits(Offer(T, NET, len(values[0]), 2**18, coding.name))
    assert shelf.fits(Offer(T, "@letter", 100, 2**18, LETTER))  # letters go as they are
    assert not shelf.fits(Offer(T, "@letter", 100, 2**18, coding.name))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_sound_or_refused(
    coded: tuple[Coding, list[bytes], PeerState], data: Any
) -> None:
    """As many bytes as were offered, some of them wrong: no other error, and nothing infinite."""
    coding, values, fresh = coded
    spoiled = bytearray(data.draw(st.sampled_from(values)))
    for _ in range(data.draw(st.integers(1, 5))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    value = memoryview(spoiled)
    offer = Offer(T, NET, len(value), 2**18, coding.name)
    fault = ReceiveBuffers({}, coding).fault(Incoming(offer, value, 1))
    state = fresh.copy()
    sent = compress(state, NET, [1])
    mixture = decompress(state, NET, {1: 0.5}, sent, {1: value})
    if fault:
        assert mixture.unusable == {1}
    for q in mixture.received.values():
        assert bool(q.isfinite().all())


@pytest.mark.parametrize("codec", CODECS)
def test_values_of_other_sizes_are_left_out(codec: str) -> None:
    state = two_peers(CODECS[codec])[0]
    good = compress(state, NET, [1])
    for bad in (b"", b"\0", bytes(good[1])[:-1], bytes(good[1]) + b"\0", b"\1" * 23):
        mixture = decompress(state, NET, {1: 0.5}, good, {1: memoryview(bad)})
        assert (mixture.received, mixture.unusable) == ({}, {1})


@pytest.mark.parametrize("codec", CODECS)
def test_who_diverged_is_averaged_by_nobody(codec: str) -> None:
    ours, theirs = two_peers(CODECS[codec])
    theirs.nets[NET].arena.vector[7] = torch.nan
    for _ in range(2):
        sent, bad = compress(ours, NET, [1]), compress(theirs, NET, [0])
        mixture = decompress(ours, NET, {1: 0.5}, sent, {1: bad[0]})
        assert mixture.unusable == {1}
        decompress(theirs, NET, {0: 0.5}, bad, {0: sent[1]})


@pytest.mark.parametrize("codec", ["int4", "top-k", "choco"])
def test_batch_norm_statistics_are_not_rounded(codec: str) -> None:
    """A variance that a coarse code made negative would end in NaN."""
    states = two_peers(codec, {"name": "dcgan28", "width": 8}, size=28)
    layout = states[0].nets[NET].arena.layout
    assert layout.length > layout.trained
    for _ in range(2):
        sent = [compress(state, NET, [1 - k]) for k, state in enumerate(states)]
        mixture = decompress(states[0], NET, {1: 0.5}, sent[0], {1: sent[1][0]})
        decompress(states[1], NET, {0: 0.5}, sent[1], {0: sent[0][1]})
        tails = [state.nets[NET].arena.vector[layout.trained :] for state in states]
        assert mixture.own is not None
        assert torch.equal(mixture.own[layout.trained :], tails[0])
        assert torch.equal(mixture.received[1][layout.trained :], tails[1])


# --- CHOCO's agreement ----------------------------------------------------------------------------


def exchange(states: list[PeerState], arrives: tuple[bool, bool]) -> list[bool]:
    """One exchange of two peers; ``arrives[k]``: whether k gets anything. Who moved, by id."""
    sent = [compress(state, NET, [1 - k]) for k, state in enumerate(states)]
    moved = []
    for k, state in enumerate(states):
        came = {1 - k: sent[1 - k][k]} if arrives[k] else {}
        mixture = decompress(state, NET, {1 - k: 0.5}, sent[k], came)
        combine(state.nets[NET].arena.vector, mixture.own, mixture.received, mixture.weights)
        moved.append(bool(mixture.received))
        assert mixture.unusable == came.keys() - mixture.received.keys()
    return moved


def copies(states: list[PeerState]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    tensors = [state.tensors for state in states]
    own = [tensors[k][f"compression/{NET}/own"] for k in (0, 1)]
    return [(own[k], tensors[1 - k][f"compression/{NET}/{k}"]) for k in (0, 1)]


def test_both_missed_the_next_is_in_full() -> None:
    states = two_peers("choco")
    in_step = []
    for arrives in [(True, True)] * 2 + [(False, False)] + [(True, True)] * 2:
        assert exchange(states, arrives) == list(arrives)
        in_step.append(states[0].facts["compression"][NET]["in_step"])
    assert in_step == [[1], [1], [], [1], [1]]
    assert all(torch.equal(*pair) for pair in copies(states))
    full, short = compress(two_peers("choco")[0], NET, [1]), compress(states[0], NET, [1])
    assert len(short[1]) < len(full[1]) / 3


@pytest.mark.parametrize("deaf", [0, 1])
def test_one_of_them_missed_and_nobody_moves_until_both_know(deaf: int) -> None:
    """The other took the value; of the next exchange, both read that one of them cannot use it."""
    states = two_peers("choco")
    exchange(states, (True, True))
    arrives = (deaf != 0, deaf != 1)
    assert exchange(states, arrives) == list(arrives)
    before = sum(state.nets[NET].arena.vector.double() for state in states)
    assert exchange(states, (True, True)) == [False, False]
    assert exchange(states, (True, True)) == [True, True]
    assert exchange(states, (True, True)) == [True, True]
    after = sum(state.nets[NET].arena.vector.double() for state in states)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    assert all(torch.equal(*pair) for pair in copies(states))


def test_a_peer_that_fell_back_to_an_older_state_is_sent_everything() -> None:
    states = two_peers("choco")
    exchange(states, (True, True))
    old = states[0].copy()
    for _ in range(3):
        exchange(states, (True, True))
    states[0] = old
    assert exchange(states, (True, True)) == [False, False]
    assert exchange(states, (True, True)) == [True, True]
    assert all(torch.equal(*pair) for pair in copies(states))


def test_a_difference_from_a_stranger_is_not_used() -> None:
    """Nothing is held yet, and the header claims that there is."""
    ours, theirs = two_peers("choco")
    exchange([ours, theirs], (True, True))
    difference = compress(theirs, NET, [0])[0]
    fresh = two_peers("choco")[0]
    sent = compress(fresh, NET, [1])
    forged = np.frombuffer(difference, np.uint8).copy()
    forged[8:16] = np.array([1], "<u8").view(np.uint8)  # version 1 follows 0: held by nobody
    mixture = decompress(fresh, NET, {1: 0.5}, sent, {1: forged.data})
    assert (mixture.received, mixture.unusable) == ({}, {1})


def test_copies_that_overflow_are_dropped() -> None:
    ours, theirs = two_peers("choco")
    exchange([ours, theirs], (True, True))
    ours.tensors[f"compression/{NET}/1"].fill_(torch.finfo(torch.float32).max)
    theirs.nets[NET].arena.vector.fill_(3e38)
    theirs.tensors[f"compression/{NET}/own"].fill_(-3e37)
    sent, hostile = compress(ours, NET, [1]), compress(theirs, NET, [0])
    mixture = decompress(ours, NET, {1: 0.5}, sent, {1: hostile[0]})
    assert (mixture.received, mixture.unusable) == ({}, {1})
    assert ours.facts["compression"][NET]["held"] == {1: 0}


def test_every_kind_is_tried() -> None:
    names = {c if isinstance(c, str) else c["name"] for c in CODECS.values()}
    assert names == set(KINDS)
