"""Every peer of an experiment as a process on this machine, under one live table."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peer.experiment import Experiment, from_mapping
from peer.state.recorder import write_experiment

GRACE = 15.0
"""Seconds that a peer has to stop after it was asked to, before it is killed."""


@dataclass
class Child:
    """One peer's process, and the last status that it sent."""

    peer: int
    process: subprocess.Popen[str]
    status: dict[str, Any] = field(default_factory=dict)


def with_free_ports(experiment: Experiment) -> Experiment:
    """The experiment with an address a peer, on loopback ports that are free now."""
    sockets = [socket.socket() for _ in range(experiment.peers)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        addresses = [f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()
    return from_mapping(
        experiment.resolved() | {"addresses": addresses, "listen": None}, folder=experiment.folder
    )


def up(
    experiment: Experiment,
    run_dir: Path,
    rounds: int,
    console: Console,
    extra: list[str],
) -> dict[int, int]:
    """Start every peer, show their status until all have ended, and return their exit codes.

    Ctrl-C is passed on, once. A peer that does not stop in :data:`GRACE` seconds, or before a
    second Ctrl-C, is killed. If this process dies, the peers notice it and stop.

    Args:
        experiment: of all the peers.
        run_dir: the folder that all write to.
        rounds: how many the table shows a peer's round out of.
        console: where the table is shown.
        extra: arguments that every peer's command gets.

    Returns:
        By peer, its exit code.
    """
    write_experiment(experiment, run_dir)
    lines: deque[str] = deque(maxlen=8)
    log = (run_dir / "peers.log").open("a", encoding="utf-8")
    children = [_start(peer, run_dir, extra) for peer in range(experiment.peers)]
    readers = [
        threading.Thread(target=_read, args=(child, lines, log), daemon=True) for child in children
    ]
    for reader in readers:
        reader.start()
    # When Ctrl-C came: noted, since an exception raised in a signal handler may be lost.
    asked: list[float] = []

    def ask(number: int, frame: object) -> None:
        asked.append(time.monotonic())

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    passed_on = False
    try:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            while running := [c for c in children if c.process.poll() is None]:
                live.update(_view(children, rounds, lines))
                if len(asked) > 1 or (asked and time.monotonic() - asked[0] > GRACE):
                    _signal(running, signal.SIGKILL)
                elif asked and not passed_on:
                    passed_on = True
                    _signal(running, signal.SIGINT)
                time.sleep(0.25)
            live.update(_view(children, rounds, lines))
        console.print()  # the table does not end its last line
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _end(children)
        for reader in readers:
            reader.join(timeout=5)
        log.close()
    return {child.peer: child.process.returncode for child in children}


def _start(peer: int, run_dir: Path, extra: list[str]) -> Child:
    command = [sys.executable, "-m", "peer", "--id", str(peer)]
    command += ["--topology", str(run_dir / "experiment.yaml"), "--run-dir", str(run_dir)]
    process = subprocess.Popen(
        [*command, "--status", *extra],
        stdin=subprocess.PIPE,  # closed when we die, which tells the peer
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that Ctrl-C reaches it through us alone, once
    )
    return Child(peer, process)


def _read(child: Child, lines: deque[str], log: Any) -> None:
    """Read a peer's output: JSON lines are its status, all others are for the user."""
    assert child.process.stdout is not None
    for line in child.process.stdout:
        line = line.rstrip()
        if line.startswith("{"):
            try:
                child.status = json.loads(line)
                continue
            except ValueError:
                pass
        if line:
            labelled = f"peer {child.peer}: {line}"
            lines.append(labelled)
            log.write(labelled + "\n")
            log.flush()


def _signal(children: list[Child], number: signal.Signals) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(number)


def _end(children: list[Child]) -> None:
    """Kill the processes that still run, and wait for all."""
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
        if child.process.stdin is not None:
            child.process.stdin.close()
    for child in children:
        child.process.wait()


def _view(children: list[Child], rounds: int, lines: deque[str]) -> Group:
    table = Table(title=f"{len(children)} peers", title_justify="left")
    for heading in ("peer", "round", "loss D", "loss G", "links up", "in", "out", ""):
        justify: JustifyMethod = "left" if heading == "" else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for child in children:
        status = child.status
        losses = status.get("losses", {})
        phases = status.get("phases", {})
        up_now = sum(phase in ("up", "left") for phase in phases.values())
        table.add_row(
            str(child.peer),
            f"{status.get('round', 0)}/{rounds}",
            _number(losses.get("discriminator")),
            _number(losses.get("generator")),
            f"{up_now}/{len(phases)}",
            _bytes(status.get("bytes_in", 0)),
            _bytes(status.get("bytes_out", 0)),
            _condition(child),
        )
    return Group(table, Text("\n".join(lines), style="dim"))


def _condition(child: Child) -> Text:
    code = child.process.poll()
    if code is None:
        away = [k for k, phase in child.status.get("phases", {}).items() if phase not in _GOOD]
        return Text(f"without peer {', '.join(away)}" if away else "", style="yellow")
    if code == 0:
        return Text("finished", style="green")
    if code < 0:
        return Text(f"killed ({signal.Signals(-code).name})", style="red")
    return Text("stopped" if code == 130 else f"failed (exit code {code})", style="red")


_GOOD = ("up", "left", "unknown")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
