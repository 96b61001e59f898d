"""What peers agree to do: one file, or folder, for one published system.

:func:`find` turns the experiment's ``algorithm:`` into a program. A user's own algorithm is a
coroutine of the same form, named as ``algorithm: {name: "module:coroutine", ...}``: it takes a peer
and ``config``, whose annotation gives the type of its settings (a pydantic model or a dataclass).
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from algorithms.registry import ALGORITHMS, CLOSED, coroutine_of
from peer.experiment import Experiment
from peer.experiment.validation import validated
from peer.gan.net_name import PAIR
from peer.gan.objectives import no_regulariser
from peer.gan.schedules import SETTINGS
from peer.program import Program
from peer.quality.together.network_moments import with_moments
from peer.state.moving_average import AVERAGE
from topology.errors import UserError

__all__ = ["ALGORITHMS", "find"]


def find(experiment: Experiment, *, check: bool = True) -> Program:
    """The program that the experiment's ``algorithm:`` names, with its settings.

    Args:
        experiment: names the algorithm, and has the peers and the graph that it runs on.
        check: whether to refuse an algorithm that needs a server or links that are not there.

    Raises:
        UserError: there is no such algorithm, it has no such setting, or it is refused.
    """
    name = experiment.algorithm.name
    coroutine = coroutine_of(experiment)
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
        _check_regulariser(config, experiment)
        _check_optimizer(name, config, experiment)
    rounds = int(getattr(config, "rounds", 0))
    program = Program(name, start, rounds, server, settings=config)
    program = replace(program, is_closed=name in CLOSED)
    given = {key: getattr(config, key) for key in ("nets", "products") if hasattr(config, key)}
    program = replace(program, **given)
    if experiment.conditional is not None:
        _check_pairs(program, experiment)
    return with_moments(_with_average(program, experiment), experiment)


def _check_pairs(program: Program, experiment: Experiment) -> None:
    """Refuse nets that are told classes where a peer judges, or draws, what another made.

    Images travel without their classes.
    """
    for k in range(experiment.peers):
        held = set(program.nets(k))
        if "generator" not in held or "discriminator" not in held:
            raise UserError(
                f"conditional: with {program.name}, peer {k} does not hold both nets, and images "
                "travel without their classes; leave conditional out, or choose an algorithm "
                "whose peers hold whole GANs, such as diffusion, fedavg or oasis"
            )


def _with_average(program: Program, experiment: Experiment) -> Program:
    """The program with one more net, the moving average of G, at each peer that holds a G.

    Raises:
        UserError: ``ema`` makes no sense with this algorithm.
    """
    if experiment.ema is None:
        return program
    if program.name == "oasis":
        raise UserError(
            "ema: oasis ends with the generators of groups, which come and go between rounds; "
            "leave ema out"
        )
    nets = program.nets
    without = [k for k in range(experiment.peers) if "generator" not in nets(k)]
    if experiment.ema.combine and without:
        raise UserError(
            f"ema.combine: peer {without[0]} has no generator in {program.name}, and so no average "
            "to combine; leave combine out"
        )

    def with_average(peer: int) -> Sequence[str]:
        return (*nets(peer), AVERAGE) if "generator" in nets(peer) else nets(peer)

    return replace(program, nets=with_average)


def _check_server(server: int | None, experiment: Experiment) -> None:
    if server is not None and not 0 <= server < experiment.peers:
        raise UserError(
            f"algorithm.server: there is no peer {server}; ids are 0 to {experiment.peers - 1}"
        )
    if server is None and experiment.backups:
        raise UserError(
            f"backups: they stand by for a server, and {experiment.algorithm.name} has none; leave "
            "backups out"
        )
    if server is not None and experiment.peers < 2:
        raise UserError("peers: 1 is the server alone; an algorithm with a server needs workers")


def _check_regulariser(config: Any, experiment: Experiment) -> None:
    """Refuse a loss without the regulariser that the algorithm's settings ask for (Oasis)."""
    gamma = getattr(getattr(config, "regulariser", None), "gamma", 0)
    loss = experiment.loss_functions()
    if gamma and loss.penalty is None:
        raise UserError(no_regulariser(loss))


def _check_optimizer(name: str, config: Any, experiment: Experiment) -> None:
    """Refuse anything but plain SGD where the algorithm's formula says what a step is."""
    if not getattr(config, "plain_sgd", False):
        return
    for net in PAIR:
        optimizer = experiment.optimizer_for(net)
        if optimizer.name != "sgd":
            raise UserError(
                f"optimizer: the steps of {name} are plain sgd, and the {net}'s optimizer is "
                f"{optimizer.name}; set optimizer: {{name: sgd, lr: 0.05}}, or one such a net"
            )
        for key, value in optimizer.settings.items():
            if key not in ("lr", *SETTINGS) and value:
                raise UserError(
                    f"optimizer.{key}: the steps of {name} are plain sgd, without the {net}'s "
                    f"{key}: {value}; leave it out"
                )


def _check_links(name: str, config: Any, experiment: Experiment) -> None:
    """Refuse a graph without the links that the algorithm's settings ask for."""
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
