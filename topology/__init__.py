"""What the network is: its graph, the weights on its links, and how fast it agrees."""

from topology.errors import UserError
from topology.families import FAMILIES
from topology.graph import build_graph
from topology.matrix import anchored_weights, weights_facts
from topology.membership import Change, Membership
from topology.names import plain, suggestion
from topology.schedule import Schedule, build_schedule, check_weights, contraction
from topology.spectral import (
    mixing_time,
    schedule_eigenvalue,
    second_eigenvalue,
    spectral_gap,
    transient_rounds,
)
from topology.weights import (
    RULES,
    RuleSpec,
    kind_of_weights,
    metropolis_weights,
    neighbour_weights,
    sparse_weights,
    uniform_weights,
)

__all__ = [
    "FAMILIES",
    "RULES",
    "Change",
    "Membership",
    "RuleSpec",
    "Schedule",
    "UserError",
    "anchored_weights",
    "build_graph",
    "build_schedule",
    "check_weights",
    "contraction",
    "kind_of_weights",
    "metropolis_weights",
    "mixing_time",
    "neighbour_weights",
    "plain",
    "schedule_eigenvalue",
    "second_eigenvalue",
    "sparse_weights",
    "spectral_gap",
    "suggestion",
    "transient_rounds",
    "uniform_weights",
    "weights_facts",
]
