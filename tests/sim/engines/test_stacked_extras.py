"""What makes GANs work on real images: stacked as one peer at a time, and rebuilt half-way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_driver, make_states
from sim.simulated_peer.snapshots import Snapshot
from tests.sim.engines.test_stacked import SGD, assert_close, end
from tests.support.extras import EXTRAS
from tests.support.systems import PLAIN


@pytest.mark.parametrize("name", EXTRAS)
def test_stacked_equals_one_peer_at_a_time(name: str) -> None:
    keys: dict[str, Any] = EXTRAS[name] | SGD
    engine = Stacked()
    assert_close(end(keys, engine), end(keys, None))
    # FeGAN's devices, of which few are chosen, train one after another
    assert any(tuner.stacked for tuner in engine.tuners.values()) == ("fegan" not in name)


@pytest.mark.parametrize("name", EXTRAS)
def test_peers_taken_apart_go_on_with_the_same_bits(name: str) -> None:
    experiment = from_mapping(EXTRAS[name])
    program = algorithms.find(experiment)
    whole, rebuilt = make_states(experiment), make_states(experiment)
    driver = make_driver(experiment, whole, program)
    driver.pauses.after = 2

    def paused(round: int) -> None:
        for k, state in rebuilt.items():
            state.load(whole[k].dump())

    driver.run(paused)
    assert {state.round for state in rebuilt.values()} == {2}
    drive(experiment, rebuilt, program)
    for k, state in whole.items():
        assert state.streams.dump() == rebuilt[k].streams.dump()
        for net, of in state.nets.items():
            assert torch.equal(of.arena.vector, rebuilt[k].nets[net].arena.vector)


def test_a_value_that_all_have_used_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = 0
    before_write = Snapshot.before_write

    def counted(snapshot: Snapshot) -> None:
        nonlocal copied
        copied += snapshot.is_live
        before_write(snapshot)

    monkeypatch.setattr(Snapshot, "before_write", counted)
    ring = {"graph": "ring", "peers": 8, "algorithm": {"name": "diffusion", "rounds": 4}}
    end(PLAIN | ring, Stacked())
    combines = 2 * 4
    assert copied <= combines  # at most the last one's value, which is delivered at the very end
