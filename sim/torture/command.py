"""``sim torture``: many networks that break, and whether the protocol keeps its promises."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from peer.console import terminal
from sim.torture.chaos import draw_scenario
from sim.torture.programs import PROGRAMS
from sim.torture.scenario import Scenario
from sim.torture.shrink import shrink
from sim.torture.trial import Verdict, run_scenario
from topology.errors import UserError
from topology.names import suggestion

FAILED = 1

HOURS_A_YEAR = 24 * 365.25


def torture(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many networks.")] = 20,
    first: Annotated[int, typer.Option("--first", min=0, help="The first one's seed.")] = 0,
    peers: Annotated[
        int | None, typer.Option("--peers", min=2, help="At most so many peers. [default: 50]")
    ] = None,
    program: Annotated[str, typer.Option("--program", help="What the peers run.")] = "consensus",
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Run a failure's file again instead.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where failures are written.")] = Path("runs"),
) -> None:
    """Run the real protocol on simulated networks that lose, delay, break, stand still and crash.

    Every seed is a network of its own, and ends with a verdict; the same seed, with the same trace.
    A failure is made as small as it gets, and written to a file for --replay.
    """
    console = terminal(soft_wrap=True, highlight=False)
    if program not in PROGRAMS:
        names = list(PROGRAMS)
        raise UserError(f"--program {program}: {', '.join(names)}{suggestion(program, names)}")
    if replay is not None:
        verdict = run_scenario(Scenario.read(replay))
        console.print("\n".join([*verdict.log, *verdict.failures, f"trace {verdict.trace}"]))
        sys.exit(FAILED if verdict.failures else 0)
    began, simulated = time.process_time(), 0.0
    failed: list[int] = []
    for seed in range(first, first + seeds):
        scenario = draw_scenario(seed, peers, program)
        verdict = run_scenario(scenario)
        simulated += verdict.seconds * scenario.peers / 3600
        console.print(in_words(verdict))
        if verdict.failures:
            failed.append(seed)
            smallest = shrink(scenario, lambda s: bool(run_scenario(s).failures))
            out.mkdir(parents=True, exist_ok=True)
            path = out / f"torture-{seed}.json"
            smallest.write(path)
            console.print(
                f"  {len(smallest.faults)} of {len(scenario.faults)} faults are enough; again: "
                f"sim torture --replay {path}"
            )
    hours = (time.process_time() - began) / 3600
    console.print(
        f"{seeds - len(failed)} of {seeds} networks kept every promise; {simulated:,.1f} hours of "
        f"peers' lives, {simulated / hours / HOURS_A_YEAR:.2f} years of them an hour of processor"
    )
    sys.exit(FAILED if failed else 0)


def in_words(verdict: Verdict) -> str:
    """A verdict as a line, and a line for every broken promise."""
    scenario, counts = verdict.scenario, verdict.counts
    head = (
        f"seed {scenario.seed}: {scenario.peers} peers ({scenario.graph}), {scenario.rounds} "
        f"rounds, {len(scenario.faults)} faults, {counts['sent']:,} messages, "
        f"{counts['in doubt']} in doubt: "
    )
    return "\n  ".join([head + ("FAILED" if verdict.failures else "kept"), *verdict.failures])
