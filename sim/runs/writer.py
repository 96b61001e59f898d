"""What a simulation writes down, be it in one process or in several."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peer.effects import Report
from peer.program import Program
from peer.state.checkpoint import write_json
from peer.state.recorder import Recorder, write_peer
from sim.engines.eager import Engine
from sim.engines.stacked import Stacked
from sim.simulated_peer.simulated_peer import Process


def record(recorder: Recorder, process: Process, report: Report) -> None:
    """One round of one peer, at the virtual time at which it completed it."""
    recorder.write(
        process.id,
        report.round,
        report.measures,
        seconds=process.now,
        bytes_in=process.bytes_in,
        bytes_out=process.bytes_out,
    )


def write_peers(
    folder: Path,
    processes: Mapping[int, Process],
    program: Program,
    recorder: Recorder,
    seconds: float,
    threads: int,
) -> None:
    """What every peer ends with, in a folder each; ``threads`` of them at a time.

    Not durably: a simulation that a power cut took away can be had again, and ten thousand peers
    would wait for a disk ten thousand times.
    """

    def write(process: Process) -> None:
        state = process.peer.state
        write_peer(
            state,
            folder / f"peer-{state.peer}",
            seconds=seconds,
            bytes_in=process.bytes_in,
            bytes_out=process.bytes_out,
            missing=recorder.missed(state.peer),
            product=program.makes_product(state.peer, state.peers),
            durable=False,
        )

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(write, processes.values()):
            pass


def describe(name: str, engine: Engine) -> dict[str, Any]:
    """What the engine called ``name`` has chosen; nothing of one that has no choice."""
    if not isinstance(engine, Stacked):
        return {}
    return {"engine": name, "threads": engine.threads, **engine.chosen()}


def write_engine(folder: Path, chosen: Mapping[str, Any]) -> None:
    """``engine.json``: what an engine has chosen, or the engine of each of several processes."""
    if chosen:
        write_json(folder / "engine.json", chosen)
