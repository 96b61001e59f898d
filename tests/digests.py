"""Do runs still end with the same bits? A list of digests, made before a change and held after it.

``python -m tests.digests --make`` writes the list, ``python -m tests.digests`` compares with it and
exits with 1 where a run ends otherwise. A list holds for one kind of processor, one build of torch:
of another machine, make the list at the older commit first (``git worktree add``).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import sim
from tests.support.systems import SYSTEMS, keys_of

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".json")
RING = ROOT / "examples" / "ring.yaml"
SHORT = ["algorithm.rounds=50", "metrics.sketch=false"]
COMMANDS = Path(sys.executable).parent


def machine() -> dict[str, str]:
    """What the bits of a run may depend on, beside the code."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def digests_of(folder: Path) -> dict[str, str]:
    """The digest of every peer's parameters, as a run left them."""
    found = {}
    for path in folder.glob("peer-*/summary.json"):
        found[path.parent.name] = json.loads(path.read_text())["arena_blake2b"]
    assert found, f"no digests in {folder}"
    return dict(sorted(found.items()))


def over_zeromq(folder: Path) -> None:
    """Five processes of ``examples/ring.yaml``."""
    words = [word for key in SHORT for word in ("--set", key)]
    command = [COMMANDS / "peer", "up", "--topology", RING, *words, "--run-dir", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)


def in_processes(folder: Path) -> None:
    """The same, simulated in two processes."""
    words = [word for key in SHORT for word in ("--set", key)]
    command = [COMMANDS / "sim", RING, *words, "--run-dir", folder, "--no-report", "--processes=2"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)


def simulated(what: Any, engine: str = "event") -> Callable[[Path], None]:
    """One process, by the engine of that name."""

    def run(folder: Path) -> None:
        overrides = SHORT if what == RING else []
        sim.run(what, overrides=overrides, run_dir=folder, engine=engine, threads=1, report=False)

    return run


def runs() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """What is run, by name."""
    yield "ring, event", simulated(RING)
    yield "ring, ZeroMQ", over_zeromq
    yield "ring, two processes", in_processes
    yield "ring, stacked", simulated(RING, "stacked")
    for name in SYSTEMS:
        yield f"{name}, event", simulated(keys_of(name, 3))
        yield f"{name}, stacked", simulated(keys_of(name, 3), "stacked")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--make", action="store_true", help="write the list")
    parser.add_argument("--list", type=Path, default=LIST, help="where it is")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    options = parser.parse_args()
    made: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, run) in enumerate(runs()):
            if options.only in name:
                run(Path(folder) / str(number))
                made[name] = digests_of(Path(folder) / str(number))
                print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    if options.make:
        options.list.write_text(json.dumps({"machine": machine(), "runs": made}, indent=1) + "\n")
        print(f"{len(made)} runs written to {options.list}")
        return 0
    known = json.loads(options.list.read_text())
    if known["machine"] != machine():
        print(f"the list is of another machine: {known['machine']}, this is {machine()}")
    moved = [name for name in made if made[name] != known["runs"].get(name)]
    for name in moved:
        print(f"differs: {name}")
    print(f"{len(made) - len(moved)} of {len(made)} runs end with the listed bits")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
