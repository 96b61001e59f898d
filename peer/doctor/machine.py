"""What a peer needs of its own machine: disk, memory, descriptors, processors."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
from pathlib import Path

import torch

from peer.doctor.finding import Finding
from peer.experiment import Experiment
from peer.machine.descriptors import require_descriptors
from peer.state import PeerState
from peer.state.disk import REAL, replacing
from topology.errors import UserError

CHECKPOINTS = 4
"""Checkpoints that lie on the disk at once: three that are kept, and one that is written."""

FLOATS_SAVED, FLOATS_HELD = 4, 8
"""Of each parameter: in a checkpoint (values and moments), and in memory (with gradients, a
checkpoint's copy, and two buffers that are sent); a neighbour adds two that are received."""

WORK = 32 << 20
"""Bytes that a peer takes while it trains, whatever its nets."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container or a service may have."""


def examine_machine(
    experiment: Experiment, state: PeerState, neighbours: int, folder: Path
) -> list[Finding]:
    """Disk, memory, descriptors and processors, in this order."""
    floats = sum(net.arena.layout.length for net in state.nets.values())
    return [
        examine_disk(folder, 4 * FLOATS_SAVED * floats),
        examine_memory(WORK + 4 * floats * (FLOATS_HELD + 2 * neighbours)),
        examine_descriptors(neighbours),
        examine_threads(experiment.threads),
    ]


def examine_disk(folder: Path, checkpoint: int) -> Finding:
    """Write a checkpoint's bytes where the run would lie, and take them away again."""
    place = folder
    while not place.is_dir():
        place = place.parent
    trial = place / f"doctor-{os.getpid()}"
    free = shutil.disk_usage(place).free
    try:
        with replacing(trial) as file:
            for _ in range(max(1, checkpoint >> 20)):
                file.write(bytes(min(1 << 20, checkpoint)))
        REAL.remove(trial)
    except OSError as problem:
        return Finding(
            "disk",
            f"{place} takes no checkpoint of {checkpoint:,} bytes: {problem.strerror}; make room, "
            "or name another folder with --run-dir",
            f"df -h {shlex.quote(str(place))}",
        )
    if free < CHECKPOINTS * checkpoint:
        return Finding(
            "disk",
            f"{place} has {free:,} bytes free, and the {CHECKPOINTS} checkpoints of a run take "
            f"{CHECKPOINTS * checkpoint:,}; make room, or name another folder with --run-dir",
            f"df -h {shlex.quote(str(place))}",
        )
    return Finding("", f"disk: {place} can be written, {_large(free)} free")


def examine_memory(needed: int) -> Finding:
    """What the system, the container and the process's own limit leave, against what is needed."""
    left, whose = min(_memory_left())
    if left < needed:
        return Finding(
            "memory",
            f"training takes {_large(needed)} more, and {whose} leaves {_large(left)}; raise that, "
            "or choose smaller nets",
            "ulimit -v unlimited" if whose == "ulimit -v" else "free -m",
        )
    return Finding("", f"memory: {_large(left)} left, {_large(needed)} needed")


def _memory_left() -> list[tuple[int, str]]:
    """Bytes that may still be had, by each who limits them."""
    found = [(1 << 62, "no limit")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        sizes = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = sum(int(sizes[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
        found.append((free << 10, "this machine"))
    try:
        most, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append((most - used, "the container or service (MemoryMax)"))
    except (OSError, ValueError):  # no Linux, no limit ("max"), or not ours to see
        pass
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if soft != resource.RLIM_INFINITY and statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        found.append((soft - used, "ulimit -v"))
    return found


def examine_descriptors(neighbours: int) -> Finding:
    """Open files and connections for every neighbour."""
    try:
        require_descriptors(neighbours)
    except UserError as problem:
        words, _, mend = str(problem).partition("; raise it: ")
        return Finding("descriptors", words, mend)
    return Finding("", f"descriptors: enough for {neighbours} neighbours")


def examine_threads(threads: int) -> Finding:
    """Whether the experiment's number of threads is one that this machine has processors for."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if not hasattr(os, "sched_getaffinity"):
        processors = os.cpu_count() or 1
    if threads > processors:
        return Finding(
            "threads",
            f"threads: {threads} are more than the {processors} processors that this peer may use, "
            f"and would wait for each other; say threads: {processors} in the file of every peer",
            "nproc",
        )
    build = f"torch {torch.__version__}"
    return Finding("", f"threads: {threads} of {processors} processors; {build}")


def _large(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
