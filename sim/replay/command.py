"""The command ``sim replay``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from peer.console import Set, terminal
from peer.state.flight.reader import Incarnation
from sim.replay.run import ReplayedRun, replay_run

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run of real peers.")]


def replay(run: Folder, changes: Set = None) -> None:
    """Compute a real network's run again, faults and all, and compare it bit for bit.

    It needs what the peers wrote (experiment.yaml, peer-<id>/flight.msgpack) and their data; where
    these are elsewhere on this machine, say --set data.path=... Exit code 1: it differs.
    """
    console = terminal(soft_wrap=True, highlight=False)
    found = replay_run(run, changes or ())
    for k, processes in found.flights.items():
        console.print(_in_words(k, processes))
    for k, lost in found.damaged.items():
        console.print(f"peer {k}: the last {lost:,} bytes of its flight are damaged, and not read")
    for k in found.without_flight:
        console.print(f"peer {k}: left no flight")
    if found.difference is None:
        console.print(
            f"equal, bit for bit: {found.compared:,} rounds, and the final nets of "
            f"{found.ends_compared} peers"
        )
        return
    for each in found.differences:
        console.print(
            f"the first difference: round {each.round}, peer {each.peer}, its process "
            f"{each.number + 1}: {each.what}"
        )
    _print_other_machines(found)
    sys.exit(1)


def _in_words(peer: int, processes: Sequence[Incarnation]) -> str:
    """What happened to a peer, in a line."""
    facts = [f"{len(processes)} processes" if len(processes) > 1 else "1 process"]
    facts.append(f"{max((p.completed for p in processes), default=0):,} rounds")
    without = sum(len(p.without) for p in processes)
    if without:
        facts.append(f"{without:,} exchanges without somebody")
    left_out = sum(to - after for p in processes for after, to in p.skips.items())
    if left_out:
        facts.append(f"{left_out:,} rounds left out")
    killed = sum(p.ending is None for p in processes)
    if killed:
        facts.append(f"{killed} without an end (killed, or still running)")
    return f"peer {peer}: {', '.join(facts)}"


def _print_other_machines(found: ReplayedRun) -> None:
    """Bits depend on the build of torch and on the processor: say where these are others."""
    here = torch.__version__, torch.backends.cpu.get_cpu_capability()
    made = {p.made_with for processes in found.flights.values() for p in processes}
    for build, cpu in sorted(made - {here}):
        terminal(soft_wrap=True, highlight=False).print(
            f"the run is of torch {build} on {cpu}; here it is {here[0]} on {here[1]}, which may "
            "be the reason"
        )
