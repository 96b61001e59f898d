"""Five machines train; a sixth joins them by one code, trains, and leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import topology
from peer.net.keys import make_keys
from peer.state.checkpoint import checkpoint_path, read_checkpoint, saved_rounds
from sim.replay.run import replay_run
from tests.real.test_membership import records, refused, told, wait_for_round
from tests.support.namespaces import Network
from tests.support.processes import Processes, until
from topology.membership import Membership

pytestmark = pytest.mark.timeout(280)

ROUNDS = 600
KEYS: dict[str, Any] = {
    "peers": 5,
    "graph": "ring",
    "addresses": [f"tcp://10.77.0.{k + 1}:47100" for k in range(5)],
    "port": 47100,
    "algorithm": {"name": "diffusion", "rounds": ROUNDS},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 8,
    "checkpoint": 200,
    "deadline": 20,
}


def test_it_joins_trains_and_leaves(
    network: Callable[[int], Network], processes: Processes
) -> None:
    lab = network(6)
    run, new = processes.folder / "run", processes.folder / "new"
    secrets = [processes.folder / f"keys-{k}" for k in range(6)]
    public = {k: make_keys(k, secrets[k]) for k in range(5)}
    file = processes.write(KEYS | {"keys": public})
    peers = {
        k: processes.peer(file, k, "--keys", str(secrets[k]), machine=lab.machines[k])
        for k in range(5)
    }
    wait_for_round(run, 2, 10, peers[2])

    said = told(processes, "invite", "--at", "2", "--run-dir", str(run))
    code, line = said.splitlines()  # and none of an address that leads nowhere
    assert "peer 5 may come once by this code" in line
    joining = ("join", code, "--run-dir", str(new), "--keys", str(secrets[5]))
    peers[5] = processes.command(*joining, machine=lab.machines[5])
    until(peers[5], "let in as peer 5, by 1, 2;")
    until(peers[5], "peer 5 joins in round")
    wait_for_round(new, 5, 1, peers[5])
    first = records(new, 5)[0]["round"] - 1  # from 0
    wait_for_round(new, 5, first + 30, peers[5])
    assert "let in: peer 2 has invited it" in until(peers[1], "peer 2 has invited it")
    assert "at tcp://10.77.0.6:47105" in until(peers[2], "has come by its code")
    again = refused(processes, *joining[:2], "--run-dir", "other", "--keys", "other")
    assert "is not reached" in again  # from no machine of that network

    told(processes, "leave", "--id", "5", "--run-dir", str(new))
    for process in peers.values():
        assert process.wait(timeout=200) == 0, process.communicate()[0]
    last = records(new, 5)[-1]["round"]
    assert first + 30 <= last < ROUNDS
    assert all(each["missing"] == [] for each in records(new, 5))
    assert all(each["missing"] == [] for k in (0, 3, 4) for each in records(run, k))
    for k in (1, 2):  # in its first round it only listens
        away = {each["round"] - 1: each["missing"] for each in records(run, k)}
        assert {round for round, missing in away.items() if missing} <= {first}

    saved = read_checkpoint(checkpoint_path(run / "peer-0", saved_rounds(run / "peer-0")[0]))
    assert saved is not None
    members = Membership.from_words(saved.saved.own_facts["members"])
    assert [(change.peer, change.kind) for change in members.changes] == [(5, "join"), (5, "leave")]
    base = topology.build_graph("ring", 5, seed=0)
    for round, there in ((first - 1, 5), (first, 6), (last - 1, 6), (last, 5)):
        weights = topology.sparse_weights(members.graph(base, round), "metropolis").toarray()
        np.testing.assert_allclose(weights, weights.T, atol=1e-15)
        np.testing.assert_allclose(weights.sum(axis=0), 1.0, atol=1e-12)
        assert (weights >= 0).all()
        assert sum(row[k] < 1 for k, row in enumerate(weights)) == there

    shutil.move(new / "peer-5", run / "peer-5")  # gathered from several machines
    replayed = replay_run(run)  # every bit follows from these graphs and weights
    assert not replayed.differences
    assert replayed.ends_compared == 5  # who leaves is compared round by round
    assert replayed.compared == 5 * ROUNDS + last - first
