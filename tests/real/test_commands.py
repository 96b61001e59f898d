"""The commands as a newcomer types them, and the README's own examples."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import algorithms
import peer.__main__
import sim
import sim.__main__
from peer.console import run_app
from peer.experiment.cost_models import Seconds
from peer.experiment.profiles import read_profile
from peer.experiment.schema import load, schema
from peer.runtime.loading import load_peer
from sim.studies.compare import read_comparison
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import Processes

ROOT = Path(__file__).resolve().parents[2]


def test_keys_check_and_an_encrypted_run(
    processes: Processes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys where they will live, the public lines into the file, the same bits as in the clear."""
    keys = processes.folder / "keys"
    monkeypatch.setenv("HEARSAY_KEYS", str(keys))
    public = {}
    for k in range(2):
        with pytest.raises(SystemExit) as ended:
            run_app(peer.__main__.app, ["keys", "--id", str(k)])
        assert ended.value.code == 0
        line = capsys.readouterr().out
        found = re.fullmatch(r'  (\d): "(.{40})"\n', line)
        assert found is not None
        public[int(found[1])] = found[2]
        assert stat.S_IMODE((keys / f"peer-{k}.secret").stat().st_mode) == 0o600
    experiment = SMALL | {"peers": 2, "graph": "path", "addresses": free_addresses(2)}
    file = processes.write(experiment | {"keys": public})
    with pytest.raises(SystemExit) as ended:
        run_app(peer.__main__.app, ["check", "--id", "0", "--topology", str(file)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "there, and the file names it" in said
    assert "neighbour 1 at" in said
    assert "is not there yet (port: connection refused" in said
    peers = [processes.peer(file, k) for k in range(2)]
    assert [process.wait(timeout=120) for process in peers] == [0, 0]
    plain = sim.run(experiment, run_dir=processes.folder / "sim", report=False).arena_blake2b
    for k in range(2):
        summary = json.loads((processes.folder / "run" / f"peer-{k}" / "summary.json").read_text())
        assert summary["arena_blake2b"] == plain[k]


def test_a_stopped_peer_resumes_from_its_checkpoint(processes: Processes) -> None:
    keys = SMALL | {"peers": 1, "data": {"partition": "all"}, "checkpoint": 3}
    keys |= {"addresses": free_addresses(1)}
    whole = sim.run(keys, run_dir=processes.folder / "sim", report=False)
    short = processes.write(keys | {"algorithm": {"name": "diffusion", "rounds": 4}}, "short.yaml")
    assert processes.peer(short, 0).wait(timeout=60) == 0
    resumed = processes.peer(processes.write(keys), 0)  # of itself: it has run there already
    assert resumed.wait(timeout=60) == 0
    assert "resumed after round 4" in resumed.communicate()[0]
    summary = json.loads((processes.folder / "run" / "peer-0" / "summary.json").read_text())
    assert summary["arena_blake2b"] == whole.arena_blake2b[0]


def test_a_real_peer_keeps_the_pictures_of_a_simulated_one(processes: Processes) -> None:
    keys = SMALL | {"peers": 1, "data": {"partition": "all"}, "addresses": free_addresses(1)}
    plain = sim.run(keys, run_dir=processes.folder / "plain", report=False)
    keys |= {"metrics": {"pictures_every": 3}}
    simulated = sim.run(keys, run_dir=processes.folder / "sim", report=False)
    assert processes.peer(processes.write(keys), 0).wait(timeout=60) == 0
    real = processes.folder / "run" / "peer-0"
    summary = json.loads((real / "summary.json").read_text())
    assert summary["arena_blake2b"] == plain.arena_blake2b[0] == simulated.arena_blake2b[0]
    kept = sorted((real / "pictures").iterdir())
    assert kept[0].name == "round-00000003.png"
    for file in kept:
        other = simulated.path / "peer-0" / "pictures" / file.name
        assert file.read_bytes() == other.read_bytes()


def test_sim_writes_a_report_and_its_generators_load_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sim FILE`, `sim evaluate`, `sim sample`, `sim plot`, and the tutorial's five lines."""
    monkeypatch.chdir(ROOT)
    run = tmp_path / "run"

    def command(*words: str | Path) -> str:
        monkeypatch.setattr("sys.argv", ["sim", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            sim.__main__.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    said = command("examples/ring.yaml", "--set", "algorithm.rounds=3", "--run-dir", run)
    assert "report.html" in said
    summary = json.loads((run / "summary.json").read_text())
    asked = ["coverage", "cfid", "disagreement", "lambda_2", "rounds", "arena_blake2b", "seconds"]
    assert set(asked) <= summary.keys()
    assert summary["lambda_2"] == pytest.approx(0.5393, abs=1e-4)
    assert len(summary["cfid"]) == len(summary["arena_blake2b"]) == 5
    command("evaluate", run)
    command("sample", run, "--peer", "3", "--count", "9")
    assert (run / "samples-3.png").read_bytes()[:4] == b"\x89PNG"
    command("plot", run, run, "--out", tmp_path / "both.png")
    assert (tmp_path / "both.png").exists()
    generator = nn.Sequential(
        nn.Linear(32, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2),
        nn.Linear(128, 64), nn.Tanh(),
    )  # fmt: skip
    generator.load_state_dict(load_file(run / "peer-3" / "generator.safetensors"))
    assert generator(torch.zeros(2, 32)).shape == (2, 64)


def test_the_readmes_own_gan_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    nets = next(block for block in blocks if "def build" in block)
    assert len(nets.strip().splitlines()) <= 10
    (tmp_path / "readme_nets.py").write_text(nets)
    file = tmp_path / "own.yaml"
    file.write_text(json.dumps(SMALL | {"gan": {"name": "readme_nets:build", "z": 7}}))
    done = sim.run(file, run_dir=tmp_path / "run", report=False)
    assert [state.round for state in done.states.values()] == [6] * 5
    assert done.states[0].gan.z_dim == 7
    assert len(set(done.arena_blake2b.values())) == 5


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_is_a_valid_experiment(path: Path) -> None:
    assert load(path).peers == {"ten-thousand": 10_000, "few-images": 3}.get(path.stem, 5)


PAPERS = sorted((ROOT / "examples" / "papers").glob("*.yaml"))


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_every_system_of_a_paper_runs(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A round of each on digits; those on MNIST where it is, a state of each peer, no training."""
    workers = {"compare-digits": 10, "compare-mnist": 10, "oasis-table2": 3}.get(
        path.stem
    )  # of the comparisons
    if workers is not None:
        peers = {e.peers for e in read_comparison([path]).experiments.values()}
        assert peers - {workers} == {workers + 1}
        return
    if not path.stem.endswith("-mnist"):
        done = sim.run(path, overrides=["algorithm.rounds=1"], run_dir=tmp_path, report=False)
        assert {state.round for state in done.states.values()} == {1}
        return
    mnist = request.getfixturevalue("real_data") / "mnist"
    experiment = load(path, [f"data.path={mnist}"])
    program = algorithms.find(experiment)
    state, _ = load_peer(experiment, program.workers(experiment.peers)[0], program)
    assert state.shard is not None
    assert len(state.shard) > 0


def test_the_published_schema_is_that_of_the_code() -> None:
    assert (
        json.loads((ROOT / "peer" / "experiment" / "experiment.schema.json").read_text())
        == schema()
    )


@pytest.mark.real_data
def test_mnist_pairs_end_to_end(processes: Processes, real_data: Path) -> None:
    arguments = ["--set", f"data.path={real_data / 'mnist'}", "--set", "algorithm.rounds=2"]
    file = ROOT / "examples" / "mnist-pairs.yaml"
    run = processes.start("-m", "sim", file, *arguments, "--run-dir", "run", "--no-report")
    assert run.wait(timeout=200) == 0, run.communicate()[0]
    summary = json.loads((processes.folder / "run" / "peer-0" / "summary.json").read_text())
    assert summary["labels"].keys() == {"0", "1"}
    assert sum(summary["labels"].values()) == 12_000  # of 12,665


def test_a_profile_measured_here_is_a_clock(processes: Processes) -> None:
    """The steps and a link of this machine, and a simulation that takes them for its own."""
    file = processes.write(SMALL | {"devices": "mine.yaml", "network": {"link": "mine.yaml"}})
    measuring = processes.start(
        "-m", "peer", "profile", "--topology", file, "--out", "mine.yaml", "--repeats", "3"
    )
    said, _ = measuring.communicate(timeout=200)
    assert measuring.returncode == 0, said
    assert "written: mine.yaml" in said
    profile = read_profile(processes.folder / "mine.yaml", "devices")
    assert profile.of["parameters"] == 53953
    assert profile.link is not None
    costs = {kind: cost.of(16) for kind, cost in profile.seconds if cost is not None}
    assert set(costs) == set(Seconds.model_fields)
    assert all(0 < seconds < 10 for seconds in costs.values())
    done = sim.run(file, run_dir=processes.folder / "predicted", report=False)
    # on a ring where all are alike, a round is a step and an exchange of each net
    nets = done.states[0].nets
    swaps = sum(
        profile.link.delay
        + 8e-6 * nets[name].arena.vector.nbytes / profile.link.bandwidth / profile.link.duplex
        for name in nets
    )
    steps = costs["discriminator"] + costs["generator"]
    assert done.virtual_seconds == pytest.approx(6 * (steps + swaps))
