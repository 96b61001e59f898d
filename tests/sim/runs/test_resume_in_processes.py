"""A simulation over several processes, stopped by a signal and resumed."""

from __future__ import annotations

import json
import shlex
import signal
import time

import pytest

from sim.sharding.collectives import torchrun_words
from tests.real.conftest import SMALL, processes  # noqa: F401
from tests.support.processes import Processes

KEYS = SMALL | {
    "peers": 4,
    "algorithm": {"name": "diffusion", "rounds": 120},
    "network": {"delay": 0.3, "jitter": 0.5},
    "metrics": {"every": 20},
}


def test_a_signal_stops_all_processes_after_one_round_and_resume_goes_on(
    processes: Processes,  # noqa: F811
) -> None:
    file = processes.write(KEYS)
    arguments = (file, "--run-dir", "run", "--no-report", "--processes", "2")
    whole = processes.start("-m", "sim", file, "--run-dir", "whole", "--no-report")
    first = processes.start("-m", "sim", *arguments)
    metrics = processes.folder / "run" / "metrics-0.jsonl"
    while not metrics.exists() or not metrics.read_text():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=120)[0]
    assert first.returncode == 130, said
    points = sorted((processes.folder / "run").glob("simulation-*.json"))
    rounds = {json.loads(path.read_text())["round"] for path in points}
    assert len(points) == 2
    (round,) = rounds
    assert 0 < round < 120
    assert f"stopped after round {round}; go on with: sim run" in said, said
    assert "failed" not in said, said
    again = processes.start("-m", "sim", *arguments, "--resume")
    said = again.communicate(timeout=200)[0]
    assert again.returncode == 0, said
    assert whole.wait(timeout=200) == 0
    for k in range(4):
        ends = [
            json.loads((processes.folder / run / f"peer-{k}" / "summary.json").read_text())
            for run in ("run", "whole")
        ]
        assert ends[0]["rounds"] == ends[1]["rounds"] == 120
        assert ends[0]["bytes_out"] == ends[1]["bytes_out"]
        assert ends[0]["missing"] == ends[1]["missing"] == {}
        assert ends[0]["arena_blake2b"] == ends[1]["arena_blake2b"]


def test_ctrl_c_stops_one_process_and_its_line_goes_on(processes: Processes) -> None:  # noqa: F811
    keys = KEYS | {"algorithm": {"name": "diffusion", "rounds": 10**6}}
    file = processes.write(keys)
    first = processes.start("-m", "sim", file, "--run-dir", "run", "--no-report")
    metrics = processes.folder / "run" / "metrics.jsonl"
    while not metrics.exists() or not metrics.read_text():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=120)[0]
    assert first.returncode == 130, said
    (point,) = (processes.folder / "run").glob("simulation-*.json")
    round = json.loads(point.read_text())["round"]
    command = f"sim run {file} --engine event --run-dir run --resume"
    last = f"stopped after round {round}; go on with: {command}"
    assert said.splitlines()[-1] == last
    more = ("--set", f"algorithm.rounds={round + 5}", "--no-report")
    again = processes.start("-m", "sim", *shlex.split(command)[1:], *more)
    assert again.wait(timeout=200) == 0
    whole = processes.start("-m", "sim", file, "--run-dir", "whole", *more)
    assert whole.wait(timeout=200) == 0
    for k in range(4):
        ends = [
            json.loads((processes.folder / run / f"peer-{k}" / "summary.json").read_text())
            for run in ("run", "whole")
        ]
        assert ends[0]["rounds"] == round + 5
        assert ends[0]["arena_blake2b"] == ends[1]["arena_blake2b"]


def test_ranks_of_torchrun_stop_together_and_one_of_them_says_how_to_go_on(
    processes: Processes,  # noqa: F811
) -> None:
    keys = KEYS | {"algorithm": {"name": "diffusion", "rounds": 10**6}}
    file = processes.write(keys)
    arguments = ("--standalone", "--nproc-per-node", "2", "-m", "sim", file, "--run-dir", "run")
    first = processes.start("-m", "torch.distributed.run", *arguments)
    metrics = processes.folder / "run" / "metrics-0.jsonl"
    while not metrics.exists() or not metrics.read_text():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=120)[0]
    points = sorted((processes.folder / "run").glob("simulation-*.json"))
    assert len(points) == 2, said
    (round,) = {json.loads(path.read_text())["round"] for path in points}
    assert said.count("SIGTERM: stopping at the end of this round") == 1, said
    assert said.count("stopped after round") == 1, said
    words = shlex.join(["sim", "run", str(file), "--engine", "event", "--run-dir", "run"])
    line = f"stopped after round {round}; go on with: torchrun --nproc-per-node 2 -m {words} "
    assert f"{line}--resume" in said.splitlines(), said


@pytest.mark.parametrize(
    ("size", "here", "words"),
    [
        (None, None, []),
        ("1", "1", []),
        ("2", "2", ["torchrun", "--nproc-per-node", "2", "-m"]),
        ("6", "2", ["torchrun", "--nnodes", "3", "--nproc-per-node", "2", "-m"]),
    ],
)
def test_what_starts_such_ranks_again(
    size: str | None, here: str | None, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", size and "0"), ("WORLD_SIZE", size), ("LOCAL_WORLD_SIZE", here)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert torchrun_words() == words
