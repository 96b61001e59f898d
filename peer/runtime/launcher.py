"""Every peer of an experiment as a process on this machine, under one live table."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peer.console import fitting
from peer.experiment import Experiment, from_mapping
from peer.experiment.reaching import ELECTION_PORT
from peer.runtime.output import stamp
from peer.runtime.progress import (
    PROGRESS,
    REACHABLE,
    Pace,
    bytes_in_words,
    describe,
    loss_in_words,
)
from peer.runtime.signals import STOPPED, Stop
from peer.state.recorder import write_experiment
from topology.errors import UserError

AGREED = 8.0
"""Seconds in which all peers are to stop after the same round; then each does by itself."""

GRACE = 15.0
"""Seconds a peer has for leaving after it was asked to, before it is ended."""


@dataclass
class Child:
    """One peer's process and what it last said of itself.

    Attributes:
        promise: the round that it will not go beyond, once it was asked for one.
    """

    peer: int
    process: subprocess.Popen[str]
    status: dict[str, Any] = field(default_factory=dict)
    promise: int | None = None
    pace: Pace = field(default_factory=Pace)

    @property
    def runs(self) -> bool:
        """Whether its process has not ended."""
        return self.process.poll() is None

    def tell(self, order: str) -> None:
        """Give it an order (see :func:`peer.control.parent.listen_to_parent`)."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it is gone
            self.process.stdin.write(order + "\n")
            self.process.stdin.flush()


class Watch(Protocol):
    """Somebody who looks on while the peers run, and may do something to them."""

    def begun(self, children: list[Child], start: Callable[[Child], None]) -> None:
        """All have been started; ``start`` starts one anew whose process has ended."""

    def said(self, line: str) -> None:
        """A peer, or the launcher, said a line."""

    def look(self) -> None:
        """Some time has passed."""


def with_free_ports(experiment: Experiment) -> Experiment:
    """The experiment with an address a peer, on loopback ports that are free now."""
    sockets: list[socket.socket] = []
    addresses: list[str] = []
    try:
        while len(addresses) < experiment.peers + experiment.backups:
            pair = socket.socket(), socket.socket()  # for elections there is another
            sockets += pair
            pair[0].bind(("127.0.0.1", 0))
            port = pair[0].getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                if experiment.backups:
                    pair[1].bind(("127.0.0.1", port + ELECTION_PORT))
                addresses.append(f"tcp://127.0.0.1:{port}")
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
    keys: list[str],
    extra: list[str],
    stop: Stop,
    watch: Watch | None = None,
) -> dict[int, int]:
    """Start every peer, show them until all have ended; returns their exit codes.

    Asked to stop, all stop after one round, the same for all: no exchange is lost. Where they
    cannot in :data:`AGREED` seconds, each stops by itself; what is left after :data:`GRACE` seconds
    is ended. No process is left behind: if this one dies, the peers see it and stop.

    Args:
        experiment: that they run.
        run_dir: where they write.
        rounds: that it asks for.
        console: where they are shown.
        keys: options of every process.
        extra: options of the first ones, not of those that are started again.
        stop: whether they are asked to stop.
        watch: who looks on.

    Raises:
        UserError: nothing can be written into ``run_dir``.
    """
    try:
        write_experiment(experiment, run_dir)
        log = (run_dir / "peers.log").open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as problem:
        raise UserError(f"--run-dir {run_dir}: cannot be written: {problem.strerror}") from None
    is_live = console.is_terminal
    lines: deque[str] = deque(maxlen=8)

    def say(line: str) -> None:
        line = f"{stamp(not is_live)} {line}"
        lines.append(line)
        with contextlib.suppress(OSError):  # a full disk
            log.write(line + "\n")
            log.flush()
        if watch is not None:
            watch.said(line)
        if not is_live:
            console.print(line, highlight=False, soft_wrap=True)

    stop.tell = say
    readers: list[threading.Thread] = []

    def follow(child: Child) -> None:
        readers.append(threading.Thread(target=_read, args=(child, say), daemon=True))
        readers[-1].start()

    def start_again(child: Child) -> None:  # from its newest checkpoint, not from that of all
        _close(child.process)
        child.process, child.status = _start(child.peer, run_dir, keys), {}
        follow(child)

    processes = range(experiment.peers + experiment.backups)
    children = [Child(k, _start(k, run_dir, [*keys, *extra])) for k in processes]
    for child in children:
        follow(child)
    if watch is not None:
        watch.begun(children, start_again)
    stopping = _Stopping(children, say)
    live = Live(console=console, refresh_per_second=4, transient=False) if is_live else None
    told = time.monotonic()
    try:
        with live or contextlib.nullcontext():
            while any(child.runs for child in children):
                if stop.asked.is_set():
                    stopping.go_on()
                if watch is not None:
                    watch.look()
                if live is not None:
                    live.update(View(children, rounds, lines))
                elif time.monotonic() - told >= PROGRESS:
                    told = time.monotonic()
                    for child in children:
                        if child.runs:
                            say(f"peer {child.peer}: {_in_a_line(child, rounds)}")
                time.sleep(0.1)
            if live is not None:
                live.update(View(children, rounds, lines))
    finally:
        _end(children)
        for reader in readers:
            reader.join(timeout=5)
        log.close()
    if live is not None:
        console.print()  # what follows begins on a line of its own
    return {child.peer: child.process.returncode for child in children}


