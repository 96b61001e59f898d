"""The virtual clock against the real one: the same experiment over throttled links, and predicted.

    python -m benchmarks.prediction [--graph ring] [--mbit 10] [--shared] [--rounds 8]

Three peers run as processes, each in a network namespace of its own, over links that `tc`
throttles: one between every two neighbours or, with --shared, one from each peer to a switch, which
all that it sends and takes goes through. Before that `peer profile` measures steps and a link right
there; then the simulator runs the same file by these profiles. Start-up is left out on both sides:
what is compared are the seconds from the first round's end to the last's. Needs root, `ip` and
`tc`; the namespaces and links that it makes it removes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from benchmarks.record import write
from sim.api import run as simulate

PEERS = 3
LINKS = {"ring": list(combinations(range(PEERS), 2)), "star": [(0, 1), (0, 2)]}
LIMIT = 280  # seconds that any one step may take


class Refused(Exception):
    """This machine does not let us make namespaces."""


def command(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Refused(f"there is no command '{words[0]}'") from None
    except subprocess.CalledProcessError as problem:
        said = problem.stderr.strip().splitlines() or ["it says nothing"]
        raise Refused(f"`{' '.join(words)}`: {said[-1]}") from None


def address(peer: int) -> str:
    return f"10.77.0.{peer + 1}"


@contextmanager
def namespaces(links: list[tuple[int, int]], mbit: float, shared: bool) -> Iterator[list[str]]:
    """A namespace a peer, joined by throttled links; the names of the namespaces."""
    tag = f"hs{os.getpid()}"
    names = [f"{tag}-{k}" for k in range(PEERS)]
    with ExitStack() as stack:
        for name in [*names, f"{tag}-hub"]:
            command("ip", "netns", "add", name)  # with it goes every link that has an end in it
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
            command("ip", "-n", name, "link", "set", "lo", "up")
        if shared:
            hub = f"{tag}-hub"
            command("ip", "-n", hub, "link", "add", "switch", "type", "bridge")
            command("ip", "-n", hub, "link", "set", "switch", "up")
            for k, name in enumerate(names):
                join(name, "eth0", hub, f"port{k}", mbit)
                command("ip", "-n", hub, "link", "set", f"port{k}", "master", "switch")
                command("ip", "-n", name, "address", "add", f"{address(k)}/24", "dev", "eth0")
        else:
            for k, name in enumerate(names):
                command("ip", "-n", name, "address", "add", f"{address(k)}/32", "dev", "lo")
            for i, j in links:
                join(names[i], f"to{j}", names[j], f"to{i}", mbit)
                for k, other in ((i, j), (j, i)):
                    way = ["dev", f"to{other}", "src", address(k)]
                    command("ip", "-n", names[k], "route", "add", f"{address(other)}/32", *way)
        yield names


def join(one: str, its: str, other: str, others: str, mbit: float) -> None:
    """A link between two namespaces, throttled each way."""
    far = ["type", "veth", "peer", "name", others, "netns", other]
    command("ip", "link", "add", "name", its, "netns", one, *far)
    for name, device in ((one, its), (other, others)):
        command("ip", "-n", name, "link", "set", device, "up")
        limit = ["rate", f"{mbit}mbit", "burst", "32kb", "latency", "400ms"]
        command("tc", "-n", name, "qdisc", "add", "dev", device, "root", "tbf", *limit)


def in_each(names: list[str], words: list[list[str]]) -> None:
    """Run ``python -m peer`` with a line of words in each namespace, all at once."""
    running = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-m", "peer", *line],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, line in zip(names, words, strict=True)
    ]
    try:
        for process, line in zip(running, words, strict=True):
            said, _ = process.communicate(timeout=LIMIT)
            if process.returncode:
                sys.exit(f"prediction: `peer {' '.join(line)}` failed:\n{said}")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


def spans(log: Mapping[int, list[float]]) -> list[float]:
    """By peer, the seconds from the end of the first round to that of the last."""
    return [of[-1] - of[0] for _, of in sorted(log.items())]


def read(path: Path, log: dict[int, list[float]]) -> dict[int, list[float]]:
    for line in path.read_text().splitlines():
        record = json.loads(line)
        log.setdefault(record["peer"], []).append(record["seconds"])
    return log


def keys(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.graph == "ring":
        algorithm = {"name": "diffusion", "rounds": arguments.rounds, "local_steps": 5}
    else:
        algorithm = {"name": "fedavg", "rounds": arguments.rounds, "local_steps": 5}
    return {
        "peers": PEERS,
        "graph": arguments.graph,
        "addresses": [f"tcp://{address(k)}:47100" for k in range(PEERS)],
        "insecure": True,
        "algorithm": algorithm,
        "gan": "mlpgan",  # on 8x8 images, 1,471,425 parameters: 5.9 MB both nets
        "optimizer": {"name": "adam", "lr": 0.0002},
        "data": {"source": "digits", "partition": "iid"},
        "batch": 32,
        "checkpoint": 0,
        "metrics": {"every": 1, "sketch": False},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", choices=sorted(LINKS), default="ring")
    parser.add_argument("--mbit", type=float, default=10.0)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/prediction.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        file = home / "experiment.yaml"
        file.write_text(yaml.safe_dump(keys(arguments)))
        try:
            with namespaces(LINKS[arguments.graph], arguments.mbit, arguments.shared) as names:
                profiles = [str(home / f"profile-{k}.yaml") for k in range(PEERS)]
                topology = ["--topology", str(file)]
                # peers 0 and 1 time the link between them, 2 meanwhile its own loopback
                ends = [["--with", "1"], ["--with", "0"], []]
                in_each(names, [
                    ["profile", *topology, "--id", str(k), *ends[k], "--out", profiles[k]]
                    for k in range(PEERS)
                ])  # fmt: skip
                in_each(names, [
                    ["--id", str(k), *topology, "--run-dir", str(home / "real")]
                    for k in range(PEERS)
                ])  # fmt: skip
        except Refused as problem:
            print(f"prediction: no network namespaces here (root, ip and tc make them): {problem}")
            sys.exit(2)
        link = yaml.safe_load(Path(profiles[0]).read_text())["link"]
        network: dict[str, Any] = {"link": profiles[0]}
        if arguments.shared:
            limit = {"uplink": link["bandwidth"], "downlink": link["bandwidth"]}
            network = {"delay": link["delay"], "duplex": link["duplex"], **limit}
        devices = dict(enumerate(profiles))
        predicted_run = simulate(
            keys(arguments) | {"devices": devices, "network": network},
            run_dir=home / "predicted",
            report=False,
        )
        logs: dict[int, list[float]] = {}
        for k in range(PEERS):
            read(home / "real" / f"peer-{k}" / "metrics.jsonl", logs)
        real = statistics.fmean(spans(logs))
        predicted = statistics.fmean(spans(read(predicted_run.path / "metrics.jsonl", {})))
        digests = {
            k: json.loads((home / "real" / f"peer-{k}" / "summary.json").read_text())
            for k in range(PEERS)
        }
        equal = all(
            digests[k]["arena_blake2b"] == of for k, of in predicted_run.arena_blake2b.items()
        )
    error = predicted / real - 1
    kind = "one link a peer" if arguments.shared else "one link a pair"
    print(f"{arguments.graph} of {PEERS}, {arguments.mbit:g} Mbit/s, {kind}; measured there: "
          f"{link['bandwidth']:.3g} Mbit/s ({link['duplex']:.0%} of it where values cross), "
          f"{1e3 * link['delay']:.3g} ms")  # fmt: skip
    print(f"{arguments.rounds - 1} rounds: {real:.2f} s really, {predicted:.2f} s predicted, "
          f"error {error:+.1%}; parameters {'equal' if equal else 'NOT equal'}")  # fmt: skip
    write(arguments.record, {
        "graph": arguments.graph, "mbit": arguments.mbit, "shared": arguments.shared,
        "link": link, "rounds": arguments.rounds - 1, "real_s": real, "predicted_s": predicted,
        "error": error, "equal_parameters": equal,
    })  # fmt: skip


if __name__ == "__main__":
    main()
