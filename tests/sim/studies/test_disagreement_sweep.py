"""The sweep of Theorem 1, at a size that a test can afford."""

from __future__ import annotations

import json
from pathlib import Path

from peer.experiment import from_mapping
from sim.studies.disagreement_sweep import sweep_disagreement, write_sweep


def test_disagreement_grows_as_the_square_of_the_step_size_under_the_bound(tmp_path: Path) -> None:
    experiment = from_mapping(
        {
            "peers": 5,
            "algorithm": {"name": "diffusion", "rounds": 30},
            "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
            "gan": "mlp-digits",
            "data": {"source": "digits", "partition": "pairs"},
            "batch": 32,
        }
    )
    sweep = sweep_disagreement(experiment, [0.001, 0.004], graphs=["ring"], stretch=0.4)
    assert 1.75 < sweep.slopes["ring"] < 2.25
    assert all(0 < p.disagreement < p.bound for p in sweep.points)
    assert sweep.points[0].rounds > 3 * sweep.points[1].rounds
    figure = write_sweep(sweep, tmp_path)
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "theory.json").read_text())["slopes"] == dict(sweep.slopes)
