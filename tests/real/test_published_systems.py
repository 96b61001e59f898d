"""Every published system: equal bits over ZeroMQ and in the event driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sim
from peer.experiment import Experiment, from_mapping
from tests.real.conftest import free_addresses
from tests.support.systems import SYSTEMS, keys_of

Threads = Callable[[Experiment], dict[int, str]]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_over_zeromq_equals_the_event_driver(
    system: str, run_in_threads: Threads, tmp_path: Path
) -> None:
    keys = keys_of(system, rounds=3)
    experiment = from_mapping(keys | {"addresses": free_addresses(keys["peers"])})
    before = sim.run(
        experiment, overrides=["algorithm.rounds=0"], run_dir=tmp_path / "0", report=False
    )
    simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
    assert run_in_threads(experiment) == simulated.arena_blake2b
    assert before.arena_blake2b != simulated.arena_blake2b
