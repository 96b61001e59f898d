"""Does a network of real peers stand faults for as long as one likes, without a hang or a leak?

``python -m tests.soak --minutes 480`` starts sixteen peers behind ``peer chaos``, which resets and
cuts their connections at random, and does something to one of them every thirty seconds: kill -9
and a restart, a stop (SIGSTOP), a full disk (as root, on a tmpfs of its own). It then stops all,
and says what it saw: hangs, slopes of memory and descriptors, classes covered beside a simulation
of as many rounds without faults. Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import theilslopes

import sim
from sim.studies.evaluate import evaluate_run
from tests.real.conftest import SMALL
from tests.support.processes import ForkedPeer, Processes, until

PEERS = 16
EVERY = 30.0
"""Seconds between two faults of a process; those of connections come about as often."""

LOOK = 5.0
"""Seconds between two looks at every process."""

QUIET = 60.0
"""Seconds without faults of processes at the end: then everybody has to go on."""

HANG = 150.0
"""Seconds without a completed round, beside one's own faults, that are a hang."""

LOADS = 90.0
"""Seconds that a process may take until its first round."""

WARM = 90.0
"""Seconds of a process that are left out of slopes, at least: it loads, and its buffers grow."""

WARM_SHARE = 1 / 3
"""The same, as a part of its life."""

ENOUGH = 120.0
"""Seconds that have to be left."""

SAMPLES = 500
"""Of a life, at most, that a slope is taken from."""

KEYS: dict[str, Any] = SMALL | {
    "peers": PEERS,
    "graph": {"family": "torus"},
    "batch": 16,
    "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},  # or they cover two digits
    "data": {"source": "digits", "partition": "pairs"},
    "deadline": 10.0,
    "checkpoint": 20,
    "alone": True,
    "algorithm": {"name": "diffusion", "rounds": 1_000_000},
    "metrics": {"every": 10},
}


