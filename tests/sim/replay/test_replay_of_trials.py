"""What happens to simulated networks is replayed bit for bit: losses, doubts, crashes and leaps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.torture.chaos import draw_scenario
from tests.support.flown_trials import ReplayedTrial, fly


@pytest.mark.parametrize("block", range(6))
def test_every_trial_is_replayed_bit_for_bit(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(10 * block, 10 * block + 10):
        scenario = draw_scenario(seed, 8)
        verdict, flights = fly(scenario, monkeypatch)
        assert verdict.failures == [], f"seed {seed}"
        replay = ReplayedTrial(scenario, flights)
        assert replay.run() == [], f"seed {seed}"
        assert replay.compared == sum(len(p.checksums) for of in flights.values() for p in of)


@pytest.mark.parametrize("seed", [6, 14, 45])
def test_what_was_in_doubt_is_added_where_it_turned_out_to_be_used(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = draw_scenario(seed, 8)
    _, flights = fly(scenario, monkeypatch)
    process = next(p for of in flights.values() for p in of if p.late)
    assert all(late.neighbour in process.held[late.t] for late in process.late)
    late = list(process.late)
    for other in ([], [replace(each, effects=each.effects + 12) for each in late]):
        process.late[:] = other
        assert ReplayedTrial(scenario, flights).run(), "it is added nowhere, or two rounds later"
    process.late[:] = late
    assert ReplayedTrial(scenario, flights).run() == []
