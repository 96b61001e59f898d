"""Peers with folders of their own, of different classes, agree on one list over ZeroMQ."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sim
from peer.experiment import Experiment
from peer.profiler import time_link
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import Processes, until
from tests.support.systems import keys_of

CLASSES = (("cat", "dog"), ("10", "dog"), ("9", "cat", "owl"), ("emu",), ("owl", "yak"))
UNION = ("9", "10", "cat", "dog", "emu", "owl", "yak")


def folders(root: Path, *classes: tuple[str, ...]) -> dict[str, Any]:
    """A folder a peer, ten images of each class; the experiment's ``data``."""
    for k, names in enumerate(classes):
        draw = np.random.default_rng(k)
        for name in names:
            (root / f"own-{k}" / name).mkdir(parents=True)
            for i, pixels in enumerate(draw.integers(0, 256, (10, 8, 8), dtype=np.uint8)):
                Image.fromarray(pixels).save(root / f"own-{k}" / name / f"{i}.png")
    path = str(root / "own-{id}")
    return {"source": "folder", "path": path, "channels": 1, "partition": "own"}


@pytest.mark.parametrize("system", ["fegan", "oasis", "diffusion"])
def test_the_bits_are_those_of_sim_which_sees_all_files(
    system: str,
    experiment_of: Callable[..., Experiment],
    run_in_threads: Callable[[Experiment], dict[int, str]],
    tmp_path: Path,
) -> None:
    keys = {} if system == "diffusion" else keys_of(system, rounds=2)
    experiment = experiment_of(**keys | {"data": folders(tmp_path, *CLASSES)})
    simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
    assert run_in_threads(experiment) == simulated.arena_blake2b
    for k, state in simulated.states.items():
        real = json.loads((tmp_path / "real" / f"peer-{k}" / "summary.json").read_text())
        there = json.loads((tmp_path / "sim" / f"peer-{k}" / "summary.json").read_text())
        assert real["class_names"] == list(UNION) == list(state.class_names)
        assert real["labels"] == there["labels"]


def test_one_after_the_other_and_again(processes: Processes) -> None:
    """Who goes on from a checkpoint has its list there; the bits stay those of sim."""
    folder = processes.folder
    keys = SMALL | {
        "peers": 3,
        "graph": "path",
        "algorithm": {"name": "diffusion", "rounds": 2},
        "data": folders(folder, *CLASSES[:3]),
        "addresses": free_addresses(3),
        "checkpoint": 1,
    }
    file = processes.write(keys)
    started = {}
    for k in (2, 0, 1):
        started[k] = processes.peer(file, k)
        until(started[k], "rounds, with")
    for k, process in started.items():
        assert process.wait(timeout=120) == 0
        said = process.communicate()[0]
        assert "classes: 5 agreed on ('9', '10', 'cat', 'dog', 'owl')" in said
        assert f"), {len(CLASSES[k])} of them here (" in said
    more = ("--resume", "--set", "algorithm.rounds=4")
    again = {k: processes.peer(file, k, *more) for k in range(3)}
    for process in again.values():
        assert process.wait(timeout=120) == 0
        said = process.communicate()[0]
        assert "resumed after round 2" in said
        assert "classes:" not in said
    keys["algorithm"] = {"name": "diffusion", "rounds": 4}
    simulated = sim.run(keys, run_dir=folder / "sim", report=False)
    for k in range(3):
        left = json.loads((folder / "run" / f"peer-{k}" / "summary.json").read_text())
        assert left["class_names"] == ["9", "10", "cat", "dog", "owl"]
        assert left["arena_blake2b"] == simulated.arena_blake2b[k]


def test_who_comes_late_with_a_class_of_its_own_is_refused(processes: Processes) -> None:
    keys = SMALL | {
        "peers": 3,
        "graph": "path",
        "algorithm": {"name": "diffusion", "rounds": 10**6},
        "data": folders(processes.folder, *CLASSES[:3]),
        "addresses": free_addresses(3),
        "start_timeout": 10.0,
        "deadline": 10.0,
    }
    file = processes.write(keys)
    peers = [processes.peer(file, k) for k in (0, 1)]
    metrics = processes.folder / "run" / "peer-1" / "metrics.jsonl"
    while not metrics.exists() or not metrics.read_text():
        assert peers[1].poll() is None
        time.sleep(0.05)
    late = processes.peer(file, 2)
    assert late.wait(timeout=60) == 2
    advice = 'data.classes: ["9", "10", cat, dog, owl]'
    said = late.communicate()[0]
    theirs = "data.path: peer 2 has 3 classes ('9', 'cat', 'owl'), and peer 1 has agreed on"
    assert theirs in said, said[-600:]
    assert advice in said
    told = until(peers[1], advice)
    for process in peers:
        assert process.poll() is None  # they go on
        process.kill()
        told += process.communicate()[0]
    assert (
        "classes: 3 ('10', 'cat', 'dog') without peer 2, of which nothing was heard in 10 s; who "
        "comes with another class is refused"
    ) in told


def test_two_peers_of_many_measure_their_link_without_the_others(
    experiment_of: Callable[..., Experiment], tmp_path: Path
) -> None:
    experiment = experiment_of(data=folders(tmp_path, *CLASSES))
    with ThreadPoolExecutor() as threads:
        ends = [threads.submit(time_link, experiment, a, b, 4 * 65536) for a, b in ((0, 1), (1, 0))]
        assert all(each.result(timeout=60).bandwidth > 0 for each in ends)
