"""Peers on loopback: in threads of this process, or as processes of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import algorithms
from peer.experiment import Experiment, from_mapping
from peer.runtime.options import Options
from peer.runtime.process import PeerProcess
from peer.state.recorder import arena_digest
from tests.support.processes import Processes

SMALL: dict[str, Any] = {
    "peers": 5,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 6},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 16,
    "checkpoint": 0,
}


def free_addresses(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture
def experiment_of() -> Callable[..., Experiment]:
    """The small experiment with some keys changed, on free ports."""

    def make(**changes: Any) -> Experiment:
        keys = SMALL | changes
        return from_mapping(keys | {"addresses": free_addresses(keys["peers"])})

    return make


@pytest.fixture
def run_in_threads(tmp_path: Path) -> Callable[[Experiment], dict[int, str]]:
    """Run every peer of an experiment over ZeroMQ, a thread each; the digests of their arenas."""

    def run(experiment: Experiment) -> dict[int, str]:
        program = algorithms.find(experiment)
        peers = [
            PeerProcess(experiment, k, program, tmp_path / "real", lambda line: None, Options())
            for k in range(experiment.peers)
        ]
        threads = [threading.Thread(target=peer.run, daemon=True) for peer in peers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
            assert not thread.is_alive(), "a peer never finished"
        return {peer.state.peer: arena_digest(peer.state) for peer in peers}

    return run


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.end()
