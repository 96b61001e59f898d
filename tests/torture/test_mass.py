"""Sum-weight gossip over a network that fails: no mass is lost, and none is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from algorithms import mass
from algorithms.partners import targets
from peer.effects import TOLD, Sleep
from peer.peer import Peer
from peer.program import Program
from sim.torture.chaos.draw import draw_scenario
from sim.torture.chaos.scenario import Scenario
from sim.torture.programs import NET
from sim.torture.trial import Trial

KEPT = "mass on its way"

ONLY_GOSSIP = {
    "catch_up": 400,  # who leaps over rounds takes others' nets, and no mass with them
    "compression": "none",
    "exchanges": 1,
    "letters": 0,
    "floats": 32,
    "compute": (),
}


def gossip_of(scenario: Scenario) -> Program:
    """Half of a peer's mass to a neighbour in each round."""

    async def run(peer: Peer) -> None:
        async for _ in peer.rounds(scenario.rounds):
            await Sleep(0.2)
            known = {k: peer.neighbours_of(k) for k in range(peer.peers)}
            await mass.push_mass(peer, (NET,), targets(known, 1.0, peer.common_rng("targets")))

    return Program("mass", run, scenario.rounds)


class MassTrial(Trial):
    """A trial of gossip, in which the sum by mass has to stay."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.setting = replace(
            self.setting,
            program=gossip_of(scenario),
            calm_from=scenario.rounds - 2,
            agrees=False,
        )
        self.world = replace(self.world, setting=self.setting)

    def _broken(self, completed: bool) -> Iterator[str]:
        problems = list(super()._broken(completed))
        yield from problems or self._of_mass()

    def _of_mass(self) -> Iterator[str]:
        alphas: list[float] = []
        weighted: list[np.ndarray] = []  # (P,) each
        initial: list[np.ndarray] = []  # (P,) each
        for k, process in self.processes.items():
            initial.append(self.setting.state(k).nets[NET].arena.vector.numpy())
            facts, tensors = process.state.facts, process.state.tensors
            parts = [(facts["alpha"][NET], process.state.nets[NET].arena.vector)]
            told = facts.get(TOLD, {})  # in the last round, so that nothing was taken back
            parts += [
                (alphas_of[NET], tensors[f"{KEPT}/{r}/{NET}"])
                for r, alphas_of in facts.get(KEPT, {}).items()
                if not told.get(r)
            ]
            alphas += [float(alpha) for alpha, _ in parts]
            weighted += [float(alpha) * w.numpy().astype(np.float64) for alpha, w in parts]
        if abs(sum(alphas) - 1) > 1e-9:
            yield f"the mass is {sum(alphas)}"
        if (off := np.abs(np.sum(weighted, axis=0) - np.mean(initial, axis=0)).max()) > 1e-6:
            yield f"the sum by mass is off by {off:.2g}"


def broken_in(seed: int) -> list[str]:
    """What a seed breaks; processes live on, as what a crash takes back takes mass with it."""
    scenario = draw_scenario(seed, 6, fixed=ONLY_GOSSIP, focus="")
    faults = tuple(fault for fault in scenario.faults if not fault.ends_process)
    return MassTrial(replace(scenario, faults=faults)).run().failures


@pytest.mark.parametrize("block", range(2))
def test_no_mass_is_lost_and_none_is_doubled(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        assert broken_in(seed) == [], f"seed {seed}"


@pytest.mark.parametrize("always", [True, False])
def test_what_is_lost_or_doubled_is_found(always: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where letters of which the sender was unsure always count as taken, or never do."""
    take_back = mass._take_back

    def believe(peer: Peer) -> Any:
        if TOLD in peer.facts:
            peer.facts[TOLD] = dict.fromkeys(peer.facts[TOLD], always)
        return take_back(peer)

    monkeypatch.setattr(mass, "_take_back", believe)
    assert any("the mass is" in problem for seed in range(20) for problem in broken_in(seed))
