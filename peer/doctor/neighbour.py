"""One neighbour, layer by layer: name, route, port, key, experiment, threads, torch, clock."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from peer.doctor.finding import Finding
from peer.experiment import Experiment
from peer.experiment.addresses import is_ipc, look_up, split
from peer.machine.likeness import Likeness, likeness
from peer.net.reach.probe import ask
from peer.net.reach.resolver import Find
from peer.net.session import Identity
from peer.net.sockets import Security

CLOCKS_APART = 30.0
"""Seconds that two clocks may differ by: an answer may itself take some."""

BROWSE = "avahi-browse --resolve --terminate _hearsay._tcp"
"""Shows who announces itself on this network."""

NOT_THERE = ("port", "route")
"""Layers of a neighbour that may just not have been started yet."""


def examine_neighbour(
    experiment: Experiment,
    neighbour: int,
    me: Identity,
    security: Security | None,
    file: Path,
    must_be_there: bool,
    find: Find = look_up,
) -> Finding:
    """Ask it whether it would take us, and compare its machine with ours.

    Args:
        experiment: the same at every peer.
        neighbour: whom to ask.
        me: what we say we are.
        security: our keys.
        file: the experiment's, for the commands that mend.
        must_be_there: whether one that nobody has started yet is a fault.
        find: looks names up.
    """
    address = experiment.address(neighbour)
    where = f"neighbour {neighbour} at {address}: "
    told = ask(neighbour, address, me, security, find)
    is_hidden = experiment.discovers and told.layer == "name"  # who is not started says nothing
    if (told.layer in NOT_THERE or is_hidden) and not must_be_there:
        return Finding("", f"{where}is not there yet ({told.layer}: {told.words})")
    if told.layer:
        host = None if is_ipc(address) else split(address)[1]
        mends = _mends(neighbour, me.peer, host or "that machine", file)
        mend = BROWSE if is_hidden else mends[told.layer]
        return Finding(told.layer, f"{where}{told.layer}: {told.words}", mend)
    theirs = Likeness.from_word(told.machine)
    if theirs is None:
        return Finding("", where + told.words)
    return _compare(theirs, likeness(), where) or Finding("", where + told.words)


def _compare(theirs: Likeness, ours: Likeness, where: str) -> Finding | None:
    """In what the other machine differs, where that matters."""
    if theirs.torch != ours.torch:
        return Finding(
            "torch",
            f"{where}torch: it has {theirs.torch}, and this machine {ours.torch}; they train "
            "together, but not bit for bit as a simulation does; install one on both",
            f"{shlex.quote(sys.executable)} -m pip install torch=={theirs.torch.partition('+')[0]}",
        )
    apart = theirs.clock - ours.clock
    if abs(apart) > CLOCKS_APART:
        return Finding(
            "clock",
            f"{where}clock: it is {_duration(abs(apart))} {'ahead of' if apart > 0 else 'behind'} "
            f"this machine's ({time.strftime('%F %T', time.gmtime(ours.clock))} UTC here); set "
            "the wrong one by the network's time",
            "sudo timedatectl set-ntp true",
        )
    return None


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _mends(neighbour: int, me: int, host: str, file: Path) -> dict[str, str]:
    """The command that mends each layer."""
    shown = shlex.quote(str(file))
    return {
        "name": f"getent hosts {host}",
        "route": f"ping -c 3 {host}",
        "port": f"peer --id {neighbour} --topology {shown}",
        "key": f"peer keys --id {me}",
        "experiment": f"scp {shown} {host}:",
        "threads": f"scp {shown} {host}:",
        "data": f"scp {shown} {host}:",
    }
