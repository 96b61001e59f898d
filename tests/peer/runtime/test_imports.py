"""What a peer loads: a Pi has no memory for what its experiment does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RING = Path(__file__).resolve().parents[3] / "examples" / "ring.yaml"

NOT_FOR_A_PEER = [
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "sim",
    "sympy",
    "tensorboard",
    "torch._dynamo",
    "torch._inductor",
]

TRAIN_ALONE = """
import sys
from peer.__main__ import main

sys.argv = ["peer", "--id", "0", "--topology", sys.argv[1], "--run-dir", sys.argv[2], *sys.argv[3:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
"""
"""One peer from its start to its end, without neighbours; then what it has loaded."""


def loaded_by(tmp_path: Path, *changes: str) -> set[str]:
    command = [sys.executable, "-c", TRAIN_ALONE, str(RING), str(tmp_path / "run")]
    for change in ("peers=1", "graph=complete", "algorithm.rounds=2", *changes):
        command += ["--set", change]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "finished after round 2" in ended.stdout
    return set(ended.stderr.split())


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])  # a fused one, and one in Python
def test_a_peer_loads_nothing_that_it_does_not_need(tmp_path: Path, optimizer: str) -> None:
    loaded = loaded_by(tmp_path, f"optimizer={{name: {optimizer}, lr: 0.001}}")

    assert "torch.optim" in loaded  # it did train
    assert [name for name in NOT_FOR_A_PEER if name in loaded] == []
