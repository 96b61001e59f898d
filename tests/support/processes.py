"""Commands that a test starts: as a shell would, or forked from a process that has imported all."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml

import peer.__main__
from tests.support.failpoints import Failpoint
from tests.support.namespaces import Machine

ROOT = Path(__file__).resolve().parents[2]
FORKING = multiprocessing.get_context("forkserver")


def start_fork_server() -> None:
    """Have a process import what a peer imports, once: every peer is forked from it.

    A peer's imports take seconds of a core, many times what its few rounds take.
    """
    FORKING.set_forkserver_preload(["peer.__main__", "sklearn.datasets"])
    with contextlib.chdir(ROOT):  # the server imports from where it starts
        forkserver.ensure_running()


class ForkedPeer:
    """The command ``peer`` in a process of its own; what tests use of ``subprocess.Popen``."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        machine: Machine | None = None,
        failpoint: Failpoint | None = None,
    ) -> None:
        start_fork_server()
        reading, writing = FORKING.Pipe(duplex=False)
        self._process = FORKING.Process(
            target=_run_peer,
            args=(arguments, str(folder), dict(os.environ), writing, machine, failpoint),
        )
        self._process.start()
        writing.close()  # so that reading ends where the peer does
        self.stdout = os.fdopen(os.dup(reading.fileno()), encoding="utf-8")
        reading.close()

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("peer", timeout)
        return code

    def communicate(self) -> tuple[str, None]:
        said = self.stdout.read()
        self.wait()
        return said, None

    def kill(self) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)


def _run_peer(
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    writing: Connection,
    machine: Machine | None,
    failpoint: Failpoint | None,
) -> None:
    os.dup2(writing.fileno(), 1)
    os.dup2(writing.fileno(), 2)
    writing.close()
    # Streams of its own: those of the server that it was forked from were opened on other files.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    _hear_hangups()
    if machine is not None:
        machine.enter()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["peer", *arguments]
    if failpoint is not None:
        failpoint.arm()
    peer.__main__.main()


def _hear_hangups() -> None:
    """A process under test hears SIGHUP, though the tests may run under nohup, or in a terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.setsid()  # without a terminal


class Processes:
    """Commands started by a test; all ended with it, each by its own id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str] | ForkedPeer] = []

    def write(self, keys: Mapping[str, Any], name: str = "experiment.yaml") -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(dict(keys)), encoding="utf-8")
        return path

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """``python`` with these arguments: as a user starts it, imports and all."""
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=_hear_hangups,
        )
        self.started.append(process)
        return process

    def peer(
        self,
        file: Path,
        peer: int,
        *more: str,
        machine: Machine | None = None,
        run: str = "run",
        failpoint: Failpoint | None = None,
    ) -> ForkedPeer:
        """``peer --id``, without waiting for its imports; on a ``machine`` of a test's network.

        It kills itself at its ``failpoint``, if it has one.
        """
        arguments = ["--id", str(peer), "--topology", str(file)]
        folder = str(self.folder / run)
        return self.command(
            *arguments, "--run-dir", folder, *more, machine=machine, failpoint=failpoint
        )

    def command(
        self, *arguments: str, machine: Machine | None = None, failpoint: Failpoint | None = None
    ) -> ForkedPeer:
        """``peer`` with these arguments."""
        process = ForkedPeer(list(arguments), self.folder, machine, failpoint)
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def until(process: ForkedPeer | subprocess.Popen[str], words: str) -> str:
    """Read a process's lines up to the first that has ``words`` in it; returns all of them."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it never said '{words}', only:\n{said}")
