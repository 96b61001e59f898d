"""What a peer costs before it computes: seconds to start, and memory, against torch alone.

    python -m benchmarks.start [--rounds 50]

Five processes run `examples/ring.yaml` on this machine. Started is when a peer says what it runs:
its data are read, its nets built and its port open. Memory is the kernel's (`smaps_rollup`, Linux):
resident counts the libraries' pages that all processes share in full, proportional shares them
out, own is what a process wrote itself. `import torch` is measured in the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import write
from peer.experiment import load
from peer.runtime.launcher import with_free_ports

KINDS = {"Rss": "resident", "Pss": "proportional", "Anonymous": "own"}
TORCH = "import sys, torch; print('loaded', flush=True); sys.stdin.read()"


def memory(process: int) -> dict[str, float]:
    """Megabytes (10^6) of a process, by kind."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, rest in (x.split(":") for x in lines)}
    return {kind: round(kilobytes[name] * 1024 / 1e6, 1) for name, kind in KINDS.items()}


def processor_seconds(process: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def begin(command: list[str], expected: str) -> tuple[subprocess.Popen[str], float, float]:
    """A process, and the seconds and the processor's seconds until it says ``expected``."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    for line in process.stdout:
        if expected in line:
            return process, time.monotonic() - began, processor_seconds(process.pid)
    raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}")


def rounds_of(run: Path, peer: int) -> int:
    """Rounds that a peer has recorded."""
    path = run / f"peer-{peer}" / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/start.json"))
    arguments = parser.parse_args()
    experiment = with_free_ports(load("examples/ring.yaml", []))
    addresses = [experiment.address(k) for k in range(experiment.peers)]
    command = [sys.executable, "-m", "peer", "--topology", "examples/ring.yaml"]
    command += ["--set", f"addresses={json.dumps(addresses)}"]
    torch, torch_seconds, torch_processor = begin([sys.executable, "-c", TORCH], "loaded")
    figures = {"torch": {"seconds": torch_seconds, "processor": torch_processor}}
    figures["torch"] |= memory(torch.pid)
    torch.communicate()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command += ["--run-dir", str(run), "--id"]
        begun = [begin([*command, str(k)], "to ") for k in range(experiment.peers)]
        try:
            figures["started"] = {"seconds": begun[0][1], "processor": begun[0][2]}
            while min(rounds_of(run, k) for k in range(experiment.peers)) < arguments.rounds:
                time.sleep(0.05)
            figures["training"] = memory(begun[0][0].pid)
        finally:
            for process, *_ in begun:
                process.terminate()
            for process, *_ in begun:
                process.communicate()
    for what, measured in figures.items():
        print(what, *(f"{name} {value:.4g}" for name, value in measured.items()), sep="  ")
    write(arguments.record, {"rounds": arguments.rounds, **figures})


if __name__ == "__main__":
    main()
