"""Peers on loopback: in threads of this process, or as processes of their own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import algorithms
from peer.experiment import Experiment, from_mapping
from peer.runtime.process import Options, PeerProcess
from peer.state.recorder import arena_digest

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


class Processes:
    """Commands started by a test; all ended with it, each by its own id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def write(self, keys: Mapping[str, Any], name: str = "experiment.yaml") -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(dict(keys)), encoding="utf-8")
        return path

    def start(self, module: str, *arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )
        self.started.append(process)
        return process

    def peer(self, file: Path, peer: int, *more: str) -> subprocess.Popen[str]:
        arguments = ["--id", str(peer), "--topology", file, "--run-dir", self.folder / "run", *more]
        return self.start("peer", *arguments)

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.end()


def until(process: subprocess.Popen[str], words: str) -> str:
    """Read a process's lines up to the first that has ``words`` in it; returns all of them."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it never said '{words}', only:\n{said}")
