"""Oasis's representations: clients with similar digits end up in one group."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from algorithms.oasis.clustering import Grouping, find_groups
from algorithms.oasis.representation import Representation, represent
from peer.experiment import from_mapping
from peer.peer import Peer
from sim.runs.simulate import make_states
from tests.support.systems import PLAIN


def clients(seed: int, count: int = 20) -> tuple[list[Peer], list[int]]:
    keys = PLAIN | {
        "peers": count + 1,
        "seed": seed,
        "algorithm": {"name": "oasis", "rounds": 1},
    }
    experiment = from_mapping(keys)
    states = make_states(experiment)
    peers = [Peer(states[k], experiment.schedule) for k in range(1, count + 1)]
    return peers, [k % 5 for k in range(count)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reduce", ["mean_then_encode", "encode_then_mean"])
def test_clients_with_alike_digits_find_each_other(seed: int, reduce: str) -> None:
    peers, truth = clients(seed)
    R = np.stack([represent(peer, Representation(reduce=reduce)) for peer in peers])
    groups = find_groups(R, [peer.samples for peer in peers], Grouping(), seed)
    found = [next(i for i, group in enumerate(groups) if c in group) for c in range(20)]
    assert adjusted_rand_score(truth, found) >= 0.9
