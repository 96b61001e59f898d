"""Seconds a round of real peers, from what they recorded."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def seconds_a_round(file: Path, peers: int, changes: Iterable[str] = ()) -> float:
    """Median of the slowest peer of ``peer up``; ``changes`` to the file as of ``--set``."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "peer", "up", "--topology", str(file)]
        for change in (*changes, "metrics.every=1", "metrics.sketch=false"):
            command += ["--set", change]
        command += ["--run-dir", str(run), "--no-report"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return slowest(run, peers)


def slowest(run: Path, peers: int, skip: int = 0) -> float:
    """The slowest peer's median round, the first one and ``skip`` more apart."""
    medians = []
    for k in range(peers):
        lines = (run / f"peer-{k}" / "metrics.jsonl").read_text().splitlines()
        seconds = [json.loads(line)["seconds"] for line in lines]
        medians.append(float(np.median(np.diff(seconds)[skip:])))
    return max(medians)
