"""What a round of `peer up` takes while its page is served and somebody looks, against without.

    python -m benchmarks.live [--periods 16] [--seconds 13]

One run of five real peers, `examples/ring.yaml`: its page is served and an open connection reads
it, then neither, in turn. Each period's rounds are compared with those of the periods before and
behind it, so what else the machine does counts for both. The same of processor time, which says
more where a machine is shared: what the launcher takes more while it serves, as a part of what the
peers take. What a browser draws is not counted: it is another machine's work, as a rule.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from rich.console import Console

import algorithms
from benchmarks.record import write
from peer.experiment import Experiment, load
from peer.live.command import steered
from peer.live.steer import Steering
from peer.runtime.launcher import Child, up, with_free_ports
from peer.runtime.signals import Stop

READER = (
    "import sys, urllib.request\n"
    "page = urllib.request.urlopen(sys.argv[1]).read().decode()\n"
    'facts = page.split(\'"live":{"facts":"\')[1].split(\'"\')[0]\n'
    "stream = urllib.request.urlopen(sys.argv[1].split('?')[0] + facts)\n"
    "for line in stream: pass\n"
)
SETTLES = 3.0
"""Seconds at the beginning of a period that do not count: the page reads what was before."""


EVERY = 10
"""Rounds between two records, as in the example."""


@dataclass(frozen=True)
class Turn:
    """A period: each peer's round when it began and ended, and whether the page was served."""

    first: list[int]
    last: list[int]
    is_served: bool
    launcher: float = 0.0  # seconds of processor time
    peers: float = 0.0


class Turns:
    """Watches a run as ``peer up`` does; its page is served in every second period."""

    def __init__(
        self, experiment: Experiment, folder: Path, seconds: float, periods: int, stop: Stop
    ) -> None:
        self.experiment, self.folder = experiment, folder
        self.seconds, self.periods, self.stop = seconds, periods, stop
        self.program = algorithms.find(experiment)
        self.turns: list[Turn] = []
        self._open = contextlib.ExitStack()
        self._watch: Steering | None = None
        self._children: list[Child] = []
        self._start: Callable[[Child], None] | None = None
        self._began = 0.0
        self._first: list[int] = []
        self._used = 0.0, 0.0

    def begun(self, children: list[Child], start: Callable[[Child], None]) -> None:
        self._children, self._start = children, start

    def said(self, line: str) -> None:
        if self._watch is not None:
            self._watch.said(line)

    def look(self) -> None:
        if self._watch is not None:
            self._watch.look()
        if self.stop.asked.is_set():  # peers are about to end
            return
        now, rounds = time.monotonic(), [c.status.get("round", 0) for c in self._children]
        if not self._first:
            if min(rounds) > 5:
                self._began, self._first, self._used = now, rounds, self._processor()
        elif now - self._began < SETTLES:
            self._first, self._used = rounds, self._processor()
        elif now - self._began >= self.seconds:
            is_served = self._watch is not None
            took = [b - a for a, b in zip(self._used, self._processor(), strict=True)]
            self.turns.append(Turn(self._first, rounds, is_served, *took))
            if len(self.turns) == self.periods:
                self.stop.ask("all has been measured")
                return
            if is_served:
                self.close()
            else:
                self._serve()
            self._began, self._first, self._used = time.monotonic(), rounds, self._processor()

    def _processor(self) -> tuple[float, float]:
        """Processor time so far, of this process, and of the peers'."""
        peers = 0
        for child in self._children:
            words = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()
            peers += int(words[11]) + int(words[12])
        return time.process_time(), peers / os.sysconf("SC_CLK_TCK")

    def _serve(self) -> None:
        said: list[str] = []
        arguments = self.experiment, self.program, self.folder, said.append
        self._watch = self._open.enter_context(steered("127.0.0.1:0", *arguments))
        assert self._watch is not None
        assert self._start is not None
        self._watch.begun(self._children, self._start)
        reader = subprocess.Popen([sys.executable, "-c", READER, said[0].split()[-1]])
        self._open.callback(reader.wait)
        self._open.callback(reader.kill)

    def close(self) -> None:
        self._watch = None
        self._open.close()


def ratios(seconds: Sequence[np.ndarray], turns: Sequence[Turn]) -> list[float]:
    """A round's time, served over not served: of each period and the mean of its neighbours.

    Args:
        seconds: of each peer, since it began, at the end of every tenth of its rounds.
        turns: the periods, in order.
    """
    took = []
    for turn in turns:
        of_peers = []
        for at, first, last in zip(seconds, turn.first, turn.last, strict=True):
            inside = at[first // EVERY : last // EVERY]
            of_peers.append(float(np.median(np.diff(inside))))
        took.append(max(of_peers))
    found = []
    for turn, before, now, behind in zip(turns[1:], took, took[1:], took[2:], strict=False):
        beside = (before + behind) / 2
        found.append(now / beside if turn.is_served else beside / now)
    return found


def processor_share(turns: Sequence[Turn]) -> float:
    """What serving takes of the launcher, more than not serving, in parts of the peers' time."""
    with_it, without = (
        sum(turn.launcher for turn in turns if turn.is_served is served)
        / sum(turn.peers for turn in turns if turn.is_served is served)
        for served in (True, False)
    )
    return with_it - without


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--periods", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=13.0)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/live.json"))
    arguments = parser.parse_args()
    experiment = load(
        Path("examples/ring.yaml"),
        ["algorithm.rounds=1000000", f"metrics.every={EVERY}", "metrics.pictures_every=50"],
    )
    experiment = with_free_ports(experiment)
    stop = Stop()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        watch = Turns(experiment, run, arguments.seconds, arguments.periods, stop)
        try:
            up(experiment, run, 10**6, Console(file=StringIO()), [], [], stop, watch)
        finally:
            watch.close()
        lines = [
            (run / f"peer-{k}" / "metrics.jsonl").read_text().splitlines()
            for k in range(experiment.peers)
        ]
    records = [[json.loads(line) for line in each] for each in lines]
    seconds = [
        np.array([record["seconds"] for record in each if record["round"] % EVERY == 0])
        for each in records
    ]
    found = ratios(seconds, watch.turns)
    ratio = statistics.median(found)
    spread = ", ".join(f"{each:.3f}" for each in sorted(found))
    print(f"a round takes {ratio:.3f} times as long while the page is open ({spread})")
    share = processor_share(watch.turns)
    print(f"serving takes {share:.2%} of the processor time that the peers take")
    figures = {"ratio": ratio, "ratios": found, "processor": share, "seconds": arguments.seconds}
    write(arguments.record, figures)


if __name__ == "__main__":
    main()
