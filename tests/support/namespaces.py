"""Machines on one network, made of network namespaces: each with its own address, names and files.

Needs root and the command ``ip``. Nothing leaves this machine: the namespaces hang on a bridge in a
namespace of its own, with no way out.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 0x4000, 0x40000


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True, timeout=20)


def why_not() -> str:
    """Why no machines can be made here; empty where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no command 'ip' here"
    try:
        ip("netns add hearsay-try")
        ip("netns del hearsay-try")
    except subprocess.CalledProcessError as problem:
        return f"no network namespaces here: {problem.stderr.strip()}"
    return ""


@dataclass
class Machine:
    """One machine.

    Attributes:
        namespace: its name.
        files: what it has in place of files of this machine, by their paths.
    """

    namespace: str
    files: dict[str, str] = field(default_factory=dict)

    def enter(self) -> None:
        """From now on, this process is on that machine. (For a process of one thread.)"""
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        _check(libc.setns(descriptor, CLONE_NEWNET))
        os.close(descriptor)
        _check(libc.unshare(CLONE_NEWNS))
        _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        for place, source in self.files.items():
            _check(libc.mount(source.encode(), place.encode(), None, MS_BIND, None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Network:
    """``count`` machines on one bridge, at 10.77.0.1, fd77::1 and so on.

    Args:
        tag: begins the namespaces' names; unique to a test.
        count: machines.
        folder: where their files are written.
    """

    def __init__(self, tag: str, count: int, folder: Path) -> None:
        self.folder = folder
        self.bridge = f"{tag}-br"
        self.machines = [Machine(f"{tag}-{i}") for i in range(count)]
        ip(f"netns add {self.bridge}")
        ip(f"-n {self.bridge} link add b0 type bridge")
        ip(f"-n {self.bridge} link set b0 up")
        for i, machine in enumerate(self.machines):
            ip(f"netns add {machine.namespace}")
            ip(f"-n {machine.namespace} link set lo up")
            pair = f"p{i} netns {self.bridge} type veth peer name e0 netns {machine.namespace}"
            ip(f"link add {pair}")
            ip(f"-n {self.bridge} link set p{i} master b0 up")
            ip(f"-n {machine.namespace} addr add 10.77.0.{i + 1}/24 dev e0")
            ip(f"-n {machine.namespace} addr add fd77::{i + 1}/64 dev e0 nodad")
            ip(f"-n {machine.namespace} link set e0 up")
        self.name_everybody({f"pi-{i}.local": f"10.77.0.{i + 1}" for i in range(count)})
        self.write("resolv", "nameserver 10.77.0.99\noptions timeout:5 attempts:2\n")
        for machine in self.machines:  # a name server that never answers
            machine.files["/etc/resolv.conf"] = str(folder / "resolv")

    def write(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content)
        return path

    def name_everybody(
        self, names: Mapping[str, str], own: Mapping[int, str] | None = None
    ) -> None:
        """What names stand for, everywhere; ``own`` names are 127.0.1.1, as on Debian."""
        for i, machine in enumerate(self.machines):
            lines = ["127.0.0.1 localhost", "::1 localhost"]
            if own is not None:
                lines.append(f"127.0.1.1 {own[i]}")
            lines += [f"{number} {name}" for name, number in names.items()]
            path = self.write(f"hosts-{i}", "\n".join(lines) + "\n")
            machine.files["/etc/hosts"] = str(path)

    def close(self) -> None:
        for name in [self.bridge, *(machine.namespace for machine in self.machines)]:
            ip(f"netns del {name}")
