"""What a scenario's peers run, and with which states they begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

import algorithms
from peer.experiment import Experiment, NamedSpec
from peer.gan import Arena, Gan
from peer.gan.losses import LOSSES
from peer.program import Program
from peer.state import Net, PeerState
from peer.streams import Streams
from sim.runs.simulate import make_states
from sim.torture.chaos.agreed import experiment_of, is_own
from sim.torture.chaos.scenario import Scenario
from sim.torture.programs import NET, PROGRAMS, calm_from

ALGORITHM_CALM = 2
"""Rounds of an algorithm in which nothing goes wrong any more."""


@dataclass(frozen=True)
class Setting:
    """What is put to the torture.

    Attributes:
        experiment: what all peers agree on.
        program: what they run.
        state: makes a peer's state at round 0.
        calm_from: the round before which all faults are over, and what they did is settled.
        pause: virtual seconds after each round before that, for steps that take none themselves.
        agrees: the peers have to come to agree from then on, as nothing changes locally.
    """

    experiment: Experiment
    program: Program
    state: Callable[[int], PeerState]
    calm_from: int
    pause: float = 0.0
    agrees: bool = False


def setting_of(scenario: Scenario) -> Setting:
    """The chamber's own program and a few floats; or an algorithm, with its nets and data.

    Raises:
        UserError: the experiment cannot be.
    """
    experiment = experiment_of(scenario)
    if not is_own(scenario):
        program, states = _of_algorithm(
            Scenario(
                scenario.seed,
                scenario.peers,
                scenario.graph,
                scenario.rounds,
                scenario.program,
                scenario.file,
            )
        )
        calm = max(0, program.rounds - ALGORITHM_CALM)
        pause = scenario.heals_at / max(1, calm)
        return Setting(experiment, program, lambda k: states[k].copy(), calm, pause)
    # Codecs that leave something out take more rounds than there are calm ones.
    agrees = scenario.compression == "none"
    program = PROGRAMS[scenario.program](scenario)

    def state(peer: int) -> PeerState:
        return _floats(experiment, peer, scenario.floats)

    return Setting(experiment, program, state, calm_from(scenario), agrees=agrees)


@lru_cache(2)
def _of_algorithm(scenario: Scenario) -> tuple[Program, dict[int, PeerState]]:
    """The algorithm, and all peers' states at round 0: whatever goes wrong, they are the same."""
    experiment = experiment_of(scenario)
    program = algorithms.find(experiment)
    return program, make_states(experiment, program=program)


class _Floats(nn.Module):
    """A net of some floats, which nothing is computed with."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(count))


@lru_cache(8)
def _template(count: int) -> Arena:
    return Arena(_Floats(count), torch.zeros(count))


_GAN = Gan(_Floats(1), _Floats(1), 1, False, (1, 1, 1))


def _floats(experiment: Experiment, peer: int, count: int) -> PeerState:
    """A peer's state at round 0: its floats are drawn from N(0, 1)."""
    streams = Streams(experiment.seed, peer)
    arena = _template(count).copy(torch.zeros(count))
    draws = streams["floats"].standard_normal(count, dtype="float32")
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
        experiment.peers,
        codec=experiment.codec,
    )
