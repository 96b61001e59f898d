"""The doctor names the layer: each fault is made for real, on loopback, and one line says it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import algorithms
import peer.__main__
from peer.console import run_app
from peer.doctor.finding import LAYERS
from peer.experiment import load
from peer.machine.likeness import Likeness
from peer.net.endpoint import Endpoint
from peer.net.io_thread import IoThread
from peer.net.keys import make_keys
from peer.net.sockets import Sockets
from peer.runtime.identity import identify, security_of
from peer.runtime.links import make_links
from peer.runtime.loading import load_peer
from tests.peer.net.test_sockets_and_io_thread import free_address


class House:
    """Two peers of one file: the doctor is asked on the machine of the first."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.file = folder / "two.yaml"
        self.keys = folder / "keys"
        self.addresses = [free_address() for _ in range(2)]
        self.write()

    def write(self, file: Path | None = None, **keys: Any) -> Path:
        """The experiment file, with some keys changed."""
        experiment = {
            "peers": 2,
            "graph": "path",
            "addresses": self.addresses,
            "algorithm": {"name": "diffusion", "rounds": 5},
            "optimizer": {"name": "adam", "lr": 0.001},
            "gan": "mlp-digits",
            "data": {"source": "digits", "partition": "all"},
        }
        path = file or self.file
        path.write_text(yaml.safe_dump(experiment | keys))
        return path

    @contextlib.contextmanager
    def neighbour(self, file: Path | None = None, machine: str | None = None) -> Iterator[None]:
        """Peer 1, listening, as its own file says; ``machine`` is what it tells of that."""
        experiment = load(file or self.file)
        state, source = load_peer(experiment, 1, algorithms.find(experiment))
        me = identify(experiment, state, source, range(2))
        if machine is not None:
            me = replace(me, machine=lambda: machine)
        security = security_of(experiment, 1, self.keys)
        others = {0: experiment.address(0)}
        sockets = Sockets(experiment.address(1), others, security)
        links = make_links(experiment, state, me, others, True, time.monotonic())
        io = IoThread(sockets, Endpoint(links, others), lambda line: None)
        io.start()
        try:
            yield
        finally:
            io.finish(round=0, patience=0.0)
            assert not io.is_alive()

    def ask(self, *words: str, command: str = "doctor") -> tuple[int, list[str]]:
        """The exit code, and what is said."""
        arguments = [command, "--id", "0", "--topology", str(self.file), "--keys", str(self.keys)]
        code = 0
        try:
            run_app(peer.__main__.app, [*arguments, *words])
        except SystemExit as end:
            code = int(end.code or 0)
        told = self.capsys.readouterr()
        return code, told.out.splitlines() + told.err.splitlines()

    def fault(self, layer: str, words: str, mend: str, *options: str) -> None:
        """The doctor finds one fault: this one, and no other."""
        assert layer in LAYERS
        code, said = self.ask(*options)
        assert code == 2, said
        *lines, last = said
        assert last == f"the layer to mend is {layer}" + (
            f": {mend}" if mend else ", as its line says"
        )
        assert [line for line in lines if re.search(words, line)] != [], said


