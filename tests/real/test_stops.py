"""However peers are stopped, they go on as if they had not been, or say what was lost."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import algorithms
import sim
from peer.experiment import Experiment
from peer.runtime.options import Ending, Options
from peer.runtime.process import PeerProcess
from peer.state.checkpoint import common_round, saved_rounds
from peer.state.recorder import arena_digest
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import Processes, until

ROUNDS = 60
KEYS = {
    "peers": 3,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": ROUNDS},
    "batch": 8,
    "checkpoint": 10,
}
Experiments = Callable[..., Experiment]


class Threads:
    """Every peer of an experiment over ZeroMQ, a thread each."""

    def __init__(self, experiment: Experiment, folder: Path, **options: Any) -> None:
        program = algorithms.find(experiment)
        self.said: dict[int, list[str]] = {k: [] for k in range(experiment.peers)}
        self.peers = [
            PeerProcess(experiment, k, program, folder, self.said[k].append, Options(**options))
            for k in range(experiment.peers)
        ]
        self.endings: dict[int, Ending] = {}
        self.threads = [
            threading.Thread(target=self._run, args=(peer,), daemon=True) for peer in self.peers
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, peer: PeerProcess) -> None:
        self.endings[peer.state.peer] = peer.run()

    def until_round(self, round: int, peer: int = 0) -> None:
        while self.peers[peer].status.round < round and self.threads[peer].is_alive():
            time.sleep(0.001)

    def stop_together(self) -> int:
        """As ``peer up`` does at Ctrl-C."""
        last = max(peer.course.promise() for peer in self.peers)
        for peer in self.peers:
            peer.course.last(last)
        return last

    def join(self) -> dict[int, Ending]:
        for thread in self.threads:
            thread.join(timeout=120)
            assert not thread.is_alive(), "a peer never ended"
        return self.endings

    @property
    def digests(self) -> dict[int, str]:
        return {peer.state.peer: arena_digest(peer.state) for peer in self.peers}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return sim.run(SMALL | KEYS, run_dir=folder, report=False).arena_blake2b


def stop_and_resume(make: Experiments, folder: Path, at: list[int]) -> tuple[Threads, list[int]]:
    """Stop all at about those rounds, go on each time; and to the end."""
    stopped: list[int] = []
    for round in at:
        run = Threads(make(**KEYS), folder)
        run.until_round(round)
        last = run.stop_together()
        for ending in run.join().values():
            assert ending == Ending(last >= ROUNDS, min(last, ROUNDS), min(last, ROUNDS))
        stopped.append(min(last, ROUNDS))
        assert common_round(folder, 3, print) == stopped[-1]
    run = Threads(make(**KEYS), folder)
    for k, ending in run.join().items():
        assert ending == Ending(True, ROUNDS, ROUNDS)
        assert f"resumed after round {stopped[-1]}" in run.said[k][0]
    return run, stopped


def test_a_network_stopped_together_loses_no_exchange(
    experiment_of: Experiments, undisturbed: dict[int, str], tmp_path: Path
) -> None:
    run, stopped = stop_and_resume(experiment_of, tmp_path, [1, 17, 30])
    assert stopped == sorted(set(stopped))
    assert run.digests == undisturbed
    for k in range(3):
        folder = tmp_path / f"peer-{k}"
        assert json.loads((folder / "summary.json").read_text())["missing"] == {}
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert [record["round"] for record in records] == list(range(1, ROUNDS + 1))
        seconds = [record["seconds"] for record in records]
        sent = [record["bytes_out"] for record in records]
        assert seconds == sorted(seconds)
        assert sent == sorted(sent)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_stopped_together_at_any_moment(
    seed: int, experiment_of: Experiments, undisturbed: dict[int, str], tmp_path: Path
) -> None:
    dice = random.Random(seed)
    moments = sorted(dice.randrange(ROUNDS - 10) for _ in range(2))
    run, _ = stop_and_resume(experiment_of, tmp_path, moments)
    assert run.digests == undisturbed


def test_one_that_is_stopped_alone_says_so_and_the_others_go_on(
    experiment_of: Experiments, tmp_path: Path
) -> None:
    run = Threads(experiment_of(**KEYS | {"checkpoint": 1000}), tmp_path)
    run.until_round(12)
    run.peers[0].stop.ask("SIGTERM")
    endings = run.join()
    assert not endings[0].completed
    assert endings[0].saved == endings[0].round >= 12
    assert saved_rounds(tmp_path / "peer-0") == [endings[0].round]
    for k in (1, 2):
        assert endings[k] == Ending(True, ROUNDS, ROUNDS)
        said = "\n".join(run.said[k])
        assert f"peer 0: left (stopped after round {endings[0].round})" in said
        assert "going on without peer 0: it has stopped" in said


# --- processes ------------------------------------------------------------------------------------


def in_round(folder: Path, peer: int, round: int, process: subprocess.Popen[str]) -> None:
    """Wait until that peer has recorded so many rounds."""
    path = folder / f"peer-{peer}" / "metrics.jsonl"
    while not path.exists() or len(path.read_text().splitlines()) < round:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def start_peer(processes: Processes, file: Path, peer: int) -> subprocess.Popen[str]:
    """``peer --id``, imports and all: a signal may come before they are done."""
    run = str(processes.folder / "run")
    return processes.start("-m", "peer", "--id", str(peer), "--topology", file, "--run-dir", run)


def test_sigterm_while_a_neighbour_is_silent(processes: Processes) -> None:
    """The round is finished without it, saved, and the last line says how to go on."""
    keys = SMALL | {"peers": 2, "graph": "path", "addresses": free_addresses(2)}
    keys |= {"algorithm": {"name": "diffusion", "rounds": 10**6}, "checkpoint": 10**6}
    file = processes.write(keys)
    peers = [start_peer(processes, file, k) for k in (0, 1)]
    run = processes.folder / "run"
    in_round(run, 0, 20, peers[0])
    peers[1].send_signal(signal.SIGSTOP)
    time.sleep(2.0)
    peers[0].send_signal(signal.SIGTERM)
    said = peers[0].communicate(timeout=60)[0]
    peers[1].send_signal(signal.SIGCONT)
    peers[1].send_signal(signal.SIGINT)
    other = peers[1].communicate(timeout=60)[0]
    assert [process.returncode for process in peers] == [130, 130]
    for k, words in ((0, said), (1, other)):
        (round,) = saved_rounds(run / f"peer-{k}")
        last = words.splitlines()[-1]
        assert f"peer {k}: stopped after round {round}; go on with: peer --id {k}" in last
        assert last.endswith(f"--run-dir {run} --resume")
        records = (run / f"peer-{k}" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(records[-1])["round"] == round
    assert "going on without peer 1: we are stopping" in said


def test_a_stop_before_anything_is_loaded_ends_it_at_once(processes: Processes) -> None:
    file = processes.write(SMALL | {"peers": 1, "data": {"partition": "all"}})
    process = start_peer(processes, file, 0)
    time.sleep(0.4)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert not (processes.folder / "run" / "peer-0").exists()
    # the very first instants are Python's own, and its default
    assert (process.returncode, said) in [
        (130, "SIGTERM: stopped before anything was trained\n"),
        (-signal.SIGTERM, ""),
    ]


def test_a_reader_that_goes_away_is_a_stop(processes: Processes) -> None:
    """As in ``peer ... | head -1``: what was learned is saved."""
    keys = SMALL | {"peers": 1, "data": {"partition": "all"}, "addresses": free_addresses(1)}
    keys |= {"algorithm": {"name": "diffusion", "rounds": 10**6}, "checkpoint": 10**6}
    file = processes.write(keys)
    process = start_peer(processes, file, 0)
    until(process, "rounds, with")
    run = processes.folder / "run"
    in_round(run, 0, 5, process)
    assert process.stdout is not None
    process.stdout.close()
    process.send_signal(signal.SIGINT)  # its line about that finds nobody
    assert process.wait(timeout=60) == 130
    (round,) = saved_rounds(run / "peer-0")
    assert round >= 5
    process.stdout = open("/dev/null")  # noqa: SIM115 (to be closed by the fixture)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_peer_up_stopped_by_a_signal_goes_on_with_the_same_bits(
    number: signal.Signals, processes: Processes, undisturbed: dict[int, str]
) -> None:
    file = processes.write(SMALL | KEYS)
    arguments = ("-m", "peer", "up", "--topology", file, "--run-dir", "run", "--no-report")
    run = processes.folder / "run"
    up = processes.start(*arguments)
    in_round(run, 0, 5, up)
    up.send_signal(number)
    said = up.communicate(timeout=100)[0]
    assert up.returncode == 130, said
    round = common_round(run, 3, print)
    assert round is not None
    assert f"all stop after round {round}" in said
    last = said.splitlines()[-1]
    assert (
        last == f"stopped after round {round}; go on with: peer up --topology {file} "
        "--run-dir run --resume"
    )
    again = processes.start(*arguments, "--resume")
    said = again.communicate(timeout=100)[0]
    assert again.returncode == 0, said
    assert f"going on after round {round}" in said
    for k in range(3):
        summary = json.loads((run / f"peer-{k}" / "summary.json").read_text())
        assert summary["arena_blake2b"] == undisturbed[k]
        assert summary["missing"] == {}


def test_killed_at_different_rounds_all_go_on_from_one(
    experiment_of: Experiments, undisturbed: dict[int, str], tmp_path: Path
) -> None:
    """As after kill -9: the newest round that all have is taken, and what came later forgotten."""
    run = Threads(experiment_of(**KEYS), tmp_path)
    run.until_round(33)
    run.stop_together()
    run.join()
    newest = {k: saved_rounds(tmp_path / f"peer-{k}") for k in range(3)}
    (tmp_path / "peer-1" / f"checkpoint-{newest[1][0]:08d}.safetensors").unlink()
    damaged = tmp_path / "peer-2" / f"checkpoint-{newest[2][1]:08d}.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-50] ^= 4
    damaged.write_bytes(content)
    said: list[str] = []
    at = common_round(tmp_path, 3, said.append)
    assert at == newest[0][2]
    assert len(said) == 1
    again = Threads(experiment_of(**KEYS), tmp_path, resume=True, resume_at=at)
    again.join()
    assert again.digests == undisturbed
    for k in range(3):
        records = (tmp_path / f"peer-{k}" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["round"] for line in records] == list(range(1, ROUNDS + 1))
