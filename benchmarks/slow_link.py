"""How much of a slow line two peers use while they exchange.

    python -m benchmarks.slow_link [--megabits 10 100] [--rounds 20]

Two network namespaces are joined by a veth pair; a token bucket (tc tbf) at each end holds each
direction to the rate, so the line is full-duplex. In each runs ``peer --id`` with the same file:
diffusion on a pair of nets of a million parameters together, which sends each neighbour all of them
once a round, and takes as much. What is told, of one direction and at the median:

- *the line is used*: bytes that left through the bucket in a round (Ethernet, IP, TCP, ZeroMQ and
  acknowledgements of the other direction included), over the rate times the seconds of the round's
  two exchanges. Those are a median round less a median round of the same file with
  ``algorithm: local``, which computes the same steps and sends nothing;
- *by parameters*: parameters x 4 bytes over the same. Full Ethernet frames hold 1,448 bytes of a
  TCP stream in 1,514, so no program can pass 95.6 % of the rate that the bucket counts, and
  acknowledgements take their part;
- *a bare socket*: the same for two Python sockets on the same line that swap as many bytes in as
  many pieces, a thread each way, and do nothing else.

Needs Linux, ``ip``, ``tc`` and the right to make namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml
from torch import nn

from benchmarks.record import write
from benchmarks.up import slowest

BURST = 32 * 1024
"""Bytes that the bucket lets through at once after a pause: up to 1.6 % of a round, in two."""

PATIENCE = 250.0
"""Seconds that a run may take."""

ENDS = (0, 1)
WIDTH = 670


def wide(shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """The experiment's ``gan:``: about half a million parameters each."""
    pixels = shape[0] * shape[1] * shape[2]
    generator = nn.Sequential(
        nn.Linear(32, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, pixels),
        nn.Tanh(),
        nn.Unflatten(1, shape),
    )
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, 1),
    )
    return generator, discriminator


def experiment(algorithm: str, rounds: int) -> dict[str, Any]:
    """The experiment's keys."""
    return {
        "peers": 2,
        "graph": "path",
        "addresses": [f"tcp://10.77.0.{k + 1}:47100" for k in ENDS],
        "insecure": True,
        "algorithm": {"name": algorithm, "rounds": rounds},
        "optimizer": {"name": "sgd", "lr": 0.001},
        "gan": {"name": "benchmarks.slow_link:wide"},
        "batch": 2,
        "checkpoint": 0,
        "metrics": {"every": 1, "sketch": False},
    }


# --- the line -------------------------------------------------------------------------------------


def command(*words: str) -> str:
    """Run a command; what it said.

    Raises:
        SystemExit: 2, with one line, where it cannot be done here.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except OSError as problem:
        refuse(f"{words[0]}: {problem.strerror}")
    if done.returncode:
        said = done.stderr.strip().splitlines()
        refuse(f"'{' '.join(words)}' says: {said[-1] if said else done.returncode}")
    return done.stdout


def refuse(why: str) -> NoReturn:
    """One line, and exit code 2."""
    print(f"slow_link: network namespaces cannot be made here; {why}", file=sys.stderr)
    sys.exit(2)


class Line:
    """Two namespaces, joined."""

    def __init__(self, names: tuple[str, str]) -> None:
        self.names = names

    def set_rate(self, megabits: float) -> None:
        """Hold each direction to a rate; its count of bytes begins anew."""
        for name in self.names:
            shape = ["rate", f"{megabits}mbit", "burst", str(BURST), "latency", "100ms"]
            inside = ["ip", "netns", "exec", name]
            subprocess.run(
                [*inside, "tc", "qdisc", "del", "dev", "line", "root"],
                stderr=subprocess.DEVNULL,  # there may be none yet
                timeout=30,
                check=False,
            )
            command(*inside, "tc", "qdisc", "add", "dev", "line", "root", "tbf", *shape)

    def sent(self) -> list[int]:
        """Bytes that left through each end's bucket."""
        counts = []
        for name in self.names:
            told = command("ip", "netns", "exec", name, "tc", "-s", "-j", "qdisc", "show")
            counts += [int(one["bytes"]) for one in json.loads(told) if one["kind"] == "tbf"]
        return counts


