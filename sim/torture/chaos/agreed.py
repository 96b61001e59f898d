"""The experiment that the peers of a scenario agree on: a user's, or the chamber's own."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from peer.experiment import Experiment, from_mapping, load
from sim.torture.chaos.scenario import Scenario
from topology.errors import UserError

OWN: dict[str, Any] = {
    "algorithm": {"name": "diffusion", "rounds": 1},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "gan": "mlp-digits",
    "batch": 16,
    "data": {"source": "digits"},
}
"""What the chamber's own experiment says beside peers, graph and times."""


def is_own(scenario: Scenario) -> bool:
    """Whether the peers run one of the chamber's own programs, and no algorithm."""
    return not scenario.file and ":" not in scenario.program


def experiment_of(scenario: Scenario) -> Experiment:
    """What all peers of a scenario agree on.

    Raises:
        UserError: as :func:`peer.experiment.load`.
    """
    return _experiment(
        scenario.file,
        scenario.program,
        scenario.rounds,
        scenario.peers,
        scenario.graph,
        scenario.seed,
        scenario.deadline,
        scenario.catch_up,
        scenario.durability,
        scenario.compression,
    )


@lru_cache(64)
def _experiment(
    file: str,
    program: str,
    rounds: int,
    peers: int,
    graph: str,
    seed: int,
    deadline: float,
    catch_up: int,
    durability: str,
    compression: str,
) -> Experiment:
    times = {
        "seed": seed,
        "deadline": deadline,
        "start_timeout": 2 * deadline,
        "catch_up": catch_up,
    }
    own = OWN | times | {"peers": peers, "graph": graph}
    own |= {"durability": durability, "compression": compression}
    if ":" in program:
        own["algorithm"] = {"name": program, "rounds": rounds}
    if not file:
        return from_mapping(own)
    experiment = load(file)
    if experiment.data.partition.name == "own":
        raise UserError(
            f"{file}: with partition: own, peers bring images of their own; the torture chamber "
            "has none: choose another partition"
        )
    algorithm = own["algorithm"]
    if ":" not in program:
        algorithm = experiment.algorithm.model_dump(mode="json") | {"rounds": rounds}
    return experiment.varied(algorithm=algorithm, **times)


def edges_of(scenario: Scenario) -> list[tuple[int, int]]:
    """The links of its graph."""
    graph = experiment_of(scenario).schedule.union()
    return sorted((min(edge), max(edge)) for edge in graph.edges)
