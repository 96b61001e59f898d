"""Signals: before there is anything to save, while there is, and again."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

UNHINDERED = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
"""Also where these tests themselves run under nohup, which would be inherited."""

WAITING = """
import sys, time
from peer.runtime import signals
stop = signals.Stop()
stop.obey_signals()
assert not {"torch", "numpy", "networkx"} & sys.modules.keys()
if "begun" in sys.argv:
    def say(line):
        print(line + "\\n", end="", flush=True)

    reload = (lambda: say("read again")) if "reloads" in sys.argv else None
    stop.begun(say, lambda: "round 100 is saved", reload)
print("ready", flush=True)
while not stop.asked.wait(0.01):
    pass
print(f"asked: {stop.why}\\n", end="", flush=True)
time.sleep(20)
"""


TERMINALS: list[int] = []


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    made: list[subprocess.Popen[str]] = []
    yield made
    for process in made:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    while TERMINALS:
        os.close(TERMINALS.pop())


def start(
    started: list, *words: str, before: str = "", terminal: bool = True
) -> subprocess.Popen[str]:
    """In a terminal of its own, which nobody closes, or in none."""
    master, slave = pty.openpty()

    def enter() -> None:
        os.setsid()
        if terminal:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-c", (before or UNHINDERED) + WAITING, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=enter,
        pass_fds=(slave,),
    )
    os.close(slave)
    TERMINALS.append(master)
    started.append(process)
    assert line(process) == "ready"
    return process


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_before_it_began_it_ends_and_says_so(number: signal.Signals, started: list) -> None:
    process = start(started)
    process.send_signal(number)
    assert line(process) == f"{number.name}: stopped before anything was trained"
    assert process.wait(timeout=20) == 130


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_trains_it_is_asked(number: signal.Signals, started: list) -> None:
    process = start(started, "begun")
    process.send_signal(number)
    said = {line(process), line(process)}
    assert said == {f"{number.name}: stopping at the end of this round", f"asked: {number.name}"}
    process.send_signal(number)  # as a terminal, or whatever stands between, may do
    time.sleep(0.3)
    assert process.poll() is None
    time.sleep(1.0)
    process.send_signal(signal.SIGHUP)  # a terminal that closes is not impatient
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert line(process) == "SIGTERM again: ended at once; round 100 is saved"
    assert process.wait(timeout=20) == 130


def test_without_a_terminal_sighup_lets_it_read_again(started: list) -> None:
    """No terminal can have been closed: it means what it means to daemons."""
    process = start(started, "begun", "reloads", terminal=False)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        assert line(process) == "read again"
    process.send_signal(signal.SIGTERM)
    assert "SIGTERM" in line(process)


def test_without_a_terminal_sighup_at_the_start_changes_nothing(started: list) -> None:
    process = start(started, terminal=False)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert line(process) == "SIGTERM: stopped before anything was trained"


@pytest.mark.parametrize(("words", "terminal"), [(("begun", "reloads"), True), (("begun",), False)])
def test_sighup_stops_where_a_terminal_was_closed_or_nothing_can_be_read_again(
    words: tuple[str, ...], terminal: bool, started: list
) -> None:
    process = start(started, *words, terminal=terminal)
    process.send_signal(signal.SIGHUP)
    assert {line(process), line(process)} == {
        "SIGHUP: stopping at the end of this round",
        "asked: SIGHUP",
    }


def test_what_nohup_ignores_stays_ignored(started: list) -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = start(started, "begun", before=ignoring)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert "SIGTERM" in line(process)
    assert "SIGTERM" in line(process)
