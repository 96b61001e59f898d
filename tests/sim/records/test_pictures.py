"""Pictures by round: which of them a report shows, and that it holds them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim.api
from sim.records.pictures import MOST_PEERS, MOST_ROUNDS, pictures_by_round
from sim.records.reader import read_run
from sim.reporting.report import write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, size=(60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    keys: dict[str, Any] = {
        "peers": MOST_PEERS + 1,
        "algorithm": {"name": "local", "rounds": 2 * MOST_ROUNDS + 3},
        "optimizer": {"name": "adam", "lr": 0.01},
        "gan": "mlp-digits",
        "batch": 4,
        "data": {"source": "npz", "path": str(tmp_path / "images.npz")},
        "metrics": {"every": 100, "pictures_every": 2},
    }
    return sim.api.run(keys, run_dir=tmp_path / "run", report=False).path


def test_a_report_shows_how_the_pictures_came_to_be(run: Path) -> None:
    found = pictures_by_round(read_run(run))
    assert list(found) == list(range(MOST_PEERS))
    rounds = [list(files) for files in found.values()]
    assert all(of == rounds[0] for of in rounds)
    assert len(rounds[0]) == MOST_ROUNDS
    assert (rounds[0][0], rounds[0][-1]) == (2, 2 * MOST_ROUNDS + 3)
    write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<h2>How the pictures came to be</h2>" in page
    assert "<th>round 19</th>" in page
    last = run / "peer-7" / "pictures" / "round-00000019.png"
    assert base64.b64encode(last.read_bytes()).decode() in page
    assert 'alt="peer 8' not in page


def test_a_run_without_pictures_has_no_such_section(run: Path) -> None:
    for file in run.glob("peer-*/pictures/*.png"):
        file.unlink()
    assert pictures_by_round(read_run(run)) == {}
    write_report(run)
    assert "How the pictures" not in (run / "report.html").read_text(encoding="utf-8")
