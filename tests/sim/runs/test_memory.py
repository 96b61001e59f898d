"""A process that simulates one run after the other holds the memory of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

RUNS, GROWTH = 4, 150.0
"""How many, and MiB by which the last may need more than the second: a run's peers hold 130."""

MEASURE = """
import gc, sys, warnings
from pathlib import Path
import sim

warnings.simplefilter("ignore")
keys = {
    "peers": 6, "graph": "ring", "algorithm": {"name": "diffusion", "rounds": 1},
    "optimizer": {"name": "adam", "lr": 0.001}, "gan": "mlp-1m", "batch": 4,
    "data": {"source": "synthetic", "images": 6000, "size": 28, "partition": "iid"},
}
for i in range(int(sys.argv[3])):
    sim.run({**keys, "seed": i}, run_dir=f"{sys.argv[1]}/{i}", engine=sys.argv[2], threads=1,
            report=False)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print("MiB", pages * 4096 / 2**20)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("engine", ["event", "stacked"])
def test_later_runs_need_no_more_memory_than_the_second(engine: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), engine, str(RUNS)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    used = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("MiB")]
    assert len(used) == RUNS
    assert used[-1] - used[1] < GROWTH, used
