"""Names that do not resolve, machines that are off, IPv6, stale keys, one id twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.namespaces import Machine, Network
from tests.support.processes import ForkedPeer, Processes

pytestmark = pytest.mark.timeout(240)

LONGEST = 150.0
"""Seconds after which what must end has not ended."""

KEYS: dict[str, Any] = {
    "peers": 2,
    "graph": "path",
    "addresses": "tcp://pi-{id}.local:{port}",
    "listen": "tcp://*:{port}",
    "algorithm": {"name": "diffusion", "rounds": 6},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 16,
    "checkpoint": 0,
    "insecure": True,
    "start_timeout": 60,
    "deadline": 4,
}
MakeNetwork = Callable[[int], Network]


def ended(process: ForkedPeer) -> tuple[int, str]:
    """The exit code, and everything that was said."""
    code = process.wait(timeout=LONGEST)
    return code, process.communicate()[0]


def last_line(said: str) -> str:
    return said.strip().splitlines()[-1]


def missed(folder: Path, peer: int) -> list[list[int]]:
    """Whom a peer did without, round by round."""
    lines = (folder / "run" / f"peer-{peer}" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["missing"] for line in lines]


def run_all(
    processes: Processes, keys: dict[str, Any], machines: list[Machine]
) -> list[tuple[int, str]]:
    file = processes.write(keys)
    started = [processes.peer(file, k, machine=machine) for k, machine in enumerate(machines)]
    return [ended(process) for process in started]


def test_one_name_that_nobody_answers_for_and_one_machine_off(
    network: MakeNetwork, processes: Processes
) -> None:
    """The other peers train together from the end of the start time-out on."""
    lab = network(5)
    names = {f"pi-{i}.local": f"10.77.0.{i + 1}" for i in range(4)}  # the name server is silent
    lab.name_everybody(names)
    keys = KEYS | {"peers": 5, "graph": "complete", "start_timeout": 8}
    found = run_all(processes, keys, lab.machines[:3])  # 3 is off, and so is 4, name and all
    for k, (code, said) in enumerate(found):
        assert code == 0, said
        rounds = missed(processes.folder, k)
        assert rounds[0] == [3, 4]
        assert all(away == [3, 4] for away in rounds)
        assert "going on without peer 3" in said
        assert "going on without peer 4" in said
        assert said.count("pi-4.local") <= 2  # said once, not at every attempt


@pytest.mark.parametrize("named", [False, True])
def test_ipv6_literals_and_names(network: MakeNetwork, processes: Processes, named: bool) -> None:
    lab = network(2)
    lab.name_everybody({f"pi-{i}.six": f"fd77::{i + 1}" for i in range(2)})
    hosts = [f"pi-{i}.six" if named else f"[fd77::{i + 1}]" for i in range(2)]
    addresses = [f"tcp://{host}:4710{i}" for i, host in enumerate(hosts)]
    found = run_all(processes, KEYS | {"addresses": addresses, "listen": None}, lab.machines)
    for k, (code, said) in enumerate(found):
        assert code == 0, said
        assert all(away == [] for away in missed(processes.folder, k))


def test_a_name_of_two_families_of_which_one_is_silent(
    network: MakeNetwork, processes: Processes
) -> None:
    lab = network(2)
    lab.name_everybody({})
    for i, machine in enumerate(lab.machines):
        hosts = Path(machine.files["/etc/hosts"])
        lines = [f"fd77::99 pi-{k}.local\n10.77.0.{k + 1} pi-{k}.local" for k in range(2) if k != i]
        hosts.write_text(hosts.read_text() + "\n".join(lines) + f"\n10.77.0.{i + 1} pi-{i}.local\n")
    for k, (code, said) in enumerate(run_all(processes, KEYS, lab.machines)):
        assert code == 0, said
        assert all(away == [] for away in missed(processes.folder, k))


def test_a_machine_whose_own_name_is_its_loopback(
    network: MakeNetwork, processes: Processes
) -> None:
    lab = network(2)
    names = {f"pi-{i}.local": f"10.77.0.{i + 1}" for i in range(2)}
    lab.name_everybody(names, own={i: f"pi-{i}.local" for i in range(2)})
    for i, machine in enumerate(lab.machines):  # its own line alone, as Debian has it
        hosts = Path(machine.files["/etc/hosts"])
        own = f"10.77.0.{i + 1} pi-{i}.local\n"
        hosts.write_text(hosts.read_text().replace(own, ""))
    for k, (code, said) in enumerate(run_all(processes, KEYS | {"listen": None}, lab.machines)):
        assert code == 0, said
        assert f"the name pi-{k}.local stands for tcp://127.0.1.1:4710{k}" in said
        assert all(away == [] for away in missed(processes.folder, k))


def test_a_stale_key_is_told_at_both_ends(network: MakeNetwork, processes: Processes) -> None:
    lab = network(2)
    public = {}
    for k in (0, 1, 1):  # peer 1 makes its key once more, and peer 0 keeps the old file
        made = processes.command("keys", "--id", str(k), "--keys", f"keys-{k}-{len(public)}")
        code, said = ended(made)
        assert code == 0, said
        public[len(public)] = said.strip().splitlines()[-1].split('"')[1]
    keys = KEYS | {"insecure": False, "start_timeout": 6}
    old = processes.write(keys | {"keys": {0: public[0], 1: public[1]}}, "old.yaml")
    new = processes.write(keys | {"keys": {0: public[0], 1: public[2]}}, "new.yaml")
    first = processes.peer(old, 0, "--keys", "keys-0-0", machine=lab.machines[0])
    second = processes.peer(new, 1, "--keys", "keys-1-2", machine=lab.machines[1])
    code, said = ended(first)
    assert code == 3, said
    assert "no neighbour was reached in 6 s (peer 1 at tcp://pi-1.local:47101: " in last_line(said)
    assert "its key differs from the one under 'keys:'" in last_line(said)
    code, said = ended(second)
    assert code == 3, said
    assert "our key is refused" in last_line(said)
    assert "peer 0 at tcp://pi-0.local:47100" in last_line(said)


def test_one_id_twice_is_told_to_both(network: MakeNetwork, processes: Processes) -> None:
    lab = network(3)
    file = processes.write(KEYS | {"algorithm": {"name": "diffusion", "rounds": 1500}})
    first = [processes.peer(file, k, machine=lab.machines[k]) for k in range(2)]
    for line in first[1].stdout:
        if "up (connected)" in line:
            break
    second = processes.peer(file, 1, machine=lab.machines[2], run="elsewhere")
    code, said = ended(second)
    assert code == 2, said
    assert "--id 1: another process is peer 1 already, says peer 0" in last_line(said)
    for k, words in enumerate(
        ("a second process says that it is peer 1", "another process has our id 1")
    ):
        code, said = ended(first[k])
        assert code == 0, said
        assert words in said
        assert all(away == [] for away in missed(processes.folder, k))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nobody listens", "connection refused: nothing listens at that port"),
        ("the machine is off", "no route to that machine, or it is off"),
        ("the name is not known", "nobody answers for the name pi-1.local"),
    ],
)
def test_isolation_is_an_exit_code_of_its_own(
    network: MakeNetwork, processes: Processes, case: str, reason: str
) -> None:
    lab = network(2)
    if case == "the machine is off":
        lab.name_everybody({"pi-0.local": "10.77.0.1", "pi-1.local": "10.77.0.77"})
    if case == "the name is not known":
        lab.name_everybody({"pi-0.local": "10.77.0.1"})
    file = processes.write(KEYS | {"start_timeout": 7})
    code, said = ended(processes.peer(file, 0, machine=lab.machines[0]))
    assert code == 3, said
    assert f"no neighbour was reached in 7 s (peer 1 at tcp://pi-1.local:47101: {reason}" in said
    assert "to train without them, say alone: true" in last_line(said)
    assert "finished" not in said


def test_alone_is_allowed_where_it_is_asked_for(network: MakeNetwork, processes: Processes) -> None:
    lab = network(1)
    file = processes.write(KEYS | {"start_timeout": 2, "alone": True})
    code, said = ended(processes.peer(file, 0, machine=lab.machines[0]))
    assert code == 0, said
    assert all(away == [1] for away in missed(processes.folder, 0))


def test_check_names_the_layer(network: MakeNetwork, processes: Processes) -> None:
    lab = network(4)
    lab.name_everybody({f"pi-{i}.local": f"10.77.0.{i + 1}" for i in range(3)})
    long = {"algorithm": {"name": "diffusion", "rounds": 100_000}, "graph": "star"}
    file = processes.write(KEYS | long | {"peers": 4, "start_timeout": 120})
    other = processes.write(KEYS | long | {"peers": 4, "seed": 5, "start_timeout": 120}, "5.yaml")
    running = [
        processes.peer(file, 1, machine=lab.machines[1]),
        processes.peer(other, 2, machine=lab.machines[2]),
    ]
    for process in running:
        for line in process.stdout:
            if "rounds, with" in line:
                break
    words = ["check", "--id", "0", "--topology", str(file)]
    code, said = ended(processes.command(*words, machine=lab.machines[0]))
    assert code == 2, said
    assert "neighbour 1 at tcp://pi-1.local:47101: runs, and is at round 0" in said
    assert "neighbour 2 at tcp://pi-2.local:47102: experiment: seed differ" in said
    assert "neighbour 3 at tcp://pi-3.local:47103: name: nobody answers for the name" in said
    words = ["check", "--id", "1", "--topology", str(file)]
    code, said = ended(processes.command(*words, machine=lab.machines[1]))
    assert "address: peer 1 runs, and is at round 0" in said
    assert "neighbour 0 at tcp://pi-0.local:47100: is not there yet (port: " in said
