"""What one seed does to a network: peers, rates and faults.

Every seed draws what it uses and what it leaves out (*swarm testing*: Groce et al., ISSTA 2012,
doi:10.1145/2338965.2336763): a fault that is always there hides what another one alone would show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sim.torture.network import Rates
from sim.torture.programs import edges_of
from sim.torture.scenario import KINDS, Fault, Scenario

SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 50)
"""How many peers a seed may draw."""

GRAPHS = ("ring", "path", "complete", "star", "watts-strogatz")

LARGEST_COMPLETE = 8


def draw_scenario(
    seed: int,
    peers: int | None = None,
    program: str = "consensus",
    fixed: Mapping[str, Any] | None = None,
) -> Scenario:
    """The scenario of a seed, with so many peers at most; ``fixed`` replaces fields of it."""
    draw = np.random.default_rng([seed, 0])
    sizes = [n for n in SIZES if peers is None or n <= peers] or [2]
    count = int(draw.choice(sizes))
    small = count <= LARGEST_COMPLETE
    graphs = [
        g for g in GRAPHS if (g != "complete" or small) and (g != "watts-strogatz" or count > 5)
    ]
    name = str(draw.choice(graphs))
    heals_at = float(draw.choice([15.0, 30.0, 45.0]))
    scenario = Scenario(
        seed,
        count,
        name,
        rounds=int(draw.choice([16, 24, 40])),
        program=program,
        catch_up=int(draw.choice([3, 400, 400])),
        checkpoint=int(draw.choice([1, 3, 8])),
        heals_at=heals_at,
        jitter=float(draw.choice([0.0, 0.02, 0.3])),
        compute=tuple(_paces(draw, count)),
        rates=Rates(
            loss=float(draw.choice([0.0, 0.0, 0.01, 0.1, 0.3])),
            twice=float(draw.choice([0.0, 0.0, 0.05, 0.3])),
            late=float(draw.choice([0.0, 0.0, 0.05, 0.3])),
            flip=float(draw.choice([0.0, 0.0, 0.0, 0.01, 0.05])),
        ),
    )
    scenario = replace(scenario, **(fixed or {}))
    return replace(scenario, faults=tuple(_faults(draw, scenario)))


def _paces(draw: np.random.Generator, count: int) -> list[float]:
    """Seconds of a local step by peer: all alike, or some far slower than others."""
    usual = float(draw.choice([0.0, 0.2, 0.5]))
    slow = float(draw.choice([0.0, 0.0, 0.2]))
    return [2.0 if draw.random() < slow else usual for _ in range(count)]


def _faults(draw: np.random.Generator, scenario: Scenario) -> list[Fault]:
    """Faults of the kinds that this seed uses, then perhaps a swizzle."""
    edges = edges_of(scenario)
    directions = sorted([*edges, *((b, a) for a, b in edges)])
    weights = draw.random(len(KINDS)) * (draw.random(len(KINDS)) < 0.5)
    if draw.random() < 0.5:
        weights[KINDS.index("crash")] = 0.0  # half of the seeds are audited to the last transfer
    faults: list[Fault] = []
    for _ in range(int(draw.integers(0, 4 + 2 * scenario.peers)) if weights.any() else 0):
        kind = str(draw.choice(KINDS, p=weights / weights.sum()))
        at = float(draw.uniform(0.5, 0.8 * scenario.heals_at))
        seconds = min(float(draw.choice([0.3, 3.0, 8.0])), scenario.heals_at - at)
        if kind in ("freeze", "crash"):
            faults.append(Fault(kind, at, seconds, int(draw.integers(scenario.peers))))
        else:
            faults.append(
                Fault(kind, at, seconds, *directions[int(draw.integers(len(directions)))])
            )
    if draw.random() < 0.3:
        faults += _swizzle(draw, directions, scenario.heals_at)
    return sorted(faults, key=lambda fault: fault.at)


def _swizzle(
    draw: np.random.Generator, directions: list[tuple[int, int]], heals_at: float
) -> list[Fault]:
    """Clog connections one by one, and let them go in another order (FoundationDB's swizzle)."""
    count = int(draw.integers(1, len(directions) + 1))
    chosen = draw.permutation(len(directions))[:count]
    begins, ends = sorted(draw.uniform(0.2 * heals_at, 0.9 * heals_at, 2))
    starts = np.sort(draw.uniform(begins, (begins + ends) / 2, count))
    stops = draw.uniform((begins + ends) / 2, ends, count)
    return [
        Fault("clog", float(a), float(z - a), *directions[int(i)])
        for i, a, z in zip(chosen, starts, stops, strict=True)
    ]
