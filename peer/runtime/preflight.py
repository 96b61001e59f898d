"""``peer check``: what can be known before anything runs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

import topology
from peer.data import Description, check_alike, load_source, partition
from peer.experiment import Experiment
from peer.experiment.addresses import answers, ipc_path, is_ipc
from peer.net.keys import curve_secret
from peer.net.sockets import Sockets
from peer.program import Program
from peer.runtime.process import load_peer
from topology.errors import UserError, note


def check_everything(
    experiment: Experiment, program: Program, peer: int | None, keys: Path, console: Console
) -> bool:
    """Check one peer, or all peers of the file on this machine; says what it finds, line by line.

    Returns whether everything that must be there is; that neighbours do not answer yet is not a
    fault, they may not have been started.
    """
    graph = experiment.graph_of_peers
    lambda_2 = topology.contraction(experiment.schedule, experiment.weights)
    spectrum = "drawn anew in every round" if lambda_2 is None else f"lambda_2 = {lambda_2:.4f}"
    console.print(f"graph: {experiment.peers} peers, {graph.number_of_edges()} links, {spectrum}")
    if peer is not None and not 0 <= peer < experiment.peers:
        raise UserError(f"--id {peer}: the experiment has peers 0 to {experiment.peers - 1}")
    chosen = range(experiment.peers) if peer is None else [peer]
    good = True
    for k in chosen:
        checks: dict[str, Callable[[], str]] = {
            "data and model": lambda k=k: _data(experiment, program, k),  # type: ignore[misc]
            "key": lambda k=k: _key(experiment, k, keys),  # type: ignore[misc]
            "address": lambda k=k: _address(experiment, k),  # type: ignore[misc]
        }
        for name, check in checks.items():
            try:
                console.print(f"peer {k}: {name}: {check()}", highlight=False, soft_wrap=True)
            except UserError as problem:
                good = False
                console.print(f"peer {k}: {problem}", style="red", soft_wrap=True)
        if peer is not None:
            for neighbour in sorted(graph.neighbors(k)):
                console.print(f"peer {k}: neighbour {neighbour}: {_reach(experiment, neighbour)}")
    if good and peer is None:
        try:
            check_data(experiment, program)
        except UserError as problem:
            good = False
            console.print(str(problem), style="red", soft_wrap=True)
    return good


def check_data(experiment: Experiment, program: Program) -> None:
    """Refuse what any peer's data on this machine, or all of them together, would be refused for.

    Raises:
        UserError: data that are not there or cannot be shared out, or that differ between peers in
            their classes or in the shape of their images.
    """
    data, workers = experiment.data, program.workers(experiment.peers)
    if not data.per_peer or data.source == "synthetic":
        images = load_source(data, workers[0], experiment.folder)
        partition(data, images, len(workers), experiment.seed)
        return
    found = {k: Description.of(load_source(data, k, experiment.folder)) for k in workers}
    check_alike(found)
    for k in workers[1:]:
        for doubt in found[workers[0]].doubts(found[k]):
            note(f"data.path: the images of peer {k} {doubt} (peer {workers[0]}); look at them")


def _data(experiment: Experiment, program: Program, peer: int) -> str:
    state, _ = load_peer(experiment, peer, program)
    parameters = sum(net.arena.layout.parameter_count for net in state.nets.values())
    held = "no images (it is the server)"
    if state.shard is not None:
        held = f"{len(state.shard)} images of its own"
    return f"{held}, {parameters:,} parameters"


def _key(experiment: Experiment, peer: int, keys: Path) -> str:
    secret = curve_secret(experiment, peer, keys)
    return "none needed on loopback" if secret is None else "there, and the file names it"


def _address(experiment: Experiment, peer: int) -> str:
    listen = experiment.listening_address(peer)
    Sockets(listen, {}, None).close(0)
    return f"{listen} is free"


def _reach(experiment: Experiment, neighbour: int) -> str:
    address = experiment.address(neighbour)
    if is_ipc(address):
        there = answers(ipc_path(address))
        return f"answers at {address}" if there else f"does not answer at {address} yet"
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=3):
            return f"answers at {parts.netloc}"
    except OSError as problem:
        return f"does not answer at {parts.netloc} yet ({problem.strerror or problem})"
