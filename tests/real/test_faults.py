"""Peers that come late, never, or die; messages that should not have come."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path

from peer.state.checkpoint import saved_rounds
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import Processes, until

# The deadline is longer than a busy machine keeps silent who is alive.
RING = SMALL | {"deadline": 10.0, "algorithm": {"name": "diffusion", "rounds": 200}, "batch": 8}


def summary(run: Path, peer: int) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / f"peer-{peer}" / "summary.json").read_text())
    return found


def test_peers_started_by_hand_in_any_order_form_the_network(processes: Processes) -> None:
    """The first waits for the last; nobody is left out of a single exchange."""
    keys = SMALL | {"peers": 3, "addresses": free_addresses(3)}
    file = processes.write(keys)
    started = {}
    for peer in (2, 0, 1):  # each only once the one before it listens, and waits
        started[peer] = processes.peer(file, peer)
        until(started[peer], "rounds, with")
    for process in started.values():
        assert process.wait(timeout=120) == 0
    for peer in range(3):
        assert summary(processes.folder / "run", peer)["missing"] == {}
        assert summary(processes.folder / "run", peer)["rounds"] == 6


def test_a_killed_peer_does_not_stop_the_others(processes: Processes) -> None:
    file = processes.write(RING | {"addresses": free_addresses(5)})
    peers = {k: processes.peer(file, k) for k in range(5)}
    metrics = processes.folder / "run" / "peer-3" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 20:
        assert peers[3].poll() is None
        time.sleep(0.05)
    peers[3].kill()
    for k in (0, 1, 2, 4):
        assert peers[k].wait(timeout=200) == 0
    run = processes.folder / "run"
    for k in (2, 4):
        said = peers[k].communicate()[0]
        assert "going on without peer 3" in said
        missing = summary(run, k)["missing"]
        assert isinstance(missing, dict)
        assert list(missing) == ["3"]
        assert 100 < missing["3"] < 200  # all that came after it was killed, none before
    assert summary(run, 0)["missing"] == {}
    assert not (run / "peer-3" / "summary.json").exists()


def test_who_was_stopped_for_long_joins_the_others_where_they_are(processes: Processes) -> None:
    keys = SMALL | {"peers": 3, "batch": 8, "deadline": 2.0, "addresses": free_addresses(3)}
    file = processes.write(keys | {"algorithm": {"name": "diffusion", "rounds": 1500}})
    peers = {k: processes.peer(file, k) for k in range(3)}
    run = processes.folder / "run"

    def rounds(peer: int) -> list[dict[str, object]]:
        path = run / f"peer-{peer}" / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines[:-1]]

    while len(rounds(1)) < 20:
        assert peers[1].poll() is None
        time.sleep(0.05)
    peers[1].send_signal(signal.SIGSTOP)
    stopped_at = len(rounds(0))
    while len(rounds(0)) < stopped_at + 200:
        assert peers[0].poll() is None
        time.sleep(0.05)
    peers[1].send_signal(signal.SIGCONT)
    for process in peers.values():
        assert process.wait(timeout=200) == 0
    said = peers[1].communicate()[0]
    assert "rounds behind; going on in round" in said
    recorded = rounds(1)
    joined = [each for each in recorded if "rejoined" in each]
    assert len(joined[-1]["missing"]) < 2  # type: ignore[arg-type]  # it took what others had
    first, last = joined[0], joined[-1]
    assert isinstance(first["round"], int)
    assert isinstance(last["round"], int)
    assert first["round"] - first["rejoined"]["after"] > 100  # type: ignore[index]
    for k in (0, 2):
        after = [each for each in rounds(k) if each["round"] > last["round"]]  # type: ignore[operator]
        assert after
        assert all(each["missing"] == [] for each in after)  # it is one of them again


def test_a_peer_that_never_comes_does_not_stop_the_others(processes: Processes) -> None:
    keys = SMALL | {"peers": 3, "addresses": free_addresses(3), "start_timeout": 8.0}
    file = processes.write(keys)
    peers = [processes.peer(file, k) for k in (0, 1)]
    for process in peers:
        assert process.wait(timeout=120) == 0
        assert "going on without peer 2: it did not come in 8 s" in process.communicate()[0]
    assert summary(processes.folder / "run", 0)["missing"] == {"2": 6}


def test_ctrl_c_is_passed_on_and_nobody_stays(processes: Processes) -> None:
    keys = RING | {"peers": 2, "graph": "path", "algorithm": {"name": "diffusion", "rounds": 10**6}}
    file = processes.write(keys)
    up = processes.start("-m", "peer", "up", "--topology", file, "--run-dir", "run", "--no-report")
    run = processes.folder / "run"
    metrics = [run / f"peer-{k}" / "metrics.jsonl" for k in (0, 1)]
    while not all(path.exists() and path.read_text() for path in metrics):
        assert up.poll() is None
        time.sleep(0.05)
    children = children_of(up.pid)
    assert len(children) == 2
    up.send_signal(signal.SIGINT)
    assert up.wait(timeout=60) == 130
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert isinstance(summary(run, 0)["rounds"], int)  # what it had learned is kept


def test_peers_do_not_outlive_the_command_that_started_them(processes: Processes) -> None:
    keys = RING | {"peers": 2, "graph": "path", "algorithm": {"name": "diffusion", "rounds": 10**6}}
    up = processes.start(
        "-m", "peer", "up", "--topology", processes.write(keys), "--run-dir", "run", "--no-report"
    )
    run = processes.folder / "run"
    while not all((run / f"peer-{k}" / "metrics.jsonl").exists() for k in (0, 1)):
        assert up.poll() is None
        time.sleep(0.05)
    children = children_of(up.pid)
    up.kill()
    limit = time.monotonic() + 60
    while any(alive(child) for child in children):
        assert time.monotonic() < limit, "they go on although nobody watches"
        time.sleep(0.1)
    for k in (0, 1):
        saved = saved_rounds(run / f"peer-{k}")
        records = (run / f"peer-{k}" / "metrics.jsonl").read_text().splitlines()
        assert len(records) == (saved[0] if saved else 0)  # nothing that was learned is lost


def children_of(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_neighbour_with_another_file_is_named_by_both_sides(processes: Processes) -> None:
    keys = SMALL | {"peers": 2, "graph": "path", "addresses": free_addresses(2)}
    one = processes.peer(processes.write(keys, "one.yaml"), 0)
    changed = keys | {"seed": 1, "gan": {"name": "mlp-digits", "z": 16}}
    other = processes.peer(processes.write(changed, "other.yaml"), 1)
    for process, neighbour in ((one, 1), (other, 0)):
        assert process.wait(timeout=60) == 2
        said = process.communicate()[0]
        assert f"error: peer {neighbour} at" in said
        assert "runs another experiment: gan, model:generator, seed differ" in said
        assert "Traceback" not in said


def test_noise_on_the_port_does_not_disturb_a_run(processes: Processes) -> None:
    """Bytes that are no ZeroMQ at all, from before the first round to the last."""
    addresses = free_addresses(2)
    keys = SMALL | {"peers": 2, "graph": "path", "addresses": addresses}
    file = processes.write(keys)
    peers = [processes.peer(file, k) for k in (0, 1)]
    until(peers[0], "rounds, with")
    port = int(addresses[0].rpartition(":")[2])
    while peers[0].poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as noise:
                noise.sendall(b"\xff" * 5000 + b"GET / HTTP/1.1\r\n\r\n")
        except OSError:
            continue
    assert [process.wait(timeout=60) for process in peers] == [0, 0]
    assert summary(processes.folder / "run", 0)["missing"] == {}
