"""Peers of one machine that talk through files instead of ports."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sim
from peer.experiment import from_mapping
from peer.experiment.addresses import answers
from tests.real.conftest import SMALL
from tests.real.test_parity import Threads


def test_peers_over_ipc_equal_the_event_driver(run_in_threads: Threads, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ipc-", dir="/tmp") as folder:
        experiment = from_mapping(SMALL | {"addresses": f"ipc://{folder}/peer-{{id}}"})
        simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
        assert run_in_threads(experiment) == simulated.arena_blake2b
        left = sorted(Path(folder).iterdir())  # ZeroMQ leaves the files; nobody is behind them
        assert [path.name for path in left if answers(path)] == []
