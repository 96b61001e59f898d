"""The command ``peer --id`` of a process that may be the server, and a worker's vote."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from peer.console import one_line, what_is_lacking
from peer.experiment import Experiment
from peer.net.keys import keys_folder
from peer.program import Program
from peer.runtime.options import Options
from peer.runtime.output import Output
from peer.runtime.process import PeerProcess
from peer.runtime.progress import PROGRESS, Pace, describe
from peer.runtime.signals import STOPPED, Stop
from peer.standby.host import Host
from peer.standby.voter import Voter


def stand_by(
    experiment: Experiment,
    me: int,
    program: Program,
    folder: Path,
    output: Output,
    options: Options,
    stop: Stop,
    again: str,
    as_json: bool,
) -> None:
    """Run a host to its end, and exit as a peer does.

    Args:
        experiment: the same everywhere.
        me: the process's id.
        program: what the server runs.
        folder: the run's.
        output: where it says what it does.
        options: how it is to run.
        stop: asks it to stop.
        again: the command that goes on with it.
        as_json: tell the status for a launcher, and no command to anybody.
    """
    host = Host(experiment, me, program, folder, output.say, options, stop)
    stop.begun(output.say, lambda: f"go on with: {again}")
    if as_json:
        host.listen_to_parent()
    else:
        kind = "the server" if me == host.server else f"a backup of peer {host.server}, the server"
        output.say(f"{program.name}, {program.rounds} rounds, as {kind}; to {host.run_dir}")
    finished = threading.Event()
    following = (host, program.rounds, finished, output, as_json)
    telling = threading.Thread(target=_follow, args=following, daemon=True)
    telling.start()
    how = "" if as_json else f"; go on with: {again}"
    try:
        ending = host.run()
    except Exception as problem:
        lacking = what_is_lacking(problem)
        if not lacking:
            traceback.print_exc()
        why = f" ({one_line(lacking)})" if lacking else ""
        output.say(f"crashed after round {host.saved}{why}{how}")
        sys.exit(1)
    finally:
        finished.set()
        telling.join(timeout=5)
        output.end()
    if as_json:
        output.put(json.dumps(asdict(host.status)))
    if not ending.completed:
        output.say(f"stopped; round {ending.saved or 0} is held here{how}")
        sys.exit(STOPPED)
    output.say(f"finished after round {ending.round}; the server's state is in {host.run_dir}")
    if ending.problem:
        sys.exit(1)


def _follow(
    host: Host, rounds: int, finished: threading.Event, output: Output, as_json: bool
) -> None:
    """As :func:`peer.runtime.progress.follow`, whoever is the server."""
    pace, told = Pace(), time.monotonic()
    while not finished.wait(0.5):
        now, status = time.monotonic(), host.status
        if as_json:
            output.put(json.dumps(asdict(status)))
        elif now - told >= PROGRESS:
            told = now
            rate = pace.rate(now, status.round)
            line = describe(status.round, rounds, rate, dict(status.losses), dict(status.phases))
            output.say(line if host.process is not None else f"stands by: {line}")


def voter_of(
    experiment: Experiment, process: PeerProcess, options: Options, output: Output
) -> Voter | None:
    """The vote that a worker has where the server has backups.

    Raises:
        UserError: its keys or its address are not right.
    """
    server = process.program.server
    if not experiment.backups or server is None:
        return None
    return Voter(
        experiment,
        process.state.peer,
        server,
        process.folder,
        keys_folder(options.keys),
        process.io,
        output.say,
    )
