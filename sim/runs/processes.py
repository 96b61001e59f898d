"""How many processes share a simulation, where nobody says it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from peer.experiment import Experiment
from peer.program import Program
from sim.environment.network import NetworkModel
from sim.machine.cpu_affinity import cores
from sim.sharding.partition import partition_peers

PEERS_EACH = 16
"""Peers that a process has at least: with fewer, a stacked step is short, and waiting is not."""

PEER_ROUNDS = 20_000
"""Rounds of all peers, added up, that are worth the seconds in which processes start."""

BOUNDARY = 0.25
"""Share of peers with a neighbour in another process up to which what crosses is little."""


class Processes(NamedTuple):
    """How many processes, and why, in words for ``engine.json``."""

    number: int
    why: str


def choose_processes(experiment: Experiment, program: Program, engine: str) -> Processes:
    """A process a core where the stacked engine gains by it; one with threads elsewhere.

    Threads share only the steps of blocks of peers, processes everything: coroutines, draws,
    combining, and records.
    """
    count = min(cores(), experiment.peers // PEERS_EACH)
    network = NetworkModel(experiment)
    if engine != "stacked":
        why = "processes are for the stacked engine"
    elif experiment.device != "cpu":
        why = "a GPU's host has threads"
    elif cores() == 1:
        why = "there is one core"
    elif program.server is not None or experiment.backups:
        why = "all peers wait for the server"
    elif network.is_shared or not network.is_reliable:
        why = "with losses, absences or shared channels processes would meet at every moment"
    elif count < 2:
        why = f"fewer than {2 * PEERS_EACH} peers"
    elif experiment.peers * program.rounds < PEER_ROUNDS:
        why = "it is over soon"
    elif _boundary(experiment, count) > BOUNDARY:
        why = "too many links would cross between processes"
    else:
        return Processes(count, f"a process a core, each with {PEERS_EACH} peers or more")
    return Processes(1, why)


def _boundary(experiment: Experiment, processes: int) -> float:
    """The share of peers that have a neighbour in another process."""
    graph = experiment.graph_of_peers
    rank_of = partition_peers(graph, processes)
    crossing = [(k, n) for k, n in graph.edges if rank_of[k] != rank_of[n]]
    return len({k for ends in crossing for k in ends}) / len(graph)


def processes_of(folder: Path) -> int:
    """How many processes share the run in ``folder``, by the records that each of them keeps."""
    return len(list(folder.glob("metrics-*.jsonl"))) or 1
