"""A simulation whose disk is full for a time loses no record, and names what it cannot write."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

import sim
from peer.quality import classifier
from peer.state.disk import RealDisk

KEYS: dict[str, Any] = {
    "peers": 3,
    "algorithm": {"name": "diffusion", "rounds": 5},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 8,
    "metrics": {"quality_every": 1, "samples": 50},
}


def test_a_disk_that_is_full_for_a_time_loses_no_record(
    tmp_path: Path,
    judge_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    is_full = False

    class Full(io.FileIO):
        def write(self, content: Any, /) -> int:
            if is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(content)

    def progress(peer: int, round: int, measures: Any) -> None:
        nonlocal is_full
        is_full = 2 <= round < 4

    monkeypatch.setattr(classifier, "cache_folder", lambda: judge_cache)
    monkeypatch.setattr(RealDisk, "append", lambda disk, path: Full(path, "ab"))
    done = sim.run(KEYS, run_dir=tmp_path / "run", report=False, progress=progress)

    def rounds(name: str) -> list[int]:
        lines = (done.path / name).read_text().splitlines()
        return sorted(json.loads(line)["round"] for line in lines)

    assert rounds("network.jsonl") == [1, 2, 3, 4, 5]
    assert rounds("metrics.jsonl") == sorted([1, 2, 3, 4, 5] * 3)
    assert set(rounds("quality.jsonl")) == {1, 2, 3, 4, 5}
    said = capsys.readouterr().out.splitlines()
    for name in ("network.jsonl", "metrics.jsonl", "quality.jsonl"):
        of = [line.split(": ", 1)[1] for line in said if line.startswith(str(done.path / name))]
        assert of == [
            "cannot be written (No space left on device); it is tried again",
            "is written again",
        ]
