"""``peer check``: checks of a file and of this machine before anything runs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

import topology
from peer.data import Description, check_alike, common_classes, load_source, partition
from peer.data.classes import shown
from peer.data.description import refuse_mixture
from peer.experiment import Experiment
from peer.experiment.addresses import where_to_listen
from peer.net.reach.probe import ask, ask_whether_it_runs
from peer.net.session import Identity
from peer.net.sockets import Security, Sockets
from peer.program import Program
from peer.runtime.identity import identify, is_open, security_of
from peer.runtime.loading import load_peer
from peer.state import PeerState
from topology.errors import UserError, note


def check_everything(
    experiment: Experiment, program: Program, peer: int | None, keys: Path, console: Console
) -> bool:
    """Check one peer, or all peers of the file if None, and print a line for each check.

    Returns:
        Whether all is well. A neighbour that does not answer yet is no fault: it may not have been
        started.

    Raises:
        UserError: there is no such peer.
    """
    graph = experiment.graph_of_peers
    lambda_2 = topology.contraction(experiment.schedule, experiment.weights)
    spectrum = "drawn anew in every round" if lambda_2 is None else f"lambda_2 = {lambda_2:.4f}"
    console.print(f"graph: {experiment.peers} peers, {graph.number_of_edges()} links, {spectrum}")
    if peer is not None and not 0 <= peer < experiment.peers:
        raise UserError(f"--id {peer}: the experiment has peers 0 to {experiment.peers - 1}")
    chosen = range(experiment.peers) if peer is None else [peer]
    union = _union_here(experiment, program)
    found = [_check_peer(experiment, program, k, keys, console, k == peer, union) for k in chosen]
    good = all(found)
    if good and peer is None:
        try:
            check_data(experiment, program)
        except UserError as problem:
            good = False
            console.print(str(problem), style="red", soft_wrap=True)
    return good


def _check_peer(
    experiment: Experiment,
    program: Program,
    peer: int,
    keys: Path,
    console: Console,
    asks_neighbours: bool,
    union: tuple[str, ...] | None,
) -> bool:
    """Check one peer, layer by layer; returns whether nothing is wrong.

    ``union`` are the classes that all peers have together, where that can be seen from here.
    """
    good = True

    def say(is_good: bool, words: str) -> None:
        nonlocal good
        good = good and is_good
        line = f"peer {peer}: {words}"
        console.print(line, style=None if is_good else "red", highlight=False, soft_wrap=True)

    me = security = None
    try:
        state, source = load_peer(experiment, peer, program)
        me = identify(experiment, state, source, program.workers(experiment.peers))
        say(True, f"data and model: {_held(state)}")
        if isinstance(source, Description) and is_open(experiment, source):
            say(True, f"classes: {_classes(source.names or (), union)}")
    except UserError as problem:
        say(False, str(problem))
    has_key = False
    try:
        security = security_of(experiment, peer, keys)
        has_key = True
        none = "none needed on loopback" if not experiment.insecure else "none: insecure is set"
        say(True, f"key: {none if security is None else 'there, and the file names it'}")
    except UserError as problem:
        say(False, str(problem))
    say(*_own_address(experiment, peer, me if has_key else None, security))
    if asks_neighbours and me is not None and has_key:
        for neighbour in sorted(experiment.graph_of_peers.neighbors(peer)):
            is_good, words = ask(neighbour, experiment.address(neighbour), me, security)
            say(is_good, f"neighbour {neighbour} at {experiment.address(neighbour)}: {words}")
    return good


def check_data(experiment: Experiment, program: Program) -> None:
    """Refuse what any peer's data on this machine, or all of them together, would be refused for.

    Raises:
        UserError: data that are not there or cannot be shared out, or that differ between peers in
            the shape of their images, or in whether they have classes.
    """
    data, workers = experiment.data, program.workers(experiment.peers)
    if not data.per_peer or data.source == "synthetic":
        images = load_source(data, workers[0], experiment.folder)
        partition(data, images, len(workers), experiment.seed)
        return
    found = {k: Description.of(load_source(data, k, experiment.folder)) for k in workers}
    refuse_mixture({k: of.classes > 0 for k, of in found.items()})
    check_alike(found, classes=not is_open(experiment, found[workers[0]]))
    for k in workers[1:]:
        for doubt in found[workers[0]].doubts(found[k]):
            note(f"data.path: the images of peer {k} {doubt} (peer {workers[0]}); look at them")


def _union_here(experiment: Experiment, program: Program) -> tuple[str, ...] | None:
    """The classes of all peers with images of their own; None where not all of them are here."""
    if not experiment.data.per_peer:
        return None
    try:
        return common_classes(experiment.data, program.workers(experiment.peers), experiment.folder)
    except UserError:  # what is wrong with a peer's own images is said where they are checked
        return None


def _classes(own: tuple[str, ...], union: tuple[str, ...] | None) -> str:
    if union is None:
        return f"{shown(own)} (this peer's; all peers agree on a list when they meet)"
    others = f" (this peer has {shown(own)})" if set(own) != set(union) else ""
    return f"{shown(union)}{others}"


def _held(state: PeerState) -> str:
    parameters = sum(net.arena.layout.parameter_count for net in state.nets.values())
    held = "no images (it is the server)"
    if state.shard is not None:
        held = f"{len(state.shard)} images of its own"
    return f"{held}, {parameters:,} parameters"


def _own_address(
    experiment: Experiment, peer: int, me: Identity | None, security: Security | None
) -> tuple[bool, str]:
    """Whether a peer can listen where it is to listen; of one that runs, that it runs."""
    listen, note = experiment.listening_address(peer), ""
    if experiment.listen is None:
        listen, note = where_to_listen(listen)
    try:
        Sockets(listen, {}, None).close(0)
    except UserError as problem:
        if me is None or "in use" not in str(problem):
            return False, str(problem)
        here = listen.replace("//*:", "//127.0.0.1:").replace("//0.0.0.0:", "//127.0.0.1:")
        words = ask_whether_it_runs(here, me, security)
        return "runs" in words, f"address: {words}"
    return True, f"address: {listen} is free{'; ' if note else ''}{note}"
