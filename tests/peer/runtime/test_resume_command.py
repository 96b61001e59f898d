"""What ``peer --id`` does in a folder in which the peer has run before."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

import peer.__main__
import sim
from peer.console import run_app
from peer.state.checkpoint import saved_rounds
from peer.state.disk import RealDisk
from tests.real.conftest import free_addresses

KEYS: dict[str, Any] = {
    "peers": 1,
    "graph": "path",
    "algorithm": {"name": "diffusion", "rounds": 12},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "all"},
    "batch": 8,
    "checkpoint": 5,
}
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """``peer --id 0`` with some keys set; its exit code and all it said."""
    monkeypatch.chdir(tmp_path)
    keys = KEYS | {"addresses": free_addresses(1)}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(keys))

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_app(peer.__main__.app, ["--id", "0", "--topology", "one.yaml", *words])
        found = capsys.readouterr()
        assert isinstance(ended.value.code, int | None)
        return ended.value.code or 0, found.out + found.err

    return run


def rounds_of(folder: Path) -> list[int]:
    lines = (folder / "peer-0" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["round"] for line in lines]


RUN = ("--run-dir", "run")
MORE = ("--set", "algorithm.rounds=20")


def test_it_goes_on_by_itself_and_says_so(command: Command, tmp_path: Path) -> None:
    assert command(*RUN)[0] == 0
    code, said = command(*RUN, *MORE)
    assert code == 0
    assert "resumed after round 12, from run/peer-0/checkpoint-00000012.safetensors" in said
    assert said.splitlines()[-1].endswith("finished after round 20; its generator is in run/peer-0")
    assert rounds_of(tmp_path / "run") == list(range(1, 21))
    longer = KEYS | {"algorithm": {"name": "diffusion", "rounds": 20}}
    whole = sim.run(longer, run_dir=tmp_path / "whole", report=False)
    summary = json.loads((tmp_path / "run" / "peer-0" / "summary.json").read_text())
    assert summary["arena_blake2b"] == whole.arena_blake2b[0]
    code, said = command(*RUN, *MORE)
    assert code == 0
    assert "it has all its 20 rounds already" in said


def test_records_are_on_the_disk_before_the_checkpoint_of_their_rounds(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = RealDisk.sync

    def noted(disk: RealDisk, file: IO[bytes]) -> None:
        sync(disk, file)
        name = Path(os.readlink(f"/proc/self/fd/{file.fileno()}")).name
        rounds = len(Path("run/peer-0", name).read_text().splitlines()) if "metrics" in name else ""
        synced.append(f"{name.split('.safetensors')[0]} {rounds}".strip())

    monkeypatch.setattr(RealDisk, "sync", noted)
    assert command(*RUN)[0] == 0
    saved = [i for i, name in enumerate(synced) if "checkpoint" in name]
    assert [synced[i] for i in saved] == [f".checkpoint-{round:08d}" for round in (5, 10, 12)]
    assert [synced[i - 1] for i in saved] == [f"metrics.jsonl {round}" for round in (5, 10, 12)]


def test_without_a_checkpoint_resume_is_refused(command: Command, tmp_path: Path) -> None:
    code, said = command(*RUN, "--resume")
    assert code == 2
    assert said.startswith("error: --resume: there is no checkpoint in run/peer-0; leave --resume")
    code, said = command("--resume")
    assert code == 2
    assert "there is no run runs/one-N here" in said


def test_resume_alone_means_the_latest_run(command: Command, tmp_path: Path) -> None:
    for _ in range(2):
        assert command()[0] == 0
    code, said = command("--resume", *MORE)
    assert code == 0
    assert "resumed after round 12, from runs/one-2/peer-0" in said
    assert saved_rounds(tmp_path / "runs" / "one-1" / "peer-0") == [12, 10, 5]


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        (["gan=mlpgan"], "gan.name: mlp-digits there, mlpgan here"),
        (["seed=9", "batch=4"], "batch: 8 there, 4 here; seed: 0 there, 9 here"),
        (["optimizer={name: sgd, lr: 0.5}"], "optimizer.discriminator.lr: 0.001 there, 0.5 here"),
    ],
)
def test_another_experiment_is_refused_and_nothing_is_touched(
    changes: list[str], differs: str, command: Command, tmp_path: Path
) -> None:
    assert command(*RUN)[0] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    words = [word for change in changes for word in ("--set", change)]
    for resume in ([], ["--resume"]):
        code, said = command(*RUN, *words, *resume)
        assert code == 2
        assert "it is of another experiment" in said
        assert differs in said
    after = {p.name: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert after == before


def test_resume_anyway_goes_on_where_the_state_fits(command: Command, tmp_path: Path) -> None:
    assert command(*RUN)[0] == 0
    code, said = command(*RUN, *MORE, "--set", "batch=4", "--resume-anyway")
    assert code == 0
    assert "going on all the same: batch: 8 there, 4 here" in said
    assert rounds_of(tmp_path / "run") == list(range(1, 21))
    code, said = command(*RUN, *MORE, "--set", "batch=4", "--set", "gan=mlpgan", "--resume-anyway")
    assert code == 2
    assert "cannot be gone on from: its discriminator is of layout" in said


def test_fresh_begins_anew_beside_it(command: Command, tmp_path: Path) -> None:
    assert command(*RUN)[0] == 0
    code, said = command(*RUN, "--fresh", "--set", "seed=3")
    assert code == 0
    assert "finished after round 12; its generator is in run-1/peer-0" in said
    assert rounds_of(tmp_path / "run") == rounds_of(tmp_path / "run-1") == list(range(1, 13))
    assert command(*RUN, "--fresh", "--resume")[0] == 2


def test_a_run_that_saved_nothing_begins_again(command: Command, tmp_path: Path) -> None:
    assert command(*RUN)[0] == 0
    for path in (tmp_path / "run" / "peer-0").glob("checkpoint-*"):
        path.write_bytes(b"")
    code, said = command(*RUN)
    assert code == 0
    assert said.count("is damaged; set aside as") == 3
    assert rounds_of(tmp_path / "run") == list(range(1, 13))
    assert saved_rounds(tmp_path / "run" / "peer-0") == [12, 10, 5]


def test_a_folder_that_cannot_be_written_is_one_line(command: Command, tmp_path: Path) -> None:
    code, said = command("--run-dir", "one.yaml")
    assert code == 2
    assert said == "error: --run-dir one.yaml: is a file; name a folder\n"


def test_a_peer_that_nobody_is_with_any_more_says_how_to_go_on_with_what_it_has(
    command: Command, tmp_path: Path
) -> None:
    keys = KEYS | {"peers": 2, "addresses": free_addresses(2), "start_timeout": 1, "alone": True}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(keys | {"data": {"source": "digits"}}))
    assert command(*RUN)[0] == 0
    code, said = command(*RUN, *MORE, "--set", "alone=false")
    assert code == 3
    last = said.splitlines()[-1]
    assert "no neighbour was reached in 1 s" in last
    assert last.endswith(
        "; round 12 is saved; go on with: peer --id 0 --topology one.yaml --set "
        "algorithm.rounds=20 --set alone=false --run-dir run --resume"
    )
    code, said = command("--run-dir", "new", "--set", "alone=false")
    assert code == 3
    assert "go on with" not in said  # there is nothing yet


RAISING = """
from pathlib import Path
from pydantic import BaseModel
from peer.peer import Peer

