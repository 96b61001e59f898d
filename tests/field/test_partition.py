"""The network falls apart in two, again and again: both halves go on, and nothing is lost by it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from peer.experiment import from_mapping
from sim.runs.simulate import make_states
from tests.support.namespaces import Network, ip
from tests.support.processes import Processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CUTS, CUT, WHOLE = 20, 3.0, 3.0
"""How often, and for how many seconds the two halves are apart, and together."""

PROGRAM = '''
"""Peers that only average, twice a second: whatever moves their mean is a fault."""

from peer.effects import Sleep
from peer.peer import Peer


async def only_average(peer: Peer, config: dict) -> None:
    async for _ in peer.rounds(config["rounds"]):
        await Sleep(0.5)
        await peer.combine("generator")
'''

KEYS: dict[str, Any] = {
    "peers": 4,
    "graph": "complete",
    "addresses": "tcp://10.77.0.1:{port}",
    "listen": "tcp://*:{port}",
    "algorithm": {"name": "only_average:only_average"},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 16,
    "init": "own",
    "checkpoint": 0,
    "insecure": True,
    "start_timeout": 60,
    "deadline": 1.0,
    "catch_up": 1000,  # who joins the others by their mean would move it
}


def split_in_two(lab: Network) -> Callable[[bool], None]:
    """Machines 2 and 3 hang on a bridge of their own; returns what joins or parts the two."""
    inside = f"-n {lab.bridge}"
    ip(f"{inside} link add b1 type bridge")
    ip(f"{inside} link set b1 up")
    for i in (2, 3):
        ip(f"{inside} link set p{i} nomaster")
        ip(f"{inside} link set p{i} master b1")
    ip(f"{inside} link add t0 type veth peer name t1")
    ip(f"{inside} link set t0 master b0 up")
    ip(f"{inside} link set t1 master b1 up")
    return lambda together: ip(f"{inside} link set t0 {'up' if together else 'down'}")


def rounds_of(run: Path, peer: int) -> list[dict[str, Any]]:
    path = run / f"peer-{peer}" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def mean_of(generators: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([each[name].double() for each in generators]).mean(0)
        for name in generators[0]
    }


def test_a_network_in_two_halves_goes_on_and_its_mean_stays(
    network: Callable[[int], Network], processes: Processes
) -> None:
    lab = network(4)
    join = split_in_two(lab)
    (processes.folder / "only_average.py").write_text(PROGRAM)
    keys = KEYS | {"addresses": [f"tcp://10.77.0.{k + 1}:4700" for k in range(4)]}
    keys |= {"listen": "tcp://*:4700"}
    rounds = int(2 * CUTS * (CUT + WHOLE))
    keys["algorithm"] = KEYS["algorithm"] | {"rounds": rounds}
    file = processes.write(keys)
    started = [processes.peer(file, k, machine=lab.machines[k]) for k in range(4)]
    run = processes.folder / "run"
    while len(rounds_of(run, 0)) < 5:
        assert all(process.poll() is None for process in started)
        time.sleep(0.1)
    healed: list[int] = []  # rounds of peer 0 when the halves were joined again
    for _ in range(CUTS):
        join(False)
        before = [len(rounds_of(run, k)) for k in range(4)]
        time.sleep(CUT)
        after = [len(rounds_of(run, k)) for k in range(4)]
        assert all(b > a + 1 for a, b in zip(before, after, strict=True)), (before, after)
        join(True)
        healed.append(after[0])
        time.sleep(WHOLE)
    codes = [process.wait(timeout=200) for process in started]
    said = [process.communicate()[0] for process in started]
    assert codes == [0, 0, 0, 0], said
    recorded = rounds_of(run, 0)
    apart = [record for record in recorded if {2, 3} & set(record["missing"])]
    assert len(apart) >= CUTS
    assert recorded[-1]["missing"] == []
    whole = [record["round"] for record in recorded if not record["missing"]]
    took = [min(r for r in whole if r > at) - at for at in healed]  # rounds until all are there
    print(f"rounds until all swap again, after each of {CUTS} cuts: {took}")
    assert max(took) <= 3  # two where the machine has nothing else to do
    states = make_states(from_mapping(keys, folder=processes.folder))
    began = mean_of([dict(states[k].nets["generator"].module.state_dict()) for k in range(4)])
    ended = mean_of(
        [safetensors.torch.load_file(run / f"peer-{k}" / "generator.safetensors") for k in range(4)]
    )
    for name, value in began.items():
        scale = float(value.abs().max()) or 1.0
        assert float((ended[name] - value).abs().max()) <= 1e-6 * scale, name
    assert not any("never told" in words for words in said)
