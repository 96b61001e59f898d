"""What peers agree to do: one file for one published system.

``find`` turns the experiment's ``algorithm:`` into a program. Any coroutine of the same form can
take part as ``algorithm: {name: "module:coroutine", ...}``: it takes a peer and its settings, whose
type is read from the annotation of ``config`` (a pydantic model or a dataclass).
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from algorithms.diffusion import diffusion
from algorithms.distributed_gan import distributed_gan
from algorithms.ditto import ditto
from algorithms.fedavg import fedavg
from algorithms.fegan import fegan
from algorithms.gossip import gossip
from algorithms.local import local
from algorithms.mdgan import mdgan
from algorithms.oasis import oasis
from peer.experiment import Experiment
from peer.experiment.validation import validated
from peer.gan.build import import_attribute
from peer.program import Program
from topology.errors import UserError

ALGORITHMS: dict[str, Callable[..., Any]] = {
    "diffusion": diffusion,
    "local": local,
    "fedavg": fedavg,
    "ditto": ditto,
    "fegan": fegan,
    "gossip": gossip,
    "mdgan": mdgan,
    "distributed_gan": distributed_gan,
    "oasis": oasis,
}

__all__ = ["ALGORITHMS", "find"]


def find(experiment: Experiment, *, check: bool = True) -> Program:
    """The program that the experiment's ``algorithm:`` names, its settings bound.

    Raises:
        UserError: there is no such algorithm, it has no such setting, or (with ``check``) it cannot
            run on the experiment's peers and graph.
    """
    name = experiment.algorithm.name
    coroutine = ALGORITHMS.get(name) or _imported(name, experiment)
    config_type = typing.get_type_hints(coroutine).get("config")
    if config_type is None:
        raise UserError(f"algorithm: '{name}' must annotate its parameter 'config' with its type")
    config: Any = validated(config_type, experiment.algorithm.settings, "algorithm")

    def start(peer: Any) -> Any:
        return coroutine(peer, config)

    server = getattr(config, "server", None)
    if check:
        _check_server(server, experiment)
        _check_links(name, config, experiment)
    rounds = int(getattr(config, "rounds", 0))
    program = Program(name, start, rounds, server, settings=config)
    said = {key: getattr(config, key) for key in ("nets", "products") if hasattr(config, key)}
    return replace(program, **said)


def _check_server(server: int | None, experiment: Experiment) -> None:
    if server is not None and not 0 <= server < experiment.peers:
        raise UserError(
            f"algorithm.server: there is no peer {server}; ids are 0 to {experiment.peers - 1}"
        )
    if server is not None and experiment.peers < 2:
        raise UserError("peers: 1 is the server alone; an algorithm with a server needs workers")


def _check_links(name: str, config: Any, experiment: Experiment) -> None:
    """The links that the algorithm says it needs must be in the graph."""
    if not hasattr(config, "links"):
        return
    graph = experiment.graph_of_peers
    needed = [sorted(link) for link in config.links(experiment.peers)]
    missing = [f"{a}-{b}" for a, b in needed if not graph.has_edge(a, b)]
    if missing:
        server = getattr(config, "server", None)
        star = server == 0 and all(0 in link for link in needed)
        hint = "star (peer 0 is its centre)" if star else "complete"
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(
            f"graph: {name} needs links that are not there: {', '.join(missing[:3])}{more}; "
            f"'graph: {hint}' has them all"
        )


def _imported(name: str, experiment: Experiment) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        close = difflib.get_close_matches(name, ALGORITHMS, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UserError(
            f"algorithm.name: there is no algorithm '{name}'; {hint}choose one of "
            f"{', '.join(ALGORITHMS)}, or name your own as module:coroutine"
        )
    coroutine = import_attribute("algorithm.name", module, attribute, experiment.folder)
    if (
        not inspect.iscoroutinefunction(coroutine)
        or len(inspect.signature(coroutine).parameters) != 2
    ):
        raise UserError(f"algorithm.name: '{name}' must be 'async def {attribute}(peer, config)'")
    return coroutine