@pytest.fixture
def house(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> House:
    monkeypatch.chdir(tmp_path)
    return House(tmp_path, capsys)


def test_all_is_well(house: House) -> None:
    with house.neighbour():
        code, said = house.ask()
    assert code == 0, said
    assert said[-1] == "all is well"
    assert f"peer 0: neighbour 1 at {house.addresses[1]}: runs, and is at round 0" in said
    assert list(house.folder.glob("doctor-*")) == []


def test_1_a_wrong_name(house: House) -> None:
    house.addresses[1] = "tcp://no-such-machine.invalid:47101"
    house.write(insecure=True)
    house.fault(
        "name",
        r"neighbour 1 at tcp://no-such-machine.invalid:47101: name: (the name|nobody answers for)",
        "getent hosts no-such-machine.invalid",
    )


def test_2_nobody_listens(house: House) -> None:
    words = rf"neighbour 1 at {house.addresses[1]}: port: connection refused: nothing listens"
    house.fault("port", words, f"peer --id 1 --topology {house.file}")

    code, said = house.ask(command="check")  # before anything runs, that is no fault
    assert code == 0, said
    assert any("is not there yet (port: connection refused" in line for line in said)


def test_2_no_route(house: House) -> None:
    house.addresses[1] = "tcp://10.99.0.1:47101"
    house.write(insecure=True)
    asked: list[Any] = []

    def on_an_island() -> None:
        """A thread has a network of its own: loopback alone."""
        if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0:  # CLONE_NEWNET
            asked.append(subprocess.run(["ip", "link", "set", "lo", "up"], check=False).returncode)
            with contextlib.suppress(AssertionError):
                words = (
                    r"neighbour 1 at tcp://10.99.0.1:47101: route: no route: this machine has no"
                )
                house.fault("route", words, "ping -c 3 10.99.0.1")
                asked.append("named")

    thread = threading.Thread(target=on_an_island)
    thread.start()
    thread.join()
    if not asked or asked[0] != 0:
        pytest.skip("no network namespace can be made here")
    assert asked == [0, "named"]


def test_3_another_program_at_the_port(house: House) -> None:
    host, _, port = house.addresses[0].removeprefix("tcp://").partition(":")
    with socket.create_server((host, int(port))), house.neighbour():
        words = rf"peer 0: address: {house.addresses[0]} is in use by another program"
        house.fault("port", words, f"ss -ltnp 'sport = :{port}'")


@pytest.mark.parametrize(("hours", "how"), [(1, "60 min ahead of"), (-1, "60 min behind")])
def test_4_a_clock_an_hour_off(house: House, hours: int, how: str) -> None:
    told = Likeness(time.time() + 3600 * hours, str(torch.__version__)).to_word()
    with house.neighbour(machine=told):
        words = rf"neighbour 1 at {house.addresses[1]}: clock: it is {how} this machine's"
        house.fault("clock", words, "sudo timedatectl set-ntp true")


def test_5_a_wrong_key(house: House) -> None:
    public = {k: make_keys(k, house.keys) for k in range(2)}
    stranger = make_keys(0, house.folder / "others")
    house.write(keys=public)
    file = house.write(house.folder / "theirs.yaml", keys={**public, 0: stranger})
    with house.neighbour(file):
        words = rf"neighbour 1 at {house.addresses[1]}: key: our key is refused: its experiment"
        house.fault("key", words, "peer keys --id 0")


def test_5_no_key_at_all(house: House) -> None:
    public = {k: make_keys(k, house.folder / "others") for k in range(2)}
    house.write(keys=public)
    house.fault("key", r"peer 0 has no secret key at .*peer-0.secret", "peer keys --id 0")


def test_6_another_experiment(house: House) -> None:
    with house.neighbour(house.write(house.folder / "theirs.yaml", seed=7)):
        words = rf"neighbour 1 at {house.addresses[1]}: experiment: seed differ; give every peer"
        host = house.addresses[1].removeprefix("tcp://").partition(":")[0]
        house.fault("experiment", words, f"scp {house.file} {host}:")


def test_7_a_damaged_data_file(house: House) -> None:
    path = house.folder / "images.npz"
    np.savez(path, images=np.zeros((9, 8, 8), np.uint8))
    path.write_bytes(path.read_bytes()[:200])
    house.write(data={"source": "npz", "path": str(path), "partition": "all"})
    house.fault("data", rf"peer 0: data.path: {path}", "")


def test_8_a_full_disk(house: House) -> None:
    full = house.folder / "full"
    full.mkdir()
    if os.getuid() == 0:  # whom no mode stops
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("nothing can be mounted here")
        why = "No space left on device"
    else:
        full.chmod(0o500)
        why = "Permission denied"
    try:
        with house.neighbour():
            words = rf"peer 0: {full} takes no checkpoint of [\d,]+ bytes: {why}; make room"
            house.fault("disk", words, f"df -h {full}", "--run-dir", str(full / "run"))
        assert list(full.iterdir()) == []
    finally:
        if os.getuid() == 0:
            subprocess.run(["umount", str(full)], check=True)


@contextlib.contextmanager
def limited(what: int, most: Callable[[], int]) -> Iterator[None]:
    """A limit of this process, taken back afterwards."""
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most(), hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def beyond(mebibytes: int) -> Callable[[], int]:
    """So much more memory than this process has by now."""

    def most() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return pages * resource.getpagesize() + (mebibytes << 20)

    return most


@pytest.mark.skipif(sys.platform != "linux", reason="says how much there is in Linux's way")
def test_9_too_little_memory_to_look_at_anything(house: House) -> None:
    with limited(resource.RLIMIT_AS, beyond(24)):
        words = r"^training takes 34 MB more, and ulimit -v leaves \d+ MB; raise that, or choose"
        house.fault("memory", words, "ulimit -v unlimited")


@pytest.mark.skipif(sys.platform != "linux", reason="says how much there is in Linux's way")
def test_9_nets_that_are_too_large_to_train(house: House) -> None:
    """Their 154 MB find room; gradients, moments, a checkpoint's copy and what is sent do not."""
    house.write(gan={"name": "mlp-digits", "z": 300_000})
    with limited(resource.RLIMIT_AS, beyond(1500)):
        words = r"peer 0: training takes 1\.\d GB more, and ulimit -v leaves .*; raise that, or"
        house.fault("memory", words, "ulimit -v unlimited")


@pytest.mark.skipif(sys.platform != "linux", reason="says how much there is in Linux's way")
def test_9_nets_that_are_too_large_to_be_made(house: House) -> None:
    house.write(gan={"name": "mlp-digits", "z": 5_000_000})
    with limited(resource.RLIMIT_AS, beyond(800)):
        words = r"peer 0: memory does not suffice \(.*; lower batch, peers or the nets"
        house.fault("memory", words, "free -m")


def test_10_too_few_descriptors(house: House) -> None:
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lambda: lowest + 20):
        words = r"peer 0: 1 neighbours take \d+ open files and connections, and this process may"
        code, said = house.ask()
        assert code == 2, said
        assert any(re.search(words, line) for line in said), said
        assert re.fullmatch(r"the layer to mend is descriptors: ulimit -n \d+", said[-1])


