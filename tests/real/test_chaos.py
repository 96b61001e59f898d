"""Real peers behind ``peer chaos``: resets, stalls and flipped bits, in plain text and with CURVE.

What a user would start: the command and the file that it writes.
"""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import ForkedPeer, Processes, until

RING = SMALL | {"deadline": 10.0, "batch": 8, "algorithm": {"name": "diffusion", "rounds": 200}}
BAD = ["--reset-every", "20", "--stall-every", "10", "--stall", "1", "--corrupt-every", "10"]


def behind_proxies(
    processes: Processes, keys: dict[str, Any], *faults: str
) -> tuple[ForkedPeer, Path]:
    """A running ``peer chaos``, and the file to start the peers with."""
    file = processes.write(keys)
    offset = int(free_addresses(1)[0].rpartition(":")[2]) % 20000 - 10000
    chaos = processes.command("chaos", "--topology", str(file), "--offset", str(offset), *faults)
    until(chaos, f"peer {keys['peers'] - 1}: ")
    return chaos, processes.folder / "chaos.yaml"


def ended(chaos: ForkedPeer) -> str:
    """Stop the command; all that it has said since."""
    chaos.send_signal(signal.SIGINT)
    assert chaos.wait(timeout=20) == 130
    return chaos.communicate()[0]


def done(said: str, what: str) -> int:
    """How many of ``what`` the last line counts."""
    found = re.search(rf"(\d+) {what}", said.splitlines()[-1])
    assert found is not None
    return int(found[1])


def in_a_bad_network(
    processes: Processes, keys: dict[str, Any], *more: str
) -> tuple[list[str], str]:
    """Run all peers to their end; what each said, and what was done to them."""
    chaos, file = behind_proxies(processes, keys, *BAD)
    peers = [processes.peer(file, k, *more) for k in range(keys["peers"])]
    codes = [peer.wait(timeout=150) for peer in peers]
    said = [peer.communicate()[0] for peer in peers]
    assert codes == [0] * keys["peers"], "\n".join(said)
    for k in range(keys["peers"]):
        summary = json.loads((processes.folder / "run" / f"peer-{k}" / "summary.json").read_text())
        assert summary["rounds"] == keys["algorithm"]["rounds"]
    told = ended(chaos)
    assert done(told, "resets") >= 1
    assert done(told, "bits flipped") >= 1
    return said, told


@pytest.mark.slow
def test_plain_peers_finish_through_resets_stalls_and_flipped_bits(processes: Processes) -> None:
    keys = RING | {"peers": 4, "addresses": free_addresses(4)}
    said, _ = in_a_bad_network(processes, keys)
    assert not any("Traceback" in each or "quarantine" in each for each in said)


def test_it_ends_by_itself_when_its_time_is_over(processes: Processes) -> None:
    listen, target = free_addresses(2)
    chaos = processes.command("chaos", listen, target, "--for", "0.2")
    assert chaos.wait(timeout=30) == 0
    said = chaos.communicate()[0]
    assert f"{listen} passes to {target}" in said
    assert said.endswith("0 connections, 0 resets, 0 stalls, 0 bits flipped, 0 directions cut\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "say --topology FILE, or one pair of addresses"),
        (["tcp://127.0.0.1:5001"], "give two addresses, LISTEN and TARGET"),
        (["tcp://127.0.0.1:5001", "ipc:///tmp/x"], "ipc:///tmp/x is a file"),
        (["tcp://127.0.0.1:5001", "127.0.0.1:5"], "127.0.0.1:5 is no address"),
        (["tcp://127.0.0.1:5001", "tcp://192.0.2.1:5"], "say --beyond-loopback"),
        (["tcp://*:5001", "tcp://127.0.0.1:5"], "say --beyond-loopback"),
        (["--stall", "-1", "--topology", "x.yaml"], "--stall -1: say more than 0"),
        (["--delay", "nan", "--topology", "x.yaml"], "--delay nan: say 0 or more"),
        (["--reset-every", "0", "--topology", "x.yaml"], "--reset-every 0: say more than 0"),
        (["--topology", "x.yaml"], "there is no such experiment file"),
        (["--topology", "experiment.yaml", "--offset", "30000"], "ports would begin at 77100"),
        (["--topology", "experiment.yaml", "--offset", "3"], "would be a proxy's and a peer's"),
        (["--topology", "experiment.yaml", "--out", "experiment.yaml"], "is left as it is"),
    ],
)
def test_a_mistake_is_a_line(processes: Processes, arguments: list[str], line: str) -> None:
    processes.write(SMALL)
    chaos = processes.command("chaos", *arguments)
    assert chaos.wait(timeout=30) == 2
    said = chaos.communicate()[0]
    assert line in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_the_file_that_it_writes_may_be_written_again(processes: Processes) -> None:
    for _ in range(2):
        chaos, file = behind_proxies(processes, SMALL | {"addresses": free_addresses(5)})
        assert file.read_text().startswith("# Written by peer chaos: 'experiment.yaml'")
        ended(chaos)
