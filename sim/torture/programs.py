"""What the peers of the chamber run: consensus on a few floats, with local changes from the seed.

A round is one local change, of some seconds, and one combine. The last rounds begin some time after
the last fault; in them nothing changes locally, so that the peers have to come to agree.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from peer.effects import Now, Sleep
from peer.experiment import Experiment, NamedSpec, from_mapping
from peer.gan import Arena, Gan
from peer.gan.losses import LOSSES
from peer.net.transfer.chunks import SLOWEST_RETRY
from peer.peer import Peer
from peer.program import Program
from peer.state import Net, PeerState
from peer.streams import Streams
from sim.torture.scenario import Scenario

CALM = 8
"""The last rounds, in which nothing goes wrong and nothing changes locally."""

SETTLES = SLOWEST_RETRY + 15.0
"""Seconds from the last fault to these rounds: what was lost is asked for again by then, at
the latest after :data:`peer.net.transfer.chunks.SLOWEST_RETRY`."""

NET = "generator"
FLOATS = 32


@lru_cache(64)
def _experiment(
    peers: int, graph: str, seed: int, deadline: float, catch_up: int, durability: str
) -> Experiment:
    return from_mapping(
        {
            "peers": peers,
            "seed": seed,
            "graph": graph,
            "algorithm": {"name": "diffusion", "rounds": 1},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "gan": "mlp-digits",
            "batch": 2,
            "data": {"source": "digits"},
            "deadline": deadline,
            "start_timeout": 2 * deadline,
            "catch_up": catch_up,
            "durability": durability,
        }
    )


def experiment_of(scenario: Scenario) -> Experiment:
    """What all peers of a scenario agree on: the graph, weights, times."""
    return _experiment(
        scenario.peers,
        scenario.graph,
        scenario.seed,
        scenario.deadline,
        scenario.catch_up,
        scenario.durability,
    )


def edges_of(scenario: Scenario) -> list[tuple[int, int]]:
    """The links of its graph."""
    graph = experiment_of(scenario).schedule.union()
    return sorted((min(edge), max(edge)) for edge in graph.edges)


class _Floats(nn.Module):
    """A net of :data:`FLOATS` floats, which nothing is computed with."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(FLOATS))


_TEMPLATE = Arena(_Floats(), torch.zeros(FLOATS))
_GAN = Gan(_Floats(), _Floats(), 1, False, (1, 1, 1))


def state_of(scenario: Scenario, peer: int) -> PeerState:
    """A peer's state at round 0: its floats are drawn from N(0, 1)."""
    streams = Streams(scenario.seed, peer)
    arena = _TEMPLATE.copy(torch.zeros(FLOATS))
    draws = streams["floats"].standard_normal(FLOATS, dtype="float32")
    arena.vector.copy_(torch.from_numpy(draws))
    return PeerState(
        peer,
        {NET: Net(arena, NamedSpec(name="sgd"))},
        None,
        streams,
        _GAN,
        LOSSES["bce_ns"],
        1,
        torch.device("cpu"),
        scenario.peers,
    )


def consensus(scenario: Scenario) -> Program:
    """The program of the chamber."""
    return _program("consensus", scenario, 0.0)


def canary(scenario: Scenario) -> Program:
    """One that drifts apart where peers have to come to agree: a chamber that lets it pass is deaf.

    It fails by design, and shows that the alarm works.
    """
    return _program("canary", scenario, 10.0)


def _program(name: str, scenario: Scenario, drift: float) -> Program:
    """Local changes of size 0.1 before the calm, and of size ``drift`` in it."""
    calm_from = max(0, scenario.rounds - CALM)

    async def run(peer: Peer) -> None:
        seconds = scenario.compute[peer.id] if scenario.compute else 0.0
        w = peer.model([NET])[NET]
        async for r in peer.rounds(scenario.rounds):
            if r >= calm_from:
                await Sleep(max(0.0, scenario.heals_at + SETTLES - await Now()))
            change = peer.rng("changes").standard_normal(FLOATS, dtype="float32")
            w.add_(torch.from_numpy(change), alpha=0.1 if r < calm_from else drift)
            await Sleep(seconds)
            await peer.combine(NET)

    return Program(name, run, scenario.rounds)


PROGRAMS = {"consensus": consensus, "canary": canary}
"""By name."""
