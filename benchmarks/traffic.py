"""Bytes on the wire against parameters x 4: what framing, handshakes and heartbeats add.

python -m benchmarks.traffic [--rounds 100]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.record import write
from peer.experiment import load
from sim.runs.simulate import make_states


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/traffic.json"))
    arguments = parser.parse_args()
    overrides = [f"algorithm.rounds={arguments.rounds}"]
    experiment = load("examples/ring.yaml", overrides)
    nets = make_states(experiment)[0].nets.values()
    parameters = sum(net.arena.layout.parameter_count for net in nets)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "peer", "up", "--topology", "examples/ring.yaml"]
        command += ["--set", overrides[0], "--run-dir", str(run), "--no-report"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        sent = [
            json.loads((run / f"peer-{k}" / "summary.json").read_text())["bytes_out"]
            for k in range(experiment.peers)
        ]
    least = 2 * arguments.rounds * 4 * parameters  # two neighbours; both nets, once a round
    overheads = [bytes_out / least - 1 for bytes_out in sent]
    print(f"{parameters:,} parameters, {arguments.rounds} rounds, two neighbours: {least:,} bytes")
    print(f"sent a peer: {min(sent):,} to {max(sent):,} bytes; overhead {max(overheads):.3%}")
    write(arguments.record, {"least_bytes": least, "sent_bytes": sent, "overhead": max(overheads)})


if __name__ == "__main__":
    main()
