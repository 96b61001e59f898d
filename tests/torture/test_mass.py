"""Sum-weight gossip over a network that fails: no mass is lost, and none is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sim.torture.scenario import Scenario

from algorithms.mass import push_mass
from algorithms.partners import targets
from peer.effects import Now, Sleep
from peer.peer import Peer
from peer.program import Program
from sim.torture.chaos import draw_scenario
from sim.torture.programs import NET, SETTLES
from sim.torture.trial import Trial, _no_collection
from tests.torture.test_exact import ExactTrial

KEPT = "mass on its way"


def gossip_of(scenario: Scenario) -> Program:
    """Half of a peer's mass to a neighbour in each round; the last rounds are calm."""

    async def run(peer: Peer) -> None:
        async for r in peer.rounds(scenario.rounds):
            if r >= scenario.rounds - 2:
                await Sleep(max(0.0, scenario.heals_at + SETTLES - await Now()))
            await Sleep(0.2)
            known = {k: peer.neighbours_of(k) for k in range(peer.peers)}
            await push_mass(peer, (NET,), targets(known, 1.0, peer.common_rng("targets")))

    return Program("mass", run, scenario.rounds)


class Mass:
    """What is added to a trial: its program, and what has to hold."""

    unsure = 0

    def _broken(self, completed: bool) -> Iterator[str]:
        assert isinstance(self, Trial)
        if not completed or any(process.problem for process in self.processes.values()):
            yield from super()._broken(completed)  # type: ignore[misc]
            return
        mass, total, initial = 0.0, 0.0, 0.0
        for k, process in self.processes.items():
            facts, tensors = process.state.facts, process.state.tensors
            parts = [(facts["alpha"][NET], process.state.nets[NET].arena.vector)]
            kept = facts.get(KEPT, {})
            told = facts.get("letters told", {})
            parts += [(kept[r][NET], tensors[f"{KEPT}/{r}/{NET}"]) for r in kept if not told.get(r)]
            mass += sum(float(alpha) for alpha, _ in parts)
            total = total + sum(float(alpha) * w.numpy().astype(np.float64) for alpha, w in parts)
            initial = initial + self.ledger.accounts[k].initial / len(self.processes)
        if abs(mass - 1) > 1e-9:
            yield f"the mass is {mass}"
        if np.abs(total - initial).max() > 1e-6:
            yield f"the sum by mass is off by {np.abs(total - initial).max():.2g}"


class MassTrial(Mass, Trial):
    """Without journals."""


class ExactMassTrial(Mass, ExactTrial):
    """With journals, and crashes."""


def run_with_mass(seed: int, is_exact: bool) -> tuple[list[str], int]:
    """What was broken, and how often a sender could not know."""
    durability = "exact" if is_exact else "interval"
    fixed = {"durability": durability, "catch_up": 400, "deadline": 4.0, "compute": ()}
    scenario = draw_scenario(seed, 6, fixed=fixed)
    if not is_exact:
        faults = tuple(fault for fault in scenario.faults if fault.kind != "crash")
        scenario = replace(scenario, faults=faults)
    with _no_collection():
        trial = (ExactMassTrial if is_exact else MassTrial)(scenario)
        trial.program = gossip_of(scenario)
        verdict = trial.run()
    return verdict.failures, sum("never told" in line for line in verdict.log)


@pytest.mark.parametrize("is_exact", [False, True])
@pytest.mark.parametrize("block", range(2))
def test_no_mass_is_lost_and_none_is_doubled(block: int, is_exact: bool) -> None:
    for seed in range(10 * block, 10 * block + 10):
        failures, _ = run_with_mass(seed, is_exact)
        assert failures == [], f"seed {seed}"
