"""Seconds for two processes to swap and average a vector: hearsay against what is bare.

    python -m benchmarks.exchange [--millions 0.1 1 11.24] [--repeats 15]

Both ends begin at one moment and a swap has taken until the later one holds the mean. hearsay's are
two peers as ``peer --id`` runs them (network thread, ZeroMQ, ``combine``), over TCP on loopback
without a checksum, with one, and over ``ipc://``. Beside them: ``torch.distributed``'s gloo (isend
and irecv), a Python socket with a thread each way, and a pyzmq PAIR: what ZeroMQ leaves to a peer.
These average in one pass, and check nothing.
Every system stands ready from the beginning and they swap in turn; a ratio is the median over the
turns of the ratios within one turn.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.record import write
from benchmarks.swappers import SYSTEMS, serve

PATIENCE = 240.0
"""Seconds after which an end that does not answer has failed."""

HEAD_START = 0.002
"""Seconds between the word to both ends and the moment when they begin."""

SETTLE = 0.02
"""Seconds between two swaps: acknowledgements of the last one are not counted in the next."""


@dataclass
class Pair:
    """Both ends of one system."""

    processes: list[BaseProcess]
    bosses: list[Connection]

    def swap(self) -> tuple[float, float]:
        """Seconds of one swap, and processor seconds of an end (all its threads), at the mean."""
        start = time.monotonic() + HEAD_START
        for boss in self.bosses:
            boss.send(start)
        ended, computed = zip(*[_answer(boss) for boss in self.bosses], strict=True)
        time.sleep(SETTLE)
        return float(max(ended)) - start, float(sum(computed)) / len(computed)


def _answer(boss: Connection) -> Any:
    if not boss.poll(PATIENCE):
        raise SystemExit("an end does not answer")
    return boss.recv()


@contextlib.contextmanager
def pairs(systems: list[str], parameters: int) -> Iterator[dict[str, Pair]]:
    """Every system, its two ends ready; all of them are ended."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["benchmarks.swappers"])  # torch is imported once, not ten times
    made: dict[str, Pair] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="exchange-") as folder:
            for number, system in enumerate(systems):
                place = Path(folder) / str(number)
                place.mkdir()
                made[system] = pair = Pair([], [])
                port = _free_port()
                for rank in (0, 1):
                    ours, theirs = server.Pipe()
                    end = (system, rank, parameters, port, str(place), theirs)
                    process: BaseProcess = server.Process(target=serve, args=end, daemon=True)
                    process.start()
                    theirs.close()
                    pair.processes.append(process)
                    pair.bosses.append(ours)
            for pair in made.values():
                for boss in pair.bosses:
                    _answer(boss)
            yield made
            for pair in made.values():
                for boss in pair.bosses:
                    boss.send(None)
            for pair in made.values():
                for each in pair.processes:
                    each.join(30)
    finally:
        for pair in made.values():
            for each in pair.processes:
                if each.is_alive():
                    each.kill()
                    each.join()


def _free_port() -> int:
    """A port of loopback that is free, as is the next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def measure(
    systems: list[str], parameters: int, repeats: int, warm_up: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of every swap, and processor seconds of an end, by system."""
    times: dict[str, list[float]] = {system: [] for system in systems}
    work: dict[str, list[float]] = {system: [] for system in systems}
    with pairs(systems, parameters) as ready:
        for turn in range(warm_up + repeats):
            for system in systems:
                seconds, computed = ready[system].swap()
                if turn >= warm_up:
                    times[system].append(seconds)
                    work[system].append(computed)
    return times, work


def speed(times: dict[str, list[float]], system: str, against: str) -> float:
    """How fast a system is, as a share of another's speed: the median over the turns."""
    ratios = [b / a for a, b in zip(times[system], times[against], strict=True)]
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[0.1, 1.0, 11.24])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--record", type=Path, default=Path("benchmarks/exchange.json"))
    arguments = parser.parse_args()
    figures = []
    for millions in arguments.millions:
        parameters = round(millions * 1e6)
        times, work = measure(arguments.systems, parameters, arguments.repeats, arguments.warm_up)
        print(f"{parameters:,} values, {4 * parameters / 1e6:.1f} MB each way:")
        ratios: dict[str, dict[str, float]] = {}
        for system in arguments.systems:
            line = f"  {system:<14}{1e3 * statistics.median(times[system]):8.2f} ms"
            line += f" ({1e3 * min(times[system]):.2f} to {1e3 * max(times[system]):.2f})"
            line += f", processor {1e3 * statistics.median(work[system]):.2f} ms an end"
            if system.startswith("hearsay"):
                references = ("gloo", "raw socket", "bare ZeroMQ", "hearsay")
                others = [s for s in references if s in times and s != system]
                ratios[system] = {other: speed(times, system, other) for other in others}
                line += "; speed " + ", ".join(f"{r:.2f} of {s}" for s, r in ratios[system].items())
            print(line, flush=True)
        figures.append(
            {
                "parameters": parameters,
                "seconds": times,
                "processor_seconds_an_end": work,
                "speed_ratios": ratios,
            }
        )
    write(arguments.record, {"repeats": arguments.repeats, "swaps": figures})


if __name__ == "__main__":
    main()
