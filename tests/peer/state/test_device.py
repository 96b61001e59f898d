"""A device that cannot be used is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import typer
import yaml

import sim
from peer.__main__ import app as peer_app
from peer.console import run_app
from peer.state.device import usable_device
from sim.__main__ import app as sim_app
from tests.support.systems import PLAIN
from topology import UserError


def test_a_device_that_is_there_is_used() -> None:
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_one_that_is_not_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"device: '{name}' cannot be used here") as caught:
        usable_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("app", "command"), [(sim_app, ["run"]), (peer_app, ["up", "--topology"])], ids=["sim", "peer"]
)
def test_a_command_says_so_in_one_line(
    app: typer.Typer, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    algorithm = {"name": "diffusion", "rounds": 1}
    keys = PLAIN | {"graph": "ring", "algorithm": algorithm, "device": "cuda:99"}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(keys))
    with pytest.raises(SystemExit) as info:
        run_app(app, [*command, str(tmp_path / "x.yaml"), "--run-dir", str(tmp_path / "run")])
    assert info.value.code == 2
    assert not (tmp_path / "run" / "peer-0").exists()
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(said) == 1
    assert "device: 'cuda:99' cannot be used here" in said[0]
    with pytest.raises(UserError, match="cuda:99"):
        sim.run(keys, run_dir=tmp_path / "other")
