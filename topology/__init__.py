"""What the network is: its graph, the weights on its links, and how fast it agrees."""

from topology.errors import UserError
from topology.families import FAMILIES
from topology.graph import build_graph
from topology.names import plain, suggestion
from topology.spectral import mixing_time, second_eigenvalue, spectral_gap, transient_rounds
from topology.weights import (
    RULES,
    kind_of_weights,
    metropolis_weights,
    neighbour_weights,
    sparse_weights,
    uniform_weights,
)

__all__ = [
    "FAMILIES",
    "RULES",
    "UserError",
    "build_graph",
    "kind_of_weights",
    "metropolis_weights",
    "mixing_time",
    "neighbour_weights",
    "plain",
    "second_eigenvalue",
    "sparse_weights",
    "spectral_gap",
    "suggestion",
    "transient_rounds",
    "uniform_weights",
]