@contextlib.contextmanager
def a_line() -> Iterator[Line]:
    """Both namespaces, removed in the end; the pair of interfaces goes with them."""
    names = (f"hearsay-{os.getpid()}-0", f"hearsay-{os.getpid()}-1")
    made = []
    try:
        for name in names:
            command("ip", "netns", "add", name)
            made.append(name)
        joined = ["type", "veth", "peer", "name", "line", "netns", names[1]]
        command("ip", "link", "add", "line", "netns", names[0], *joined)
        for k, name in enumerate(names):
            command("ip", "-n", name, "address", "add", f"10.77.0.{k + 1}/24", "dev", "line")
            command("ip", "-n", name, "link", "set", "line", "up")
            command("ip", "-n", name, "link", "set", "lo", "up")
            # Known to every kernel; a machine may prefer one that paces itself below the rate.
            control = "net.ipv4.tcp_congestion_control=reno"
            command("ip", "netns", "exec", name, "sysctl", "-q", "-w", control)
        yield Line(names)
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], timeout=30, check=False)


# --- the peers ------------------------------------------------------------------------------------


def run(line: Line, algorithm: str, rounds: int) -> float:
    """Seconds of a median round at the slower peer."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "slow.yaml"
        file.write_text(yaml.safe_dump(experiment(algorithm, rounds)))
        peers: list[subprocess.Popen[bytes]] = []
        try:
            for k, name in enumerate(line.names):
                words = ["ip", "netns", "exec", name, sys.executable, "-m", "peer", "--id", str(k)]
                words += ["--topology", str(file), "--run-dir", str(Path(folder) / "run")]
                peers.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
            codes = [peer.wait(PATIENCE) for peer in peers]
        finally:
            for peer in peers:
                if peer.poll() is None:
                    peer.kill()
                    peer.wait()
        if any(codes):
            raise SystemExit(f"slow_link: the peers ended with {codes}")
        return slowest(Path(folder) / "run", len(ENDS), skip=1)  # the first chunks feel the way


def bare(line: Line, nbytes: int, swaps: int) -> float:
    """Median seconds for two sockets to swap so many bytes."""
    ends = []
    try:
        for k, name in enumerate(line.names):
            words = ["ip", "netns", "exec", name, sys.executable, "-c", SWAP]
            words += [str(k), str(nbytes), str(swaps)]
            ends.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        told: list[list[float]] = [json.loads(end.communicate(timeout=PATIENCE)[0]) for end in ends]
    finally:
        for end in ends:
            if end.poll() is None:
                end.kill()
                end.wait()
    return float(statistics.median(max(pair) for pair in zip(*told, strict=True)))


SWAP = """
import json, socket, sys, threading, time
k, nbytes, swaps = map(int, sys.argv[1:])
if k == 0:
    with socket.create_server(("10.77.0.1", 47000)) as server:
        link = server.accept()[0]
else:
    while True:
        try:
            link = socket.create_connection(("10.77.0.1", 47000))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
ours, theirs, seconds = bytes(nbytes), memoryview(bytearray(nbytes)), []
for _ in range(swaps):
    began, filled = time.monotonic(), 0
    sending = threading.Thread(target=link.sendall, args=(ours,))
    sending.start()
    while filled < nbytes:
        filled += link.recv_into(theirs[filled:])
    sending.join()
    seconds.append(time.monotonic() - began)
print(json.dumps(seconds[1:]))
"""


def parameter_count() -> int:
    """Of both nets."""
    nets = wide((1, 8, 8))
    return sum(parameter.numel() for net in nets for parameter in net.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabits", type=float, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/slow_link.json"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the namespaces are removed then, too
    nbytes = 4 * parameter_count()
    figures = []
    print(f"{nbytes:,} bytes of parameters each way a round, in two exchanges")
    with a_line() as line:
        for megabits in arguments.megabits:
            line.set_rate(megabits)
            local = run(line, "local", arguments.rounds)
            line.set_rate(megabits)
            whole = run(line, "diffusion", arguments.rounds)
            wire = statistics.mean(line.sent()) / arguments.rounds
            line.set_rate(megabits)
            plain = 2 * bare(line, nbytes // 2, arguments.rounds)
            rate = 1e6 * megabits / 8
            figure = {
                "megabits": megabits,
                "round_s": whole,
                "steps_s": local,
                "line_used": wire / rate / (whole - local),
                "line_used_by_parameters": nbytes / rate / (whole - local),
                "line_used_by_parameters_whole_rounds": nbytes / rate / whole,
                "bare_socket": nbytes / rate / plain,
                "wire_over_parameters": wire / nbytes,
            }
            figures.append(figure)
            print(
                f"{megabits:g} Mbit/s: while exchanging {figure['line_used']:.1%} of the line is "
                f"used, {figure['line_used_by_parameters']:.1%} by parameters (a bare socket: "
                f"{figure['bare_socket']:.1%}); a round takes {whole:.3f} s, {local:.3f} s of them "
                f"steps; on the wire {figure['wire_over_parameters']:.3f} x the parameters",
                flush=True,
            )
    write(arguments.record, {"bytes": nbytes, "rounds": arguments.rounds, "lines": figures})


if __name__ == "__main__":
    main()