class _Stopping:
    """How the peers are stopped: after one round, else each by itself, else ended."""

    def __init__(self, children: list[Child], say: Callable[[str], None]) -> None:
        self.children = children
        self.say = say
        self._began: float | None = None
        self._is_agreed = False
        self._is_signalled = False

    def go_on(self) -> None:
        """Do what is to be done by now."""
        now = time.monotonic()
        running = [child for child in self.children if child.runs]
        if self._began is None:
            self._began = now
            self._signal(running, signal.SIGCONT)  # who is paused hears nothing
            if not all(child.status for child in running):  # some have not begun: nothing is lost
                self._signal(running, signal.SIGINT)
                self._is_signalled = True
            for child in running:
                child.tell("promise")
        promises = [child.promise for child in running if child.promise is not None]
        if running and len(promises) == len(running) and not self._is_agreed:
            self._is_agreed = True
            self.say(f"all stop after round {max(promises)}")
            for child in running:
                child.tell(f"stop after {max(promises)}")
        waited = now - self._began
        if waited > AGREED and not self._is_signalled:
            self._is_signalled = True
            self.say("some are not as far yet: each stops at the end of its own round")
            self._signal(running, signal.SIGINT)
        if waited > GRACE:
            self._signal(running, signal.SIGKILL)

    @staticmethod
    def _signal(children: list[Child], number: signal.Signals) -> None:
        for child in children:
            if child.runs:
                child.process.send_signal(number)


def _start(peer: int, run_dir: Path, extra: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "peer", "--id", str(peer)]
    command += ["--topology", str(run_dir / "experiment.yaml"), "--run-dir", str(run_dir)]
    return subprocess.Popen(
        [*command, "--status", *extra],
        stdin=subprocess.PIPE,  # its end tells the peer that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches it through us, once
    )


def _read(child: Child, say: Callable[[str], None]) -> None:
    """Follow what a peer says: status lines are JSON, everything else is for the user."""
    said = child.process.stdout
    assert said is not None
    with said:
        for line in map(str.rstrip, said):
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if "promise" in found:
                        child.promise = int(found["promise"])
                    else:
                        child.status = found
                    continue
            if line:
                say(f"peer {child.peer}: {line}")


def _end(children: list[Child]) -> None:
    """End what still runs, each by its own process id."""
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
        _close(child.process)
    for child in children:
        child.process.wait()


def _close(process: subprocess.Popen[str]) -> None:
    """Say no more to a process."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # a line that it did not take before it ended
            process.stdin.close()


class View:
    """What the terminal shows: a row a peer, and the last lines below.

    Where it is narrow, whole columns give way, the least needed first: a number that is cut is
    another number. What is said of a peer goes on in the next line.
    """

    def __init__(self, children: list[Child], rounds: int, lines: deque[str]) -> None:
        self.children = children
        self.rounds = rounds
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headings = [heading for heading in HEADINGS if heading != "score" or self._measure()]
        yield self._table(
            fitting(headings, GIVING_WAY, lambda some: self._table(some, SHORT), console, options)
        )
        yield Text("\n".join(self.lines), style="dim")

    def _table(self, headings: list[str], longest: int | None = None) -> Table:
        count = len(self.children)
        table = Table(title=f"{count} peer{'s' * (count != 1)}", title_justify="left")
        for heading in headings:
            words = self._measure() if heading == "score" else heading
            table.add_column(words, justify="right", no_wrap=True)
        table.add_column("", overflow="fold", max_width=longest)
        for child in self.children:
            cells = self._cells(child)
            table.add_row(*(cells[heading] for heading in headings), _condition(child))
        return table

    def _measure(self) -> str:
        """The name of the score; empty where nobody has told one."""
        told = (child.status["score"]["measure"] for child in self.children if _scored(child))
        return next(told, "").upper()

    def _cells(self, child: Child) -> dict[str, str]:
        status = child.status
        losses = status.get("losses", {})
        phases = status.get("phases", {})
        up_now = sum(phase in REACHABLE for phase in phases.values())
        return {
            "peer": str(child.peer),
            "round": f"{status.get('round', 0)}/{self.rounds}",
            "loss D": loss_in_words(losses.get("discriminator")),
            "loss G": loss_in_words(losses.get("generator")),
            "score": _distance(child),
            "links up": f"{up_now}/{len(phases)}",
            "in": bytes_in_words(status.get("bytes_in", 0)),
            "out": bytes_in_words(status.get("bytes_out", 0)),
        }


HEADINGS = ("peer", "round", "loss D", "loss G", "score", "links up", "in", "out")
GIVING_WAY = ("out", "in", "links up", "loss G", "loss D", "score")

SHORT = 16
"""Letters of what is said of a peer that are to find room in a line before a column gives way."""


def _in_a_line(child: Child, rounds: int) -> str:
    status = child.status
    round = int(status.get("round", 0))
    rate = child.pace.rate(time.monotonic(), round)
    state = status.get("losses", {}), status.get("phases", {}), status.get("score")
    return describe(round, rounds, rate, *state)


def _condition(child: Child) -> Text:
    code = child.process.poll()
    if code is None:
        away = [k for k, phase in child.status.get("phases", {}).items() if phase not in _GOOD]
        return Text(f"without peer {', '.join(away)}" if away else "", style="yellow")
    if code == 0:
        return Text("finished", style="green")
    if code < 0:
        return Text(f"killed ({signal.Signals(-code).name})", style="red")
    return Text("stopped" if code == STOPPED else f"failed (exit code {code})", style="red")


_GOOD = (*REACHABLE, "unknown")


def _scored(child: Child) -> bool:
    return bool(child.status.get("score"))


def _distance(child: Child) -> str:
    """To the network's images, by the peer's newest score."""
    score = child.status.get("score") or {}
    value = score.get(score.get("measure"))
    return "" if value is None else f"{value:.3g}"
