"""The smallest scenario that still fails: what plays no part is dropped, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sim.torture.chaos.scenario import Rates, Scenario

TRIALS = 200
"""Scenarios that are tried, at most."""


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], trials: int = TRIALS) -> Scenario:
    """Drop faults and rates, as long as it ``fails``; at most so many ``trials``.

    Halves of the faults are tried first, then ever smaller parts of them (*delta debugging*: Zeller
    and Hildebrandt, IEEE TSE 28(2), 2002, doi:10.1109/32.988498).
    """
    tried = 0

    def still_fails(smaller: Scenario) -> bool:
        nonlocal tried
        tried += 1
        return tried <= trials and fails(smaller)

    for smaller in _simpler(scenario):
        candidate = smaller(scenario)
        if candidate != scenario and still_fails(candidate):
            scenario = candidate
    parts = 2
    while scenario.faults:
        size = max(1, -(-len(scenario.faults) // parts))
        for start in range(0, len(scenario.faults), size):
            rest = scenario.faults[:start] + scenario.faults[start + size :]
            candidate = replace(scenario, faults=rest)
            if still_fails(candidate):
                scenario, parts = candidate, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(scenario.faults))
    return scenario


def _simpler(scenario: Scenario) -> Iterator[Callable[[Scenario], Scenario]]:
    """Ways of making a scenario simpler, each tried once."""
    yield lambda s: replace(s, faults=())
    yield lambda s: replace(s, rates=Rates())
    for rate in vars(scenario.rates):
        yield lambda s, rate=rate: replace(s, rates=replace(s.rates, **{rate: 0.0}))  # type: ignore[misc]
    yield lambda s: replace(s, jitter=0.0)
    yield lambda s: replace(s, compute=())
    yield lambda s: replace(s, clocks=())
    yield lambda s: replace(s, letters=0)
    yield lambda s: replace(s, compression="none")
    yield lambda s: replace(s, exchanges=1)
    yield lambda s: replace(s, floats=32)
    yield lambda s: replace(s, faults=tuple(replace(f, point="") for f in s.faults))
