"""Peers that the experiment file does not list: who they are to those that let them in.

A newcomer has the same file as everybody, and an id beyond those that it lists. Its key and its
address are told to its neighbours alone, each by its own operator (`peer admit`): nobody is let in
on another peer's word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from peer.codecs import Choco
from peer.experiment.addresses import check_dialled
from peer.experiment.schema import Experiment
from peer.program import Program
from peer.state.disk import REAL, replacing
from topology.errors import UserError

FILE = "admitted.json"
"""Of those that a peer lets in, in its folder."""

LOOPBACK = "tcp://127.0.0.1:{port}"


@dataclass(frozen=True)
class Contact:
    """What a peer must know of a neighbour.

    Attributes:
        address: where it is reached.
        key: its public key; None in plain text.
        invited: it came by a code, and was let in on no operator's word about itself.
        since: the round from which on an earlier one of that id was gone; -1 where there was none.
    """

    address: str
    key: str | None = None
    invited: bool = False
    since: int = field(default=-1, compare=False)


def contacts_of(
    experiment: Experiment,
    peer: int,
    links: Iterable[int] = (),
    admitted: Mapping[int, Contact] | None = None,
    address: str | None = None,
) -> dict[int, Contact]:
    """Where a peer and its neighbours are, and their public keys.

    Args:
        experiment: the same at every peer.
        peer: which one.
        links: its neighbours beyond those that the file names.
        admitted: whom it lets in; they are its neighbours, too.
        address: its own, where the file does not say.

    Raises:
        UserError: it is not known where one of them is.
    """
    admitted = admitted or {}
    listed = experiment.graph_of_peers.neighbors(peer) if peer < experiment.peers else ()
    found = {peer: Contact(address_of(experiment, peer, address), experiment.keys.get(peer))}
    for k in sorted({*listed, *links, *admitted} - {peer}):
        known = admitted.get(k)
        found[k] = known or Contact(address_of(experiment, k), experiment.keys.get(k))
    return found


def listed_contacts(experiment: Experiment, ids: Iterable[int]) -> dict[int, Contact]:
    """Where those processes are, and their public keys, as the file says."""
    return {k: Contact(experiment.address(k), experiment.keys.get(k)) for k in ids}


def address_of(experiment: Experiment, peer: int, given: str | None = None) -> str:
    """Where ``peer`` is reached: as is ``given``, or as the file's template says.

    Raises:
        UserError: neither says so, or what is given is no address.
    """
    if given is not None:
        check_dialled(given, peer)
        return given
    if not isinstance(experiment.addresses, str) and peer >= len(experiment.addresses):
        raise UserError(
            f"--address: the file lists an address for each of its {experiment.peers} peers, and "
            f"none for peer {peer}; say where it is, such as --address tcp://192.168.0.15:47105"
        )
    return experiment.address(peer)


def check_newcomer(
    experiment: Experiment, program: Program, peer: int, joins: bool, links: Sequence[int]
) -> None:
    """Refuse a peer that the file does not list, unless it joins, and can.

    Raises:
        UserError: saying what is in the way.
    """
    if joins and experiment.durability == "exact":
        raise UserError("--join: durability: exact keeps to the peers that the file lists")
    if joins and isinstance(experiment.codec, Choco):
        raise UserError(
            "--join: compression: choco keeps copies at both ends of fixed links; nobody can join"
        )
    wrong = [k for k in links if k == peer or k < 0]
    if wrong:
        raise UserError(f"--links: {wrong[0]} is no neighbour of peer {peer}; name others' ids")
    if links and not joins:
        raise UserError("--links: are those of a peer that joins; say --join, too")
    if 0 <= peer < experiment.peers:
        return
    listed = f"the experiment has peers 0 to {experiment.peers - 1}"
    if not joins:
        raise UserError(
            f"--id {peer}: {listed}; choose one, or join them: --join --links 0,1, with the ids of "
            "those that let it in"
        )
    if not links:
        raise UserError(f"--id {peer}: {listed}; say --links 0,1: with whom it exchanges")
    if program.is_closed:
        raise UserError(
            f"--id {peer}: {listed}, and {program.name} gives each a part by its id: nobody else "
            "can join"
        )
    if experiment.metrics.quality_every and experiment.data.partition.name == "own":
        raise UserError(
            "--join: the peers average moments of their images before the first round, for "
            "metrics.quality_every; a peer that the file does not list cannot join those"
        )


def as_listed(experiment: Experiment, peer: int) -> Experiment:
    """The experiment with so many peers that ``peer`` is one: what its data and nets come from."""
    if peer < experiment.peers:
        return experiment
    alone = {"graph": "star", "weights": "metropolis", "addresses": LOOPBACK, "keys": {}}
    return experiment.varied(peers=peer + 1, faults=[], **alone)


def read_admitted(folder: Path) -> dict[int, Contact]:
    """Whom the peer with that folder lets in, by id.

    Raises:
        UserError: the file that says so is damaged.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {int(k): Contact(**each) for k, each in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as problem:
        raise UserError(
            f"{path}: cannot be read ({problem}); remove it, and say 'peer admit' again"
        ) from None


def write_admitted(folder: Path, admitted: Mapping[int, Contact]) -> None:
    """Keep whom a peer lets in, so that it does when it is started again.

    Raises:
        UserError: it cannot be written.
    """
    content = json.dumps({str(k): asdict(each) for k, each in sorted(admitted.items())}, indent=2)
    try:
        with replacing(folder / FILE, disk=REAL) as file:
            file.write(content.encode() + b"\n")
    except OSError as problem:
        raise UserError(f"{folder / FILE}: cannot be written: {problem.strerror}") from None
