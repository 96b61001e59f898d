"""The examination: of a file and of this machine, and of every neighbour."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import topology
from peer.console import what_is_lacking
from peer.data import Description, common_classes
from peer.data.classes import shown
from peer.discover.mdns import Discovery, network_of
from peer.doctor.finding import Finding
from peer.doctor.machine import examine_machine
from peer.doctor.neighbour import examine_neighbour
from peer.experiment import Experiment
from peer.experiment.addresses import is_ipc, look_up, where_to_listen
from peer.net.reach.probe import ask_whether_it_runs
from peer.net.reach.resolver import Find
from peer.net.session import Identity
from peer.net.sockets import Security, Sockets
from peer.program import Program
from peer.runtime.identity import identify, is_open, security_of
from peer.runtime.loading import load_peer
from peer.runtime.preflight import check_data
from peer.state import PeerState
from topology.errors import UserError

Say = Callable[[Finding], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be examined.

    Attributes:
        peer: whose machine this is; None where all peers of the file are on it, whose neighbours
            are not asked.
        file: the experiment's, for the commands that mend.
        keys: the folder of secret keys.
        folder: where the run would be written.
        must_be_there: whether a neighbour that nobody has started yet is a fault.
    """

    peer: int | None
    file: Path
    keys: Path
    folder: Path
    must_be_there: bool = True


def examine(
    experiment: Experiment, program: Program, wanted: Wanted, console: Console
) -> list[Finding]:
    """Examine one peer, or all peers of the file, and print a line for each finding.

    Returns:
        The faults, in the order in which they were found: mending the first may mend the others.

    Raises:
        UserError: there is no such peer.
    """
    graph = experiment.graph_of_peers
    lambda_2 = topology.contraction(experiment.schedule, experiment.weights)
    spectrum = "drawn anew in every round" if lambda_2 is None else f"lambda_2 = {lambda_2:.4f}"
    console.print(f"graph: {experiment.peers} peers, {graph.number_of_edges()} links, {spectrum}")
    peer = wanted.peer
    if peer is not None and not 0 <= peer < experiment.peers:
        raise UserError(f"--id {peer}: the experiment has peers 0 to {experiment.peers - 1}")
    union = _union_here(experiment, program)
    faults: list[Finding] = []

    def say(finding: Finding, who: str) -> None:
        style = "red" if finding.is_fault else None
        console.print(f"{who}{finding.words}", style=style, highlight=False, soft_wrap=True)
        if finding.is_fault:
            faults.append(finding)

    for k in range(experiment.peers) if peer is None else [peer]:

        def of_peer(finding: Finding, k: int = k) -> None:
            say(finding, f"peer {k}: ")

        _examine_peer(experiment, program, k, wanted, of_peer, union)
    if peer is None and not faults:
        try:
            check_data(experiment, program)
        except UserError as problem:
            say(Finding("data", str(problem)), "")
    return faults


def _examine_peer(
    experiment: Experiment,
    program: Program,
    peer: int,
    wanted: Wanted,
    say: Say,
    union: tuple[str, ...] | None,
) -> None:
    """Examine one peer, layer by layer.

    ``union`` are the classes that all peers have together, where that can be seen from here.
    """
    neighbours = sorted(experiment.graph_of_peers.neighbors(peer))
    me = security = None
    lacking = False
    try:
        state, source = load_peer(experiment, peer, program)
        me = identify(experiment, state, source, program.workers(experiment.peers))
        say(Finding("", f"data and model: {_held(state)}"))
        if isinstance(source, Description) and is_open(experiment, source):
            say(Finding("", f"classes: {_classes(source.names or (), union)}"))
        of_machine = examine_machine(experiment, state, len(neighbours), wanted.folder)
        for finding in of_machine:
            say(finding)
        lacking = any(finding.layer in ("memory", "descriptors") for finding in of_machine)
    except (UserError, MemoryError, RuntimeError) as problem:  # torch's own are of no class
        words = what_is_lacking(problem)
        if words:
            say(Finding("memory", words, "free -m"))
            return
        if not isinstance(problem, UserError):
            raise
        say(Finding("data" if str(problem).startswith("data") else "experiment", str(problem)))
    if lacking:
        return  # sockets would be refused for that, too, and say something else
    has_key = False
    try:
        security = security_of(experiment, peer, wanted.keys)
        has_key = True
        none = "none needed on loopback" if not experiment.insecure else "none: insecure is set"
        found = none if security is None else "there, and the file names it"
        say(Finding("", f"key: {found}"))
    except UserError as problem:
        say(Finding("key", str(problem), f"peer keys --id {peer}"))
    say(_own_address(experiment, peer, me if has_key else None, security))
    if wanted.peer is not None and me is not None and has_key:
        with _names(experiment) as find:
            for k in neighbours:
                there = wanted.must_be_there
                say(examine_neighbour(experiment, k, me, security, wanted.file, there, find))


@contextlib.contextmanager
def _names(experiment: Experiment) -> Iterator[Find]:
    """What looks neighbours' names up: the system, or mDNS."""
    if not experiment.discovers:
        yield look_up
        return
    with contextlib.closing(Discovery(network_of(experiment), lambda line: None)) as discovery:
        yield discovery.find


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
) -> Finding:
    """Whether a peer can listen where it is to listen; of one that runs, that it runs."""
    listen, note = experiment.listening_address(peer), ""
    if experiment.listen is None:
        listen, note = where_to_listen(listen)
    try:
        Sockets(listen, {}, None).close(0)
    except UserError as problem:
        if me is None or "in use" not in str(problem):
            layer = "name" if "is not known to this machine" in str(problem) else "port"
            return Finding(layer, str(problem))
        here = listen.replace("//*:", "//127.0.0.1:").replace("//0.0.0.0:", "//127.0.0.1:")
        words = ask_whether_it_runs(here, me, security)
        if "runs" in words:
            return Finding("", f"address: {words}")
        of_port = listen.rpartition(":")[2]
        who = "ss -xlp" if is_ipc(listen) else f"ss -ltnp 'sport = :{of_port}'"
        return Finding("port", f"address: {words}; stop that, or choose another 'port'", who)
    return Finding("", f"address: {listen} is free{'; ' if note else ''}{note}")
