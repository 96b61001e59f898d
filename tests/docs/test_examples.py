"""The programs and the notebook of ``examples/``, with few rounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

import sim

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_a_gan_of_ones_own(tmp_path: Path) -> None:
    done = sim.run(
        EXAMPLES / "own_gan.yaml", overrides=["algorithm.rounds=3"], run_dir=tmp_path, report=False
    )
    gan = done.states[0].gan
    assert gan.z_dim == 24
    assert gan.generator[0].out_features == 96
    assert [state.round for state in done.states.values()] == [3] * 5
    assert len(set(done.arena_blake2b.values())) == 5  # combined, but not yet equal


def test_an_algorithm_of_ones_own_is_a_median(tmp_path: Path) -> None:
    """One round: the server's nets are, coordinate by coordinate, the lower of the middle two."""
    changes = ["algorithm.rounds=1", "algorithm.steps=2"]
    done = sim.run(
        EXAMPLES / "own_algorithm.yaml", overrides=changes, run_dir=tmp_path, report=False
    )
    for net in ("generator", "discriminator"):
        arenas = [done.states[k].nets[net].arena.vector for k in range(5)]
        middle = torch.stack(arenas[1:]).sort(dim=0).values[1]
        assert torch.equal(arenas[0], middle)
        assert not torch.equal(arenas[1], arenas[2])


def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells in order, as a notebook server would run them, with 4 rounds for 300."""
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "notebook"}
    rounds = 0
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        if cell["cell_type"] == "markdown":
            continue
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        source = "".join(cell["source"])
        rounds += source.count("ROUNDS = 300")
        exec(compile(source.replace("ROUNDS = 300", "ROUNDS = 4"), cell["id"], "exec"), namespace)
    plt.close("all")
    assert rounds == 1
    ring, complete = namespace["ring"], namespace["complete"]
    assert {run.summary["rounds"] for run in (ring, complete)} == {4}
    assert complete.summary["lambda_2"] < ring.summary["lambda_2"]
    assert namespace["images"].shape == (16, 1, 8, 8)
