"""What happens away from the laboratory: peers on machines of their own, on one network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import Network, why_not
from tests.support.processes import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.end()


@pytest.fixture
def network(tmp_path: Path, processes: Processes) -> Iterator[Callable[[int], Network]]:
    """Makes a network of so many machines; the test is skipped, saying so, where none can be."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    made: list[Network] = []

    def make(count: int) -> Network:
        made.append(Network(f"hs{os.getpid() % 10000}{len(made)}", count, tmp_path))
        return made[-1]

    yield make
    processes.end()  # before what they run on
    for each in made:
        each.close()
