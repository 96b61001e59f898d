"""What happens to simulated networks is replayed bit for bit: losses, doubts, crashes and leaps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.torture.chaos.draw import draw_scenario
from tests.support.flown_trials import ReplayedTrial, fly


def check_replay(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rounds that the seed's peers completed are compared, and are equal."""
    scenario = draw_scenario(seed, 8)
    with monkeypatch.context() as patched:
        verdict, flights = fly(scenario, patched)
    assert verdict.failures == [], f"seed {seed}"
    replay = ReplayedTrial(scenario, flights)
    assert replay.run() == [], f"seed {seed}"
    assert replay.compared == sum(len(p.checksums) for of in flights.values() for p in of)


@pytest.mark.parametrize("block", range(3))
def test_every_trial_is_replayed_bit_for_bit(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(10 * block, 10 * block + 10):
        check_replay(seed, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(15))
def test_many_trials_are_replayed_bit_for_bit(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(30 + 10 * block, 40 + 10 * block):
        check_replay(seed, monkeypatch)


@pytest.mark.parametrize("seed", [1, 16, 17, 41, 61, 76])
def test_what_was_in_doubt_is_added_where_it_turned_out_to_be_used(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = draw_scenario(seed, 8)
    _, flights = fly(scenario, monkeypatch)
    process = next(p for of in flights.values() for p in of if p.late)
    late = list(process.late)
    for each in late:
        held = [of for (round, _), of in process.held.items() if round == each.t.round]
        assert any(each.neighbour in neighbours for neighbours in held)
    for other in ([], [replace(each, effects=each.effects + 12) for each in late]):
        process.late[:] = other
        assert ReplayedTrial(scenario, flights).run(), "it is added nowhere, or rounds later"
    process.late[:] = late
    assert ReplayedTrial(scenario, flights).run() == []