class Config(BaseModel):
    rounds: int

async def raises(peer: Peer, config: Config) -> None:
    async for _ in peer.rounds(config.rounds):
        await peer.adapt("discriminator")
        if peer.round == 7 and Path("no-memory").exists():
            raise ZeroDivisionError("half way")
        await peer.adapt("generator")
"""


def test_a_crash_in_the_middle_of_a_round_names_the_round_on_the_disk(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "raising_algorithm.py").write_text(RAISING)
    own = ("--set", "algorithm.name=raising_algorithm:raises")
    (tmp_path / "no-memory").touch()
    code, said = command(*RUN, *own)
    assert code == 1
    assert "ZeroDivisionError: half way" in said
    assert "crashed in round 8; round 5 is saved; go on with: peer --id 0" in said
    assert saved_rounds(tmp_path / "run" / "peer-0") == [5]  # the state is half way through another
    (tmp_path / "no-memory").unlink()
    assert command(*RUN, *own, "--resume")[0] == 0
    assert command("--run-dir", "whole", *own)[0] == 0
    ends = [
        json.loads((tmp_path / folder / "peer-0" / "summary.json").read_text())["arena_blake2b"]
        for folder in ("run", "whole")
    ]
    assert ends[0] == ends[1]
    assert rounds_of(tmp_path / "run") == list(range(1, 13))
