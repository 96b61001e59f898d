"""From an algorithm's name in the experiment file to its coroutine."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from algorithms.diffusion import diffusion
from algorithms.distributed_gan import distributed_gan
from algorithms.ditto import ditto
from algorithms.dposg import dposg
from algorithms.dss_og import dss_og
from algorithms.fedavg import fedavg
from algorithms.fegan import fegan
from algorithms.gossip import gossip
from algorithms.local import local
from algorithms.mdgan import mdgan
from algorithms.oasis import oasis
from peer.experiment import Experiment
from peer.gan.build import import_attribute
from topology.errors import UserError
from topology.names import suggestion

ALGORITHMS: dict[str, Callable[..., Any]] = {
    "diffusion": diffusion,
    "dposg": dposg,
    "dss_og": dss_og,
    "local": local,
    "fedavg": fedavg,
    "ditto": ditto,
    "fegan": fegan,
    "gossip": gossip,
    "mdgan": mdgan,
    "distributed_gan": distributed_gan,
    "oasis": oasis,
}


CLOSED = frozenset({"fedavg", "ditto", "fegan", "gossip", "mdgan", "distributed_gan", "oasis"})
"""Those that name peers by their ids, and so have no part for one that the file does not list."""


def coroutine_of(experiment: Experiment) -> Callable[..., Any]:
    """The coroutine that ``algorithm.name`` names: one of ours, or the user's ``module:coroutine``.

    Raises:
        UserError: there is none of that name, or it is not ``async def name(peer, config)``.
    """
    name = experiment.algorithm.name
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UserError(
            f"algorithm.name: there is no algorithm '{name}'{suggestion(name, ALGORITHMS)} "
            f"(algorithms: {', '.join(ALGORITHMS)}; or name your own as module:coroutine)"
        )
    coroutine: Callable[..., Any] = import_attribute(
        "algorithm.name", module, attribute, experiment.folder
    )
    if (
        not inspect.iscoroutinefunction(coroutine)
        or len(inspect.signature(coroutine).parameters) != 2
    ):
        raise UserError(f"algorithm.name: '{name}' must be 'async def {attribute}(peer, config)'")
    return coroutine