@dataclass
class Life:
    """One process of a peer: what was seen of it, every few seconds."""

    process: ForkedPeer
    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def look(self, now: float) -> None:
        """Take a sample."""
        pid = self.process._process.pid
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            count = len(os.listdir(f"/proc/{pid}/fd"))
        except (OSError, IndexError):
            return  # it is no more
        self.seconds.append(now)
        self.mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.descriptors.append(count)

    def slopes(self) -> tuple[float, float] | None:
        """MiB and descriptors an hour, once it is warm; None where it was not there for long.

        Medians of the slopes between any two samples (Theil and Sen): a step is no slope.
        """
        t = np.array(self.seconds)
        if not len(t):
            return None
        age = t - t[0]
        warm = np.flatnonzero(age >= max(WARM, WARM_SHARE * age[-1]))
        if not len(warm) or age[-1] - age[warm[0]] < ENOUGH:
            return None
        warm = warm[:: -(-len(warm) // SAMPLES)]
        values = (np.array(each)[warm] for each in (self.mib, self.descriptors))
        mib, descriptors = (3600 * float(theilslopes(each, t[warm])[0]) for each in values)
        return mib, descriptors


@dataclass
class Found:
    """What came of a soak.

    Attributes:
        minutes: that it took.
        faults: of processes, by kind.
        rounds: that each peer completed.
        hangs: seconds, by peer, in which one that was there completed no round: too many.
        codes: with which peers ended when they were asked to stop.
        mib_an_hour: the slope of memory, the median and the largest over processes.
        descriptors_an_hour: that of open files.
        covered: digits, by peer; of the soak, and without faults.
        covered_without: likewise.
        chaos: what the proxies did, in their words.
    """

    minutes: float
    faults: dict[str, int]
    rounds: list[int]
    hangs: dict[int, float]
    codes: list[int]
    mib_an_hour: tuple[float, float]
    descriptors_an_hour: tuple[float, float]
    covered: list[int]
    covered_without: list[int]
    chaos: str

    def broken(self, mib: float = 60.0, descriptors: float = 30.0) -> list[str]:
        """The promises that were not kept; slopes an hour are medians."""
        found = [f"peer {k} hangs: no round in {s:.0f} s" for k, s in self.hangs.items()]
        if set(self.codes) - {0, 130}:
            found.append(f"exit codes {self.codes}")
        if self.mib_an_hour[0] > mib:
            found.append(f"memory grows by {self.mib_an_hour[0]:.1f} MiB an hour")
        if abs(self.descriptors_an_hour[0]) > descriptors:
            found.append(f"descriptors change by {self.descriptors_an_hour[0]:.1f} an hour")
        if statistics.fmean(self.covered) < statistics.fmean(self.covered_without) - 1.0:
            found.append(f"covered {self.covered}, without faults {self.covered_without}")
        return found


class Soak:
    """Sixteen peers, and what is done to them.

    Args:
        processes: starts them.
        seed: of the faults.
        tell: gets a line for each fault.
    """

    def __init__(self, processes: Processes, seed: int, tell: Callable[[str], None]) -> None:
        self.processes = processes
        self.run = processes.folder / "run"
        self.draws = random.Random(seed)
        self.tell = tell
        self.faults: dict[str, int] = {}
        self.lives: list[Life] = []
        self.peers: dict[int, Life] = {}
        self.small_disks: set[int] = set()
        self.hangs: dict[int, float] = {}
        self._moved: dict[int, tuple[int, float]] = {}  # bytes of records, and when they grew
        self._began = time.monotonic()
        first = _free_ports(random.Random(), 2 * PEERS)
        addresses = [f"tcp://127.0.0.1:{first + k}" for k in range(PEERS)]
        file = processes.write(KEYS | {"addresses": addresses, "port": first})
        offset = PEERS
        bad = ["--reset-every", "1920", "--cut-every", "3840", "--stall-every", "1920"]
        words = ["chaos", "--topology", str(file), "--offset", str(offset), *bad]
        self.chaos = processes.command(*words)
        until(self.chaos, f"peer {PEERS - 1}: ")
        _drain(self.chaos, processes.folder / "chaos.log")
        self.file = processes.folder / "chaos.yaml"
        self.small_disks.update(k for k in (PEERS - 1,) if self._small_disk(k))
        for k in range(PEERS):
            self.start(k)

    def _small_disk(self, peer: int) -> bool:
        """Give a peer's folder a file system of its own, if we may."""
        folder = self.run / f"peer-{peer}"
        folder.mkdir(parents=True)
        words = ["mount", "-t", "tmpfs", "-o", "size=24m", "soak", str(folder)]
        return subprocess.run(words, capture_output=True).returncode == 0

    def start(self, peer: int) -> None:
        """Start a process of a peer; it goes on from what is there."""
        process = self.processes.peer(self.file, peer)
        _drain(process, self.processes.folder / f"peer-{peer}.log")
        self.peers[peer] = Life(process)
        self.lives.append(self.peers[peer])
        self._moved[peer] = (-1, time.monotonic() + LOADS)

    def wait(self, seconds: float) -> None:
        """Let time pass, and look at everybody meanwhile."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for k, life in self.peers.items():
                life.look(now - self._began)
                self._watch(k, now)
            time.sleep(min(LOOK, max(0.0, end - now)))

    def _watch(self, peer: int, now: float) -> None:
        path = self.run / f"peer-{peer}" / "metrics.jsonl"
        size = path.stat().st_size if path.exists() else 0
        known, since = self._moved[peer]
        if size != known:
            self._moved[peer] = size, max(now, since)
        elif now - since > HANG:
            self.hangs[peer] = now - since

    def excuse(self, peer: int, seconds: float = 30.0) -> None:
        """What was done to it is over; it may take a while."""
        self._moved[peer] = -1, time.monotonic() + seconds

    def hurt(self) -> None:
        """Do something to somebody."""
        victim = self.draws.randrange(PEERS)
        kinds = ["kill", "kill", "stop"] + ["full"] * bool(self.small_disks)
        kind = self.draws.choice(kinds)
        self.faults[kind] = self.faults.get(kind, 0) + 1
        seconds = self.draws.uniform(0.5, 15.0)
        match kind:
            case "kill":
                self.peers[victim].process.kill()
                self.peers[victim].process.wait(20)
                self.tell(f"peer {victim} is killed, and back in {seconds:.0f} s")
                self.wait(seconds)
                self.start(victim)
            case "stop":
                self.peers[victim].process.send_signal(signal.SIGSTOP)
                self.tell(f"peer {victim} stands still for {seconds:.0f} s")
                self.wait(seconds)
                self.peers[victim].process.send_signal(signal.SIGCONT)
                self.excuse(victim)
            case "full":
                victim = min(self.small_disks)
                filler = self.run / f"peer-{victim}" / "filler"
                self.tell(f"peer {victim}'s disk is full for {seconds:.0f} s")
                _fill(filler)
                self.wait(seconds)
                filler.unlink()
                self.excuse(victim)

    def stop(self) -> list[int]:
        """Ask everybody to stop; their exit codes."""
        for life in self.peers.values():
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself: its code tells
                life.process.send_signal(signal.SIGINT)
        codes = []
        for life in self.peers.values():
            try:
                codes.append(life.process.wait(150))
            except subprocess.TimeoutExpired:
                codes.append(-1)
        return codes

    def end(self) -> None:
        """Leave nothing behind but the folder."""
        self.processes.end()
        for k in self.small_disks:
            subprocess.run(["umount", "-l", str(self.run / f"peer-{k}")], capture_output=True)


def _free_ports(draws: random.Random, count: int) -> int:
    """The first of so many ports in a row that nobody uses, below those of outgoing connections.

    A peer that is killed must find its port free, whatever connections are made meanwhile.
    """
    while True:
        first = draws.randrange(20_000, 32_000 - count)
        try:
            for port in range(first, first + count):
                with socket.socket() as each:
                    each.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def _fill(path: Path) -> None:
    """Until nothing more fits."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
    except OSError:
        pass


def _drain(process: ForkedPeer, log: Path) -> None:
    """Keep what a process says: a pipe that nobody reads would hold it up."""

    def copy() -> None:
        with log.open("a", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()

    threading.Thread(target=copy, daemon=True).start()


def soak(folder: Path, minutes: float, seed: int, tell: Callable[[str], None]) -> Found:
    """Run the network for so many minutes, and look at what is left of it."""
    network = Soak(Processes(folder), seed, tell)
    began = time.monotonic()
    try:
        network.wait(EVERY)
        while time.monotonic() - began < 60 * minutes - QUIET:
            due = time.monotonic() + EVERY
            network.hurt()
            network.wait(due - time.monotonic())
        network.wait(QUIET)
        codes = network.stop()
        network.chaos.send_signal(signal.SIGINT)
        network.chaos.wait(20)
        time.sleep(0.5)  # its last line is being copied
        took = (time.monotonic() - began) / 60
        run = folder / "run"
        rounds = [_rounds(run / f"peer-{k}") for k in range(PEERS)]
        covered = _covered(run)
    finally:
        network.end()
    slopes = [slope for life in network.lives if (slope := life.slopes()) is not None]
    mib, descriptors = zip(*slopes, strict=True) if slopes else ((0.0,), (0.0,))
    keys = KEYS | {"algorithm": KEYS["algorithm"] | {"rounds": int(statistics.median(rounds))}}
    sim.run(keys, run_dir=folder / "calm", engine="stacked", report=False)
    return Found(
        round(took, 1),
        network.faults,
        rounds,
        network.hangs,
        codes,
        (statistics.median(mib), max(mib)),
        (statistics.median(descriptors), max(descriptors)),
        covered,
        _covered(folder / "calm"),
        (folder / "chaos.log").read_text().splitlines()[-1],
    )


def _rounds(folder: Path) -> int:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return int(json.loads(lines[-1])["round"])


def _covered(run: Path) -> list[int]:
    return [int(of["coverage"]) for of in evaluate_run(run, samples=500)["peers"].values()]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="What is left of it, kept.")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = soak(folder, chosen.minutes, chosen.seed, lambda line: print(line, flush=True))
    print(json.dumps(asdict(found), indent=1))
    broken = found.broken()
    print(*broken or ["every promise was kept"], sep="\n")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
