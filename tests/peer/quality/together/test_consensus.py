"""The network's mean, by exchanges with neighbours alone: exact, however the graph looks."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import networkx as nx
import numpy as np
import pytest
import torch

from peer.effects import Moment
from peer.experiment import Experiment, from_mapping
from peer.peer import Peer
from peer.program import Program
from peer.quality.frechet import frechet_distance, gaussian
from peer.quality.together.consensus import (
    ATTEMPTS,
    STAGE,
    NetworkMean,
    centre_of_star,
    network_mean,
)
from peer.quality.together.moments import Moments
from peer.state import PeerState
from sim.environment.network import NetworkModel
from sim.events.driver import EventDriver


def experiment_on(graph: nx.Graph, **keys: Any) -> Experiment:
    return from_mapping(
        {
            "peers": len(graph),
            "graph": {"edges": [list(edge) for edge in graph.edges]},
            "algorithm": {"name": "diffusion", "rounds": 1},
            "optimizer": "adam",
            "gan": "mlp-digits",
            "data": {"source": "digits", "partition": "iid"},
            "deadline": 5.0,
        }
        | keys
    )


def facades(experiment: Experiment, peers: int, kind: type[Peer]) -> dict[int, Peer]:
    found = {}
    for k in range(peers):
        state = SimpleNamespace(round=0, peer=k, peers=peers, nets={}, device=torch.device("cpu"))
        found[k] = kind(cast(PeerState, state), experiment.schedule)
    return found


def average(
    graph: nx.Graph, values: list[torch.Tensor], **keys: Any
) -> tuple[dict[int, NetworkMean], Counter[int]]:
    """What every peer finds, and how many exchanges each took part in."""
    peers = len(graph)
    experiment = experiment_on(graph, **keys)
    found: dict[int, NetworkMean] = {}
    exchanges: Counter[int] = Counter()

    async def talk(peer: Peer) -> None:
        found[peer.id] = await network_mean(peer, "y", values[peer.id])

    class Counted(Peer):
        async def exchange(self, *arguments: Any, **named: Any) -> Any:
            exchanges[self.id] += 1
            return await super().exchange(*arguments, **named)

    everybody = facades(experiment, peers, Counted)
    network = NetworkModel(experiment)
    program = Program("test", talk, 1)
    EventDriver(everybody, program, network, experiment.deadline).run()
    return found, exchanges


def test_golden_five_peers_on_a_ring() -> None:
    """n_k = k + 1 images, each with the features (k, 1): n/K = 3 and S/n = (40/15, 1)."""
    values = []
    for k in range(5):
        features = np.array([[k, 1.0]] * (k + 1))
        values.append(Moments(k + 1.0, features.sum(0), features.T @ features).packed())
    found, _ = average(nx.cycle_graph(5), values)
    for of in found.values():
        moments = Moments.unpacked(of.value)
        assert moments.count == pytest.approx(3, rel=1e-9)
        np.testing.assert_allclose(moments.total / moments.count, [40 / 15, 1], rtol=1e-9)
        assert of.peers == (0, 1, 2, 3, 4)
        assert of.deviation < 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_the_distance_is_that_of_pooled_images_on_random_graphs(seed: int) -> None:
    draws = np.random.default_rng(seed)
    peers = int(draws.integers(2, 13))
    tree = nx.random_labeled_tree(peers, seed=seed)
    others = list(nx.non_edges(tree))
    draws.shuffle(others)
    tree.add_edges_from(map(tuple, others[: int(draws.integers(0, len(others) + 1))]))
    d = 6
    features = [
        draws.normal(draws.normal(0, 3, d), draws.uniform(0.1, 2, d), (draws.integers(2, 90), d))
        for _ in range(peers)
    ]
    values = [Moments(float(len(f)), f.sum(0), f.T @ f).packed() for f in features]
    found, exchanges = average(tree, values)
    other = gaussian(draws.normal(1, 1, (50, d)))
    pooled = frechet_distance(*gaussian(np.concatenate(features)), *other)
    for of in found.values():
        moments = Moments.unpacked(of.value).scaled(len(of.peers))
        assert moments.count == pytest.approx(sum(map(len, features)), rel=1e-6)
        assert frechet_distance(*moments.gaussian(), *other) == pytest.approx(pooled, rel=1e-5)
    assert len(set(exchanges.values())) == 1 or centre_of_star(tree) is not None


def test_on_a_star_the_centre_adds_up_in_one_exchange_each_way() -> None:
    values = [torch.tensor([float(k), 1.0], dtype=torch.float64) for k in range(6)]
    found, exchanges = average(nx.star_graph(5), values)
    assert set(exchanges.values()) == {2}
    for of in found.values():
        torch.testing.assert_close(of.value, torch.tensor([2.5, 1.0], dtype=torch.float64))


def test_exchanges_grow_with_the_root_of_the_mixing_time() -> None:
    """Plain combines on a ring of 40 take about 5,600 to the same accuracy."""
    values = [torch.tensor([float(k)], dtype=torch.float64) for k in range(40)]
    found, exchanges = average(nx.cycle_graph(40), values)
    assert max(exchanges.values()) < 250
    assert all(abs(float(of.value[0]) - 19.5) < 1e-7 for of in found.values())


@pytest.mark.parametrize("graph", [nx.complete_graph(5), nx.cycle_graph(5), nx.star_graph(4)])
def test_a_peer_that_is_away_takes_no_part_and_is_named(graph: nx.Graph) -> None:
    values = [torch.tensor([float(k)], dtype=torch.float64) for k in range(5)]
    faults = [{"peer": 2, "down": 0.0}]
    found, _ = average(graph, values, faults=faults)
    for k in (0, 1, 3, 4):
        assert found[k].peers == (0, 1, 3, 4)
        assert float(found[k].value[0]) == pytest.approx(2.0, rel=1e-9)
        assert found[k].deviation < 1e-9


def test_nothing_is_sent_by_a_single_peer() -> None:
    alone = nx.empty_graph(1)
    assert centre_of_star(nx.path_graph(2)) == 0
    found, exchanges = average(alone, [torch.tensor([4.0], dtype=torch.float64)])
    assert float(found[0].value[0]) == 4.0
    assert not exchanges


def test_parts_are_numbered_apart() -> None:
    """A peer that was cut off in one part does not meet the others of the next at one exchange."""
    moments: dict[int, list[Moment]] = {}

    class Watched(Peer):
        async def exchange(self, *arguments: Any, **named: Any) -> Any:
            before = {k: self._exchanges[k] for k in self.neighbours}
            moments.setdefault(self.id, []).append(Moment(0, max(before.values())))
            return await super().exchange(*arguments, **named)

    async def talk(peer: Peer) -> None:
        for part in range(3):
            await network_mean(peer, f"part {part}", torch.ones(1, dtype=torch.float64), part)

    experiment = experiment_on(nx.cycle_graph(5))
    everybody = facades(experiment, 5, Watched)
    program = Program("test", talk, 1)
    EventDriver(everybody, program, NetworkModel(experiment), experiment.deadline).run()
    for of in moments.values():
        parts = [t.exchange // (STAGE * ATTEMPTS) for t in of]
        assert sorted(parts) == parts
        assert set(parts) == {0, 1, 2}
