"""``sim torture``: many networks that break, and whether the protocol keeps its promises."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from peer.console import terminal
from sim.torture.chaos.draw import draw_scenario
from sim.torture.chaos.scenario import Scenario
from sim.torture.chaos.shrink import shrink
from sim.torture.programs import PROGRAMS
from sim.torture.trial import Verdict, run_scenario
from topology.errors import UserError
from topology.names import suggestion

FAILED = 1

HOURS_A_YEAR = 24 * 365.25


def torture(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="An experiment, whose peers, graph, nets and algorithm are used. "
            "[default: consensus on a few floats, on graphs of all kinds]",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many networks.")] = 20,
    first: Annotated[int, typer.Option("--first", min=0, help="The first one's seed.")] = 0,
    peers: Annotated[
        int | None,
        typer.Option("--peers", min=2, help="At most so many; over 50: so many. [default: 50]"),
    ] = None,
    program: Annotated[
        str, typer.Option("--program", help="What the peers run; module:coroutine for your own.")
    ] = "",
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
    if replay is not None:
        verdict = run_scenario(Scenario.read(replay))
        console.print("\n".join([*verdict.log, *verdict.failures, f"trace {verdict.trace}"]))
        sys.exit(FAILED if verdict.failures else 0)
    where = _experiment_file(file, peers)
    program = _known(program, where)
    began, simulated = time.process_time(), 0.0
    failed: list[int] = []
    for seed in range(first, first + seeds):
        scenario = draw_scenario(seed, peers, program, file=where)
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


def _experiment_file(file: Path | None, peers: int | None) -> str:
    """Where it is, for scenarios that are run again from anywhere; empty if there is none.

    Raises:
        UserError: it says how many peers there are, and --peers does, too.
    """
    if file is not None and peers is not None:
        raise UserError(f"--peers {peers}: {file} says how many peers there are")
    return "" if file is None else str(file.absolute())


def _known(program: str, file: str) -> str:
    """The program to run; the file's algorithm has no name here.

    Raises:
        UserError: there is no such program.
    """
    names = list(PROGRAMS)
    if ":" in program or (file and not program):
        return program
    if file or (program and program not in PROGRAMS):
        known = "module:coroutine, for your own" if file else ", ".join(names)
        raise UserError(f"--program {program}: {known}{suggestion(program, names)}")
    return program or names[0]


def in_words(verdict: Verdict) -> str:
    """A verdict as a line, and a line for every broken promise."""
    scenario, counts = verdict.scenario, verdict.counts
    of_graph = f" ({scenario.graph})" if scenario.graph else ""
    head = (
        f"seed {scenario.seed}: {scenario.peers} peers{of_graph}, {scenario.rounds} rounds, "
        f"{len(scenario.faults)} faults, {counts['crashes']} restarts, {counts['sent']:,} "
        f"messages, {counts['in doubt']} in doubt: "
    )
    return "\n  ".join([head + ("FAILED" if verdict.failures else "kept"), *verdict.failures])
