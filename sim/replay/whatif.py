"""The command ``sim whatif``: a run once more from one of its rounds on, with something changed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

import algorithms
from peer.console import Report, RunDir, Set, terminal
from peer.effects import Report as Completed
from peer.state import PeerState, SavedState
from peer.state.flight.reader import Incarnation
from peer.state.flight.recorder import flight_path
from sim.api import run as simulate
from sim.records.reader import RecordedRun, peer_folders, read_run
from sim.replay.run import replay_run
from sim.reporting.console import show_report
from sim.runs.origin import Origin, check_may_change, common_checkpoints, from_checkpoints
from sim.runs.simulate import resolve
from topology.errors import UserError

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]


def whatif(
    run: Folder,
    changes: Set = None,
    start: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="ROUND",
            min=1,
            help="Go on after so many rounds. [default: the newest checkpoint with rounds to go]",
        ),
    ] = None,
    run_dir: RunDir = None,
    engine: Annotated[str, typer.Option(help="event, stacked or auto, as of sim run.")] = "event",
    report: Report = True,
) -> None:
    """Simulate a run again from one of its rounds on, with another graph, step size or faults.

    The peers go on from the run's checkpoints; of real peers that left flights, from any round. The
    number of peers, their nets and their data stay. The new run is in a folder of its own.
    """
    console = terminal(soft_wrap=True, highlight=False)
    recorded = read_run(run)
    experiment = resolve(recorded.experiment, changes or ())
    check_may_change(recorded.experiment, experiment)
    rounds = algorithms.find(experiment).rounds
    round = _chosen(recorded, start, rounds)
    origin = _origin(recorded, round, changes or (), console.print)
    console.print(f"going on from round {round} of {run}")
    done = simulate(
        experiment,
        run_dir=run_dir,
        name=f"{run.resolve().name}-whatif",
        engine=engine,
        report=False,
        origin=origin,
    )
    if report:
        show_report(done.path, console, seconds=done.seconds, baselines=False)
    both = shlex.join(["sim", "plot", str(run), str(done.path)])
    console.print(f"the run is in {done.path}; side by side with the other one: {both}")


def _chosen(recorded: RecordedRun, start: int | None, rounds: int) -> int:
    """The round to go on from.

    Raises:
        UserError: there is none, or no rounds are left.
    """
    found = common_checkpoints(recorded.folder, recorded.experiment.peers)
    left = [round for round in found if round < rounds]
    if start is not None and start >= rounds:
        raise UserError(
            f"--from {start}: no rounds are left, the run has {rounds}; say an earlier one, or "
            "--set algorithm.rounds=N"
        )
    if start is None and left:
        return left[0]
    if start in left:
        return start
    said = f"all peers have checkpoints of rounds {', '.join(map(str, reversed(found)))}"
    if not found:
        said = "there is no round of which all peers have a checkpoint"
    if start is None:
        raise UserError(
            f"{recorded.folder}: no rounds are left ({said}, and the run has {rounds}); say --set "
            "algorithm.rounds=N, or, of real peers, --from ROUND"
        )
    if not _flights(recorded):
        raise UserError(
            f"--from {start}: {said}; run it again with --checkpoint, and it is gone on from there"
        )
    return start


def _flights(recorded: RecordedRun) -> bool:
    """Whether any round can be computed again."""
    folders = peer_folders(recorded.folder, recorded.experiment.peers)
    return len(folders) == recorded.experiment.peers and all(
        flight_path(of).exists() for of in folders.values()
    )


def _origin(
    recorded: RecordedRun, round: int, changes: Sequence[str], tell: Callable[[str], None]
) -> Origin:
    folder, peers = recorded.folder, recorded.experiment.peers
    if round in common_checkpoints(folder, peers):
        states, totals = from_checkpoints(folder, peers, round)
        return Origin(folder, round, states, totals, changes, tell)
    tell(f"no checkpoints of round {round}: the run is replayed up to there")
    return Origin(folder, round, replayed_states(folder, peers, round, changes), {}, changes, tell)


def replayed_states(
    folder: Path, peers: int, round: int, changes: Sequence[str] = ()
) -> dict[int, SavedState]:
    """The states of real peers after a round, computed again from their flights.

    Raises:
        UserError: the replay differs from the run, or somebody was never there after that round.
    """
    states: dict[int, SavedState] = {}

    def keep(state: PeerState, process: Incarnation, completed: Completed) -> None:
        if completed.round == round:
            states[state.peer] = state.dump()  # of the process that came last

    paths = [change for change in changes if change.startswith("data.path=")]
    found = replay_run(folder, paths, keep)
    earlier = found.difference is not None and found.difference.round <= round
    if earlier:
        raise UserError(f"{folder}: its replay differs before round {round}; see sim replay")
    absent = [k for k in range(peers) if k not in states]
    if absent:
        raise UserError(
            f"--from {round}: peer {absent[0]} never completed that round; it was left out, or the "
            "run ended before"
        )
    return states
