"""What one seed does to a network: peers, rates and faults.

Every seed draws what it uses and what it leaves out (*swarm testing*: Groce et al., ISSTA 2012,
doi:10.1145/2338965.2336763): a fault that is always there hides what another one alone would show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sim.torture.chaos.agreed import edges_of, experiment_of, is_own
from sim.torture.chaos.scenario import KINDS, POINTS, Fault, Rates, Scenario

SIZES = {2: 4, 3: 6, 4: 6, 5: 5, 6: 5, 8: 4, 10: 3, 12: 3, 16: 2, 24: 1, 50: 1}
"""How many peers a seed may draw, and how often, beside the others."""

GRAPHS = ("ring", "path", "complete", "star", "watts-strogatz")

LARGEST_COMPLETE = 8

SMALL = 6
"""Peers up to which a seed may draw what takes long: several exchanges a round, large nets."""

STREAMED = 70_000
"""Floats of a net that travels in several chunks."""

LEAPS = (1.5, 30.0, 3600.0)
"""Seconds by which a clock may leap ahead."""


FOCI = {"": 8, "restarts": 2, "letters": 1}
"""What a seed may be about, and how often: anything; processes that are started anew in the midst
of a round; letters that run ahead of who is to take them."""

IN_THE_MIDST = ("sent vote", "got vote", "sending commit", "got chunk", "combine begins")
"""Where a process is killed in seeds about restarts."""


def draw_scenario(
    seed: int,
    peers: int | None = None,
    program: str = "consensus",
    fixed: Mapping[str, Any] | None = None,
    file: str = "",
    focus: str | None = None,
) -> Scenario:
    """The scenario of a seed, with so many peers at most; ``fixed`` replaces fields of it.

    With a ``file``, the peers, their graph and what they send are that experiment's. The ``focus``
    is one of :data:`FOCI`; drawn, if None.
    """
    draw = np.random.default_rng([seed, 0])
    weights = {n: w for n, w in SIZES.items() if peers is None or n <= peers} or {2: 1}
    count = _one_of(draw, list(weights), np.array(list(weights.values()), dtype=float))
    if peers is not None and peers > max(SIZES):
        count = peers
    small = count <= SMALL
    graphs = [
        g
        for g in GRAPHS
        if (g != "complete" or count <= LARGEST_COMPLETE)
        and (g != "watts-strogatz" or count > 5)
        and (g != "star" or count <= 24)
    ]
    scenario = Scenario(
        seed,
        count,
        str(draw.choice(graphs)),
        rounds=int(draw.choice([16, 24, 40] if count <= 16 else [16, 24])),
        program=program,
        file=file,
        catch_up=int(draw.choice([3, 400, 400])),
        compression=str(draw.choice(["none"] * 6 + ["bf16", "int8", "top-k", "choco"])),
        exchanges=int(draw.choice([1, 1, 2, 3])) if small else 1,
        letters=int(draw.choice([0, 0, 1, 3])) if count <= 16 else 0,
        floats=STREAMED if small and draw.random() < 0.15 else 32,
        checkpoint=int(draw.choice([1, 3, 8])),
        heals_at=float(draw.choice([15.0, 30.0, 45.0])),
        jitter=float(draw.choice([0.0, 0.02, 0.3])),
        compute=tuple(_paces(draw, count)),
        clocks=tuple(draw.uniform(0.95, 1.05, count).tolist()) if draw.random() < 0.3 else (),
        rates=Rates(
            loss=float(draw.choice([0.0, 0.0, 0.01, 0.1, 0.3])),
            twice=float(draw.choice([0.0, 0.0, 0.05, 0.3])),
            late=float(draw.choice([0.0, 0.0, 0.05, 0.3])),
            flip=float(draw.choice([0.0, 0.0, 0.0, 0.01, 0.05])),
        ),
    )
    drawn = str(draw.choice(list(FOCI), p=np.array(list(FOCI.values())) / sum(FOCI.values())))
    focus = drawn if focus is None else focus
    if is_own(scenario):
        scenario = _focused(draw, scenario, focus)
    else:
        scenario = _of_algorithm(draw, scenario)
    is_silent = bool(np.random.default_rng([seed, 2]).random() < 0.5)
    scenario = replace(scenario, **({"is_silent": is_silent} | dict(fixed or {})))
    faults = _restarts(draw, scenario) if focus == "restarts" else _faults(draw, scenario)
    return replace(scenario, faults=tuple(faults))


def _focused(draw: np.random.Generator, scenario: Scenario, focus: str) -> Scenario:
    """The same, such that what it is about happens often."""
    count = int(draw.integers(2, 1 + min(4, scenario.peers)))
    few = replace(
        scenario,
        peers=count,
        graph=str(draw.choice(["path", "complete"])),
        floats=32,
        compute=tuple(_paces(draw, count)),
        clocks=(),
    )
    loss, late = (float(draw.choice([0.0, 0.1, 0.3])) for _ in range(2))
    match focus:
        case "restarts":
            return replace(
                few,
                rounds=24,
                exchanges=int(draw.integers(2, 4)),
                checkpoint=int(draw.integers(1, 4)),
                catch_up=400,
                compute=(0.0,) * count,
                rates=replace(few.rates, loss=loss, late=late),
            )
        case "letters":
            return replace(few, letters=4, rates=replace(few.rates, loss=loss, late=late))
    return scenario


def _one_of(draw: np.random.Generator, values: Sequence[int], weights: np.ndarray) -> int:
    return int(draw.choice(values, p=weights / weights.sum()))


def _of_algorithm(draw: np.random.Generator, scenario: Scenario) -> Scenario:
    """The same for an algorithm, which decides what is sent, and takes long to compute."""
    scenario = replace(scenario, exchanges=1, letters=0, floats=32, rounds=12, compression="none")
    if not scenario.file:
        return scenario
    count = experiment_of(scenario).peers
    clocks = scenario.clocks and tuple(draw.uniform(0.95, 1.05, count).tolist())
    return replace(
        scenario, peers=count, graph="", compute=tuple(_paces(draw, count)), clocks=clocks
    )


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
    if draw.random() < 0.5:  # half of the seeds are audited to the last transfer
        weights[[KINDS.index(kind) for kind in ("crash", "power", "full", "failing")]] = 0.0
    elif draw.random() < 0.5:  # a quarter is about restarts at the wrong moment
        weights[[KINDS.index("crash"), KINDS.index("power")]] = 1.5
    faults: list[Fault] = []
    for _ in range(int(draw.integers(0, 4 + 2 * scenario.peers)) if weights.any() else 0):
        kind = str(draw.choice(KINDS, p=weights / weights.sum()))
        at = float(draw.uniform(0.5, 0.8 * scenario.heals_at))
        seconds = min(float(draw.choice([0.3, 3.0, 8.0])), scenario.heals_at - at)
        peer = int(draw.integers(scenario.peers))
        match kind:
            case "partition" | "clog" | "cut":
                direction = directions[int(draw.integers(len(directions)))]
                faults.append(Fault(kind, at, seconds, *direction))
            case "crash" | "power":
                point = str(draw.choice(POINTS)) if draw.random() < 0.7 else ""
                faults.append(Fault("power" if point == "saving" else kind, at, seconds, peer))
                faults[-1] = replace(faults[-1], point=point)
            case "leap":
                faults.append(Fault(kind, at, float(draw.choice(LEAPS)), peer))
            case _:
                faults.append(Fault(kind, at, seconds, peer))
    if draw.random() < 0.3:
        faults += _swizzle(draw, directions, scenario.heals_at)
    return sorted(faults, key=lambda fault: fault.at)


def _restarts(draw: np.random.Generator, scenario: Scenario) -> list[Fault]:
    """Processes that are killed in the midst of an exchange, and back while it is still open."""
    times = np.sort(draw.uniform(0.5, 0.8 * scenario.heals_at, 4 + 3 * scenario.peers))
    return [
        Fault(
            str(draw.choice(["crash", "power"])),
            float(at),
            float(draw.choice([0.05, 0.3, 1.0])),
            int(draw.integers(scenario.peers)),
            point=str(draw.choice(IN_THE_MIDST)),
        )
        for at in times
    ]


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
