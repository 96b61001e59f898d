"""Compressed combines in the simulator: the mean stays, and who reaches consensus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from peer.peer import Peer
from peer.program import Program
from peer.state import PeerState
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_states
from tests.support.codec_settings import CODECS

States = dict[int, PeerState]

KEYS: dict[str, Any] = {
    "peers": 5,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 3},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "gan": "tests.support.codec_settings:little",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 8,
}
NET = "generator"


def mixed(rounds: int, engine: Stacked | None = None, **changes: Any) -> tuple[np.ndarray, States]:
    """Arenas before and after ``rounds`` of combines alone, (2, K, P), and the peers then."""
    experiment = from_mapping(KEYS | changes)

    async def mix(peer: Peer) -> None:
        async for _ in peer.rounds(rounds):
            await peer.combine(NET)

    states = make_states(experiment)
    draw = np.random.default_rng(5)
    length = len(states[0].nets[NET].arena.vector)
    common = draw.standard_normal(length)
    for state in states.values():
        own = common + 0.3 * draw.standard_normal(length)
        state.nets[NET].arena.vector.copy_(torch.from_numpy(own))
    before = read(states)
    drive(experiment, states, Program("mix", mix, rounds), engine=engine)
    return np.stack([before, read(states)]), states


def read(states: States) -> np.ndarray:
    return np.stack([state.nets[NET].arena.vector.double().numpy() for state in states.values()])


def disagreement(w: np.ndarray) -> float:
    return float(((w - w.mean(axis=0)) ** 2).sum(axis=1).mean())


def left_of_it(rounds: int, compression: Any, **changes: Any) -> float:
    """The share of the disagreement that is left after so many rounds."""
    (before, after), _ = mixed(rounds, compression=compression, **changes)
    return disagreement(after) / disagreement(before)


@pytest.mark.parametrize("faults", ["none", "losses", "absence"])
@pytest.mark.parametrize("codec", CODECS)
def test_the_mean_stays_where_it_was(codec: str, faults: str) -> None:
    changes: dict[str, Any] = {
        "none": {},
        "losses": {"network": {"loss": 0.3}, "deadline": 1},
        "absence": {
            "network": {"delay": 1.0},
            "deadline": 2,
            "faults": [{"peer": 1, "down": 4.5, "up": 12.0}],
        },
    }[faults]
    (before, after), states = mixed(30, compression=CODECS[codec], **changes)
    assert np.abs(after.sum(axis=0) - before.sum(axis=0)).max() < 1e-6 * np.abs(before).sum(0).max()
    assert np.abs(after - before).max() > 0.01
    assert np.isfinite(after).all()
    assert all(state.round == 30 for state in states.values())


def test_integers_reach_a_neighbourhood_of_consensus_as_wide_as_their_steps() -> None:
    plain, bf16, int8, int4 = (left_of_it(60, c) for c in ("none", "bf16", "int8", "int4"))
    assert plain < 1e-10
    assert bf16 < 1e-3
    assert int8 < 3e-3
    assert int8 < int4 < 1


def test_top_k_needs_its_feedback() -> None:
    """With it, what is left of the disagreement falls with gamma; without, it never goes away."""
    plain = {"name": "top-k", "share": 0.1, "feedback": False, "gamma": 0.02}
    assert left_of_it(1000, plain) > 0.5
    assert left_of_it(1000, plain | {"gamma": 1.0}) > 0.5
    fed = {"name": "top-k", "share": 0.1, "gamma": 0.02}
    assert left_of_it(1000, fed) < 0.05


@pytest.mark.parametrize(
    "choco",
    [
        {"name": "choco", "share": 0.1},
        {"name": "choco", "share": 0.01, "gamma": 0.05},
        {"name": "choco", "of": "int4"},
        {"name": "choco", "of": "int8", "rounding": "stochastic"},
        {"name": "choco", "of": "bf16"},
    ],
    ids=str,
)
def test_choco_reaches_consensus_on_a_ring(choco: dict[str, Any]) -> None:
    assert left_of_it(300, choco) < (1e-9 if choco.get("share") != 0.01 else 0.2)


def held(states: States, holder: int, of: int) -> torch.Tensor:
    name = f"compression/{NET}/{'own' if holder == of else of}"
    return states[holder].tensors[name]


def test_choco_keeps_the_same_copies_at_both_ends() -> None:
    _, states = mixed(7, compression="choco")
    for k in range(5):
        for other in ((k + 1) % 5, (k - 1) % 5):
            assert torch.equal(held(states, k, k), held(states, other, k))
            assert not torch.equal(held(states, k, k), states[k].nets[NET].arena.vector)
        assert sorted(states[k].facts["compression"][NET]["in_step"]) == sorted(
            [(k + 1) % 5, (k - 1) % 5]
        )


def test_choco_resynchronises_after_a_miss() -> None:
    """Three exchanges in ten are lost; the copies agree wherever both ends think that they do."""
    changes = {"network": {"loss": 0.3}, "deadline": 1}
    (before, after), states = mixed(400, compression="choco", **changes)
    assert disagreement(after) < 1e-6 * disagreement(before)
    checked = 0
    for k, state in states.items():
        for other in state.facts["compression"][NET]["in_step"]:
            assert torch.equal(held(states, k, k), held(states, other, k))
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize("codec", CODECS)
def test_combining_stacked_is_combining(codec: str) -> None:
    (_, one), _ = mixed(8, compression=CODECS[codec])
    (_, stacked), _ = mixed(8, Stacked(), compression=CODECS[codec])
    np.testing.assert_array_equal(one, stacked)


@pytest.mark.parametrize("codec", CODECS)
def test_training_stacked_equals_one_peer_at_a_time(codec: str) -> None:
    """Up to rounding, which may now and then fall on the other side of a codec's step."""
    ends = []
    for engine in (None, Stacked()):
        experiment = from_mapping(KEYS | {"compression": CODECS[codec]})
        states = make_states(experiment)
        drive(experiment, states, algorithms.find(experiment), engine=engine)
        ends.append(read(states))
    apart = np.abs(ends[0] - ends[1])
    assert np.mean(apart < 1e-5) > 0.99
    assert apart.max() < 0.02


def test_bytes_are_those_of_what_is_sent() -> None:
    experiment = from_mapping(KEYS | {"compression": "int8"})
    states = make_states(experiment)
    driver = drive(experiment, states, algorithms.find(experiment))
    layouts = [net.arena.layout for net in states[0].nets.values()]
    each = [n.trained + 4 * -(-n.trained // 256) + 4 * (n.length - n.trained) for n in layouts]
    assert driver.peers[0].bytes_out == 3 * 2 * sum(each)
    assert sum(each) < 0.26 * sum(4 * n.length for n in layouts)
