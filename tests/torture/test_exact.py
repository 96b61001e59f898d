"""``durability: exact`` in the chamber: crashes and power cuts take nothing back.

The processes have journals, on disks that forget what was not synced. A peer that goes on from its
checkpoint comes, by its journal, to where it was: every transfer is made at both ends of its link,
or at none, and the sum over peers is what it must be, with no allowance for crashes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from peer.effects import Moment
from peer.net.recorded.io import RecordedIo
from peer.net.transfer.receive_buffers import Held
from peer.state import PeerState
from peer.state.journal.file import JournalFile
from sim.torture.books.audit import CONSERVED, Audit
from sim.torture.chaos.draw import draw_scenario
from sim.torture.chaos.scenario import Fault, Rates
from sim.torture.programs import NET
from sim.torture.trial import Trial, Verdict, run_scenario
from sim.torture.world.machine import Machine

FOCI = [None, "restarts"]


def run_exactly(seed: int, focus: str | None, **fixed: str) -> Verdict:
    """The scenario of a seed, with journals, and power cuts while they are written."""
    scenario = draw_scenario(seed, 8, fixed={"durability": "exact"} | fixed, focus=focus)
    draw = np.random.default_rng(seed)
    times = draw.uniform(0.5, 0.8 * scenario.heals_at, scenario.peers)
    cuts = (Fault("power", float(at), 0.3, k, point="saving") for k, at in enumerate(times))
    return run_scenario(replace(scenario, faults=(*scenario.faults, *cuts)))


@pytest.mark.parametrize("focus", FOCI)
def test_crashes_and_power_cuts_take_nothing_back(focus: str | None) -> None:
    crashes = 0
    for seed in range(10):
        verdict = run_exactly(seed, focus)
        assert verdict.failures == [], f"seed {seed}"
        crashes += verdict.counts["crashes"]
    assert crashes > 20


@pytest.mark.parametrize("codec", ["top-k", "int8", "choco"])
def test_what_codecs_remember_moves_with_what_is_agreed_on(codec: str) -> None:
    """Residuals, and the copies of neighbours' nets: a crash takes nothing of them back either.

    Were they at one end what they are not at the other, one's gain would not be the other's loss.
    """
    crashes = 0
    for seed in range(4):
        verdict = run_exactly(seed, "restarts", compression=codec)
        assert verdict.failures == [], f"seed {seed}"
        crashes += verdict.counts["crashes"]
    assert crashes > 8


def test_copies_that_a_restart_loses_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """CHOCO's, where a process begins with other ones than its neighbours have of it."""
    load = Machine.load

    def loses(self: Machine, state: PeerState) -> None:
        load(self, state)
        for name in [each for each in state.tensors if not each.startswith("in doubt")]:
            state.tensors[name] = torch.zeros_like(state.tensors[name])

    monkeypatch.setattr(Machine, "load", loses)
    assert any(run_exactly(seed, "restarts", compression="choco").failures for seed in range(4))


def test_a_journal_that_is_not_synced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JournalFile, "sync", lambda self: None)
    assert any(run_exactly(seed, focus).failures for seed in range(4) for focus in FOCI)


def test_values_that_the_journal_forgets_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: RecordedIo, neighbour: int, t: Moment) -> Held | None:
        return None

    monkeypatch.setattr(RecordedIo, "_held", lost)
    assert any(run_exactly(seed, focus).failures for seed in range(4) for focus in FOCI)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_sum_over_peers_stays_for_ten_thousand_rounds() -> None:
    """Crashes, power cuts, losses and cut connections all the time: 1e-6 of the sum, in float64."""
    draw = np.random.default_rng(0)
    faults = []
    for at in np.arange(5.0, 2900.0, 15.0):
        k, seconds = int(draw.integers(4)), float(draw.choice([0.3, 3.0]))
        kind = str(draw.choice(["crash", "power", "freeze", "cut"]))
        point = "saving" if kind == "power" else ""
        faults.append(Fault(kind, float(at), seconds, k, (k + 1) % 4, point))
    scenario = replace(
        draw_scenario(0, 4, focus=""),
        peers=4,
        graph="ring",
        rounds=10_000,
        durability="exact",
        compression="none",
        exchanges=1,
        letters=0,
        catch_up=10**6,
        checkpoint=8,
        heals_at=3000.0,
        jitter=0.0,
        compute=(0.2,) * 4,
        clocks=(),
        rates=Rates(loss=0.01, twice=0.02, late=0.02),
        faults=tuple(faults),
    )
    trial = Trial(scenario)
    verdict = trial.run()
    drift = Audit(trial.ledgers[NET], trial.edges).imbalance()
    print(f"drift {drift:.2g} of the sum, {verdict.counts['crashes']} crashes")
    assert verdict.failures == []
    assert drift <= CONSERVED
