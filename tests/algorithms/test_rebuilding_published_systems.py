"""Every published system: rebuilt from its state after every round, equal bits."""

from __future__ import annotations

import pytest

import algorithms
from peer.experiment import from_mapping
from peer.peer import Peer
from peer.state import PeerState
from peer.state.recorder import arena_digest
from sim.runs.simulate import drive, make_states
from tests.support.systems import SYSTEMS, keys_of

ROUNDS = 5


def digests(states: dict[int, PeerState]) -> dict[int, str]:
    return {k: arena_digest(state) for k, state in states.items()}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_rebuilt_between_rounds_goes_on_with_the_same_bits(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = from_mapping(keys_of(system, ROUNDS))
    states = make_states(whole)
    untrained = digests(states)
    drive(whole, states, algorithms.find(whole))
    expected = digests(states)
    assert expected != untrained

    rebuilt = make_states(whole)
    every_round = Peer.rounds
    for rounds in range(1, ROUNDS + 1):
        monkeypatch.setattr(
            Peer, "rounds", lambda peer, count, limit=rounds: every_round(peer, min(limit, count))
        )
        drive(whole, rebuilt, algorithms.find(whole))
        fresh = make_states(whole)
        for k, state in rebuilt.items():
            fresh[k].load(state.dump())
        rebuilt = fresh
    assert digests(rebuilt) == expected
