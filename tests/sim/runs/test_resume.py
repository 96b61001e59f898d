"""A simulation that was stopped and resumed ends as if it had never been stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sim
from peer.experiment import from_mapping
from sim.runs.checkpoints import Interrupted, Stops
from sim.runs.simulate import Run
from sim.runs.simulate_sharded import run_in_processes
from topology.errors import UserError

TINY: dict[str, Any] = {
    "peers": 4,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 12},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 8,
    "seed": 5,
}

# Peers that are not at the same round at the same time, values under way across rounds.
STEPS = {"discriminator": 0.1, "generator": 0.1}
SLOW: dict[str, Any] = {
    "devices": {"default": {"seconds": STEPS}, 2: {"seconds": STEPS, "speed": 0.2}}
}
NETWORKS: dict[str, dict[str, Any]] = {
    "ideal": {},
    "delays": {"network": {"delay": 0.3, "jitter": 0.5}},
    "slow links": {"network": {"delay": 0.1, "bandwidth": 2.0, "uplink": 3.0}},
    "losses": {"network": {"delay": 0.3, "jitter": 0.5, "loss": 0.2}, "deadline": 2.0},
    "away for a time": {
        "network": {"delay": 0.2},
        "faults": [{"peer": 1, "down": 1.0, "up": 9.0}],
        "deadline": 2.0,
    },
    "away for ever": {
        "network": {"delay": 0.2},
        "faults": [{"peer": 1, "down": 1.0}],
        "deadline": 2.0,
    },
    "patience": {"deadline": "auto"},
    "sum-weight gossip": {
        "algorithm": {"name": "gossip", "mix": "sum_weight", "period": 1, "rounds": 12},
        "network": {"delay": 0.3, "jitter": 0.5},
    },
    "a server": {
        "algorithm": {"name": "fedavg", "local_steps": 2, "fraction": 0.5, "rounds": 12},
        "graph": "star",
        "network": {"delay": 0.1, "jitter": 0.2},
    },
    "lazy R1": {"loss": {"name": "hinge", "r1": 2.0, "r1_every": 5}},
    "rates that fall": {
        "optimizer": {"name": "adam", "lr": 0.001, "schedule": "linear", "warmup": 3}
    },
    "choco": {"compression": "choco", "network": {"delay": 0.3, "jitter": 0.5}},
}


def stopping_after(reports: int) -> tuple[Callable[[], bool], Callable[..., None]]:
    """Asks to stop once so many rounds of whichever peer are over."""
    counted: list[int] = []
    return lambda: len(counted) >= reports, lambda peer, round, measures: counted.append(round)


def stopped(
    keys: dict[str, Any], folder: Path, reports: int, resume: bool = False, **how: Any
) -> int:
    """Run until that many reports, then stop; returns the round that it stopped after."""
    asked, progress = stopping_after(reports)
    stops = Stops(how.pop("every", 0), asked)
    with pytest.raises(Interrupted) as told:
        sim.run(
            keys, run_dir=folder, report=False, progress=progress, stops=stops, resume=resume, **how
        )
    assert told.value.round is not None
    return told.value.round


def left(run: Run) -> dict[str, Any]:
    """All that a run leaves but the seconds of this machine."""
    found: dict[str, Any] = {"digests": run.arena_blake2b, "virtual": run.virtual_seconds}
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    found["metrics"] = sorted(records, key=lambda record: (record["peer"], record["round"]))
    network = run.path / "network.jsonl"
    found["network"] = network.read_text() if network.exists() else ""
    for k in range(4):
        summary = json.loads((run.path / f"peer-{k}" / "summary.json").read_text())
        del summary["seconds"]
        found[f"peer {k}"] = summary
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_stopped_twice_and_resumed_it_ends_as_undisturbed(name: str, tmp_path: Path) -> None:
    keys = TINY | SLOW | NETWORKS[name]
    whole = left(sim.run(keys, run_dir=tmp_path / "whole", report=False))
    first = stopped(keys, tmp_path / "run", 10)
    second = stopped(keys, tmp_path / "run", 9, resume=True)
    assert 2 <= first < second < 12
    resumed = left(sim.run(keys, run_dir=tmp_path / "run", report=False, resume=True))
    assert resumed == whole


@pytest.mark.parametrize("engine", ["stacked", "auto"])
def test_the_stacked_engine_ends_with_the_same_numbers(engine: str, tmp_path: Path) -> None:
    keys = TINY | {"optimizer": {"name": "adam", "lr": 0.001}}
    whole = sim.run(keys, run_dir=tmp_path / "whole", report=False, engine=engine, threads=1)
    stopped(keys, tmp_path / "run", 13, engine=engine, threads=1)
    with pytest.raises(UserError, match=f"the run's engine was '{engine}'"):
        sim.run(keys, run_dir=tmp_path / "run", report=False, resume=True)
    run = sim.run(
        keys, run_dir=tmp_path / "run", report=False, engine=engine, threads=1, resume=True
    )
    for k, state in run.states.items():
        for net, of in state.nets.items():
            expected = whole.states[k].nets[net].arena.vector
            assert of.arena.vector.allclose(expected, rtol=1e-4, atol=1e-6)


def test_planned_checkpoints_do_not_move_a_bit_and_three_are_kept(tmp_path: Path) -> None:
    keys = TINY | SLOW | NETWORKS["losses"]
    whole = left(sim.run(keys, run_dir=tmp_path / "whole", report=False))
    planned = sim.run(keys, run_dir=tmp_path / "run", report=False, stops=Stops(2))
    assert left(planned) == whole
    kept = sorted(path.name for path in (tmp_path / "run").glob("simulation-*"))
    assert kept == [f"simulation-{round:08d}-0.json" for round in (6, 8, 10)]


def test_killed_it_goes_on_from_the_last_planned_checkpoint(tmp_path: Path) -> None:
    """As after kill -9: whatever was recorded since is forgotten, half a line, too."""
    keys = TINY | SLOW | NETWORKS["delays"]
    whole = left(sim.run(keys, run_dir=tmp_path / "whole", report=False))
    run = tmp_path / "run"
    sim.run(keys, run_dir=run, report=False, stops=Stops(5))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"peer": 1, "rou')
    damaged = run / "peer-2" / "checkpoint-00000010.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    rounds: list[int] = []

    def look(peer: int, round: int, measures: object) -> None:
        rounds.append(round)

    resumed = sim.run(keys, run_dir=run, report=False, resume=True, progress=look)
    assert min(rounds) == 6  # round 10 is damaged at one peer, so at all it was round 5
    assert damaged.with_name(damaged.name + ".damaged").exists()
    assert left(resumed) == whole


def test_a_shared_channel_is_gone_on_with_from_planned_checkpoints_alone(tmp_path: Path) -> None:
    keys = TINY | SLOW | {"network": {"delay": 0.05, "channel": 5.0, "jitter": 0.3}}
    asked, progress = stopping_after(9)
    stops = Stops(0, asked)
    with pytest.raises(Interrupted) as told:
        sim.run(keys, run_dir=tmp_path / "a", report=False, progress=progress, stops=stops)
    assert told.value.round is None
    whole = left(sim.run(keys, run_dir=tmp_path / "b", report=False, stops=Stops(4)))
    assert stopped(keys, tmp_path / "c", 9, every=4) == 4
    with pytest.raises(UserError, match="--checkpoint 3: the run pauses every 4 rounds"):
        sim.run(keys, run_dir=tmp_path / "c", report=False, resume=True, stops=Stops(3))
    resumed = sim.run(keys, run_dir=tmp_path / "c", report=False, resume=True)
    assert left(resumed) == whole


def test_another_experiment_is_refused_and_nothing_to_resume_is_said(tmp_path: Path) -> None:
    stopped(TINY, tmp_path / "run", 10)
    changed = TINY | {"batch": 16, "seed": 6}
    with pytest.raises(UserError, match=r"batch: 8 there, 16 here; seed: 5 there, 6 here"):
        sim.run(changed, run_dir=tmp_path / "run", report=False, resume=True)
    with pytest.raises(UserError, match="no round that all peers have saved"):
        sim.run(TINY, run_dir=tmp_path / "new", report=False, resume=True)
    longer = TINY | {"algorithm": {"name": "diffusion", "rounds": 15}}
    more = sim.run(longer, run_dir=tmp_path / "run", report=False, resume=True)
    whole = sim.run(longer, run_dir=tmp_path / "whole", report=False)
    assert more.arena_blake2b == whole.arena_blake2b


def test_several_processes_refuse_another_experiment_and_leave_the_run_as_it_was(
    tmp_path: Path,
) -> None:
    """Before any process is launched: in one line, not in a rank's traceback."""
    run = tmp_path / "run"
    stopped(TINY, run, 10)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for changes, engine, words in (
        ({"seed": 6}, "event", "of another experiment: seed: 5 there, 6 here"),
        ({}, "stacked", "the run's engine was 'event'"),
    ):
        experiment = from_mapping(TINY | changes)
        with pytest.raises(UserError, match=words):
            run_in_processes(experiment, 2, run_dir=run, engine=engine, resume=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize("network", ["delays", "losses", "away for ever"])
@pytest.mark.parametrize("reports", range(5, 40, 3))
def test_stopped_at_any_moment(network: str, reports: int, tmp_path: Path) -> None:
    keys = TINY | SLOW | NETWORKS[network]
    whole = left(sim.run(keys, run_dir=tmp_path / "whole", report=False))
    asked, progress = stopping_after(reports)
    try:
        done = sim.run(
            keys, run_dir=tmp_path / "run", report=False, progress=progress, stops=Stops(0, asked)
        )
    except Interrupted:
        done = sim.run(keys, run_dir=tmp_path / "run", report=False, resume=True)
    assert left(done) == whole
