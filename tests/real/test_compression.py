"""Compressed combines over ZeroMQ: the bits of the simulation, and its bytes, whatever the codec.

The handshake, the frames' headers and the heartbeats are what bytes on the wire may be above it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import algorithms
import sim
from peer.experiment import Experiment
from peer.runtime.options import Options
from peer.runtime.process import PeerProcess
from peer.state.recorder import arena_digest
from tests.support.codec_settings import CODECS
from topology.errors import UserError

Experiments = Callable[..., Experiment]
Threads = Callable[[Experiment], dict[int, str]]


@pytest.mark.parametrize("codec", CODECS)
def test_threads_over_zeromq_equal_the_event_driver(
    codec: str, experiment_of: Experiments, run_in_threads: Threads, tmp_path: Path
) -> None:
    experiment = experiment_of(compression=CODECS[codec])
    simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
    plain = sim.run(experiment_of(), run_dir=tmp_path / "plain", report=False)
    assert run_in_threads(experiment) == simulated.arena_blake2b
    assert not set(simulated.arena_blake2b.values()) & set(plain.arena_blake2b.values())
    assert simulated.bytes_out < 0.6 * plain.bytes_out


def run_each(experiments: list[Experiment], folder: Path) -> tuple[list[PeerProcess], list[Any]]:
    """Peer k of the k-th experiment, all at the same time; the peers, and how each ended."""
    peers = [
        PeerProcess(e, k, algorithms.find(e), folder, lambda line: None, Options())
        for k, e in enumerate(experiments)
    ]
    ends: list[Any] = [None] * len(peers)

    def run(k: int) -> None:
        try:
            ends[k] = peers[k].run()
        except UserError as problem:
            ends[k] = str(problem)

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(len(peers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return peers, ends


def test_bytes_on_the_wire_are_those_of_the_simulation(
    experiment_of: Experiments, tmp_path: Path
) -> None:
    experiment = experiment_of(peers=2, graph="path", compression="int8")
    peers, ends = run_each([experiment] * 2, tmp_path / "real")
    assert [end.completed for end in ends] == [True, True]
    simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
    assert {p.state.peer: arena_digest(p.state) for p in peers} == simulated.arena_blake2b
    sent = sum(peer.status.bytes_out for peer in peers)
    assert simulated.bytes_out < sent < 1.05 * simulated.bytes_out


@pytest.mark.parametrize("other", ["none", {"name": "int8", "block": 64}, "choco"], ids=str)
def test_peers_that_compress_otherwise_refuse_each_other(
    other: Any, experiment_of: Experiments, tmp_path: Path
) -> None:
    one = experiment_of(peers=2, graph="path", compression="int8")
    two = one.varied(compression=other)
    _, ends = run_each([one, two], tmp_path / "real")
    for end in ends:
        assert "runs another experiment: compression differ" in end


def test_defaults_said_or_not_are_the_same_experiment(experiment_of: Experiments) -> None:
    one = experiment_of(compression="int8").fingerprint()
    two = experiment_of(compression={"name": "int8", "block": 256}).fingerprint()
    assert one == two != experiment_of().fingerprint()