def test_11_another_torch(house: House) -> None:
    with house.neighbour(machine=Likeness(time.time(), "2.12.1+cpu").to_word()):
        words = rf"torch: it has 2\.12\.1\+cpu, and this machine {re.escape(torch.__version__)};"
        house.fault("torch", words, f"{sys.executable} -m pip install torch==2.12.1")


def test_12_another_number_of_threads(house: House) -> None:
    with house.neighbour(house.write(house.folder / "theirs.yaml", threads=2)):
        words = rf"neighbour 1 at {house.addresses[1]}: threads: it computes with another number"
        host = house.addresses[1].removeprefix("tcp://").partition(":")[0]
        house.fault("threads", words, f"scp {house.file} {host}:")


def test_12_more_threads_than_processors(house: House) -> None:
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    house.write(threads=processors + 1)
    with house.neighbour():
        words = rf"threads: {processors + 1} are more than the {processors} processors"
        house.fault("threads", words, "nproc")


def test_an_older_neighbour_tells_nothing_of_its_machine(house: House) -> None:
    with house.neighbour(machine=""):
        code, said = house.ask()
    assert code == 0, said


def test_several_faults_are_all_said_and_the_first_is_named(house: House) -> None:
    house.write(threads=1024)
    code, said = house.ask()
    assert code == 2
    assert sum("threads: 1024" in line or "connection refused" in line for line in said) == 2
    assert said[-1].startswith("the layer to mend is threads: nproc (2 faults; the first may be")
