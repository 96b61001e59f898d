"""What a simulation, in one process or in several, leaves in its folder when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peer.program import Program
from peer.quality.quality_log import QualityLog
from peer.state.checkpoint import write_json
from peer.state.recorder import Recorder, write_peer
from sim.engines.eager import Engine
from sim.engines.stacked import Stacked
from sim.simulated_peer.simulated_peer import SimulatedPeer


def write_peers(
    folder: Path,
    peers: Mapping[int, SimulatedPeer],
    program: Program,
    recorder: Recorder,
    seconds: float,
    threads: int,
    quality: QualityLog | None = None,
) -> None:
    """What every peer ends with, in a folder each; ``threads`` of them at a time.

    Not durably: a simulation that a power cut took away can be had again, and ten thousand peers
    would wait for a disk ten thousand times.
    """

    def write(peer: SimulatedPeer) -> None:
        state = peer.state
        write_peer(
            state,
            folder / f"peer-{state.peer}",
            seconds=seconds,
            bytes_in=peer.bytes_in,
            bytes_out=peer.bytes_out,
            missing=recorder.missed(state.peer),
            product=program.makes_product(state.peer, state.peers),
            quality=quality.summary_of(state.peer) if quality else None,
            durable=False,
        )

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(write, peers.values()):
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
