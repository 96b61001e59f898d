"""What a round of `peer up` takes while its page is served and somebody looks, against without.

    python -m benchmarks.live [--periods 16] [--seconds 10]

One run of five real peers, `examples/ring.yaml`: its page is served and an open connection reads
it, then neither, in turn. Rounds of two periods that follow each other are compared, so what else
the machine does counts for both. What is read is counted, and what a browser draws is not: it is
another machine's work, as a rule.
"""

from __future__ import annotations

import argparse
import contextlib
import json
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
SETTLES = 1.0
"""Seconds at the beginning of a period that do not count: a peer tells its round twice a second."""


@dataclass(frozen=True)
class Turn:
    """A period: the round of each peer when it began and ended, and whether the page was served."""

    first: list[int]
    last: list[int]
    is_served: bool


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

    def begun(self, children: list[Child], start: Callable[[Child], None]) -> None:
        self._children, self._start = children, start

    def said(self, line: str) -> None:
        if self._watch is not None:
            self._watch.said(line)

    def look(self) -> None:
        if self._watch is not None:
            self._watch.look()
        now, rounds = time.monotonic(), [c.status.get("round", 0) for c in self._children]
        if not self._first:
            if min(rounds) > 5:
                self._began, self._first = now, rounds
        elif now - self._began >= self.seconds and not self.stop.asked.is_set():
            is_served = self._watch is not None
            self.turns.append(Turn(self._first, rounds, is_served))
            if len(self.turns) == self.periods:
                self.stop.ask("all has been measured")
            elif is_served:
                self.close()
            else:
                self._serve()
            self._began, self._first = time.monotonic(), rounds

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
    """A round's time, served over not served, for each two periods that follow each other.

    Args:
        seconds: of each peer, since it began, at the end of each of its rounds.
        turns: the periods, in order.
    """
    took = []
    for turn in turns:
        of_peers = []
        for at, first, last in zip(seconds, turn.first, turn.last, strict=True):
            inside = at[first - 1 : last]
            inside = inside[inside >= inside[0] + SETTLES]
            of_peers.append(float(np.median(np.diff(inside))))
        took.append(max(of_peers))
    return [
        b / a if other.is_served else a / b
        for other, a, b in zip(turns[1:], took, took[1:], strict=False)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--periods", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/live.json"))
    arguments = parser.parse_args()
    experiment = load(
        Path("examples/ring.yaml"),
        ["algorithm.rounds=1000000", "metrics.every=1", "metrics.pictures_every=100"],
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
    seconds = [np.array([json.loads(line)["seconds"] for line in each]) for each in lines]
    found = ratios(seconds, watch.turns)
    ratio = statistics.median(found)
    spread = ", ".join(f"{each:.3f}" for each in sorted(found))
    print(f"a round takes {ratio:.3f} times as long while the page is open ({spread})")
    write(arguments.record, {"ratio": ratio, "ratios": found, "seconds": arguments.seconds})


if __name__ == "__main__":
    main()
