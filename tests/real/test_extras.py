"""What makes GANs work on real images: equal bits over ZeroMQ and in the event driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sim
from peer.experiment import Experiment, from_mapping
from tests.real.conftest import free_addresses
from tests.support.extras import EXTRAS

Threads = Callable[[Experiment], dict[int, str]]


@pytest.mark.parametrize("name", EXTRAS)
def test_over_zeromq_it_equals_the_event_driver(
    name: str, run_in_threads: Threads, tmp_path: Path
) -> None:
    keys: dict[str, Any] = EXTRAS[name]
    experiment = from_mapping(keys | {"addresses": free_addresses(keys["peers"])})
    simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
    assert run_in_threads(experiment) == simulated.arena_blake2b
