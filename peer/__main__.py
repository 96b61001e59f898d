"""The command ``peer``: one peer, or all of them, or what they need before they start."""

# ruff: noqa: E402
from __future__ import annotations

import sys

from peer.runtime.signals import STOPPED, Stop

STOP = Stop()
if __name__ == "__main__" or sys.argv[0].rpartition("/")[2] == "peer":
    STOP.obey_signals()  # before torch is imported, which takes seconds

import json
import shlex
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import algorithms
from peer.chaos.command import chaos
from peer.console import (
    Baselines,
    Device,
    Report,
    RunDir,
    Set,
    load_experiment,
    one_line,
    run_app,
    terminal,
    what_is_lacking,
)
from peer.control.command import Keys, admit, forget, ids_in, invite, keys, leave, reload
from peer.control.door import Door
from peer.control.last_words import how_to_go_on, last_line
from peer.control.orders import Orders
from peer.control.parent import listen_to_parent
from peer.control.reload import Reloading
from peer.discover.finding import find_neighbours
from peer.doctor.command import add_to as add_doctor
from peer.invite.admitting import Admitting
from peer.invite.command import add_to as add_join
from peer.invite.reception import Reception
from peer.live.command import Live, Metrics, check_watching, noted, steered, watched
from peer.live.feed import Feed
from peer.live.status import status
from peer.loggers import check_loggers
from peer.net.keys import keys_folder
from peer.profiler import measure, write_profile
from peer.runtime.launcher import up, with_free_ports
from peer.runtime.options import Options
from peer.runtime.output import Output, speak_any_encoding, tolerant
from peer.runtime.preflight import check_data
from peer.runtime.process import PeerProcess
from peer.runtime.progress import follow
from peer.runtime.resources import name_this_user, raise_descriptor_limit
from peer.standby.command import stand_by, voter_of
from peer.standby.host import is_host
from peer.starter.command import new
from peer.state.checkpoint import common_round, saved_rounds
from peer.state.device import usable_device
from peer.state.recorder import choose_run_dir, latest_run, make_run_dir, next_free
from topology.errors import Isolation, UserError

app = typer.Typer(
    help="""Train GANs among peers that share no data and need no server.

    On every machine:  peer --id 3 --topology ring.yaml

    All peers of a file on this machine:  peer up --topology ring.yaml
    """,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Option("--topology", help="The experiment file, the same everywhere.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on from the last checkpoint, which must be there."),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Begin anew, in a new folder beside the run's.")
]
Anyway = Annotated[
    bool,
    typer.Option(
        "--resume-anyway", help="Go on from another experiment's checkpoint, too, if it fits."
    ),
]
ResumeAt = Annotated[int | None, typer.Option("--resume-at", hidden=True)]


@app.callback(invoke_without_command=True)
def one(
    context: typer.Context,
    peer: Annotated[
        int | None, typer.Option("--id", help="Which peer of the file this is.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--topology", help="The experiment file, the same everywhere.")
    ] = None,
    changes: Set = None,
    run_dir: RunDir = None,
    device: Device = None,
    keys: Keys = None,
    resume: Resume = False,
    resume_anyway: Anyway = False,
    resume_at: ResumeAt = None,
    fresh: Fresh = False,
    join: Annotated[
        bool, typer.Option("--join", help="Take part in a run that the others have begun.")
    ] = False,
    links: Annotated[
        str | None,
        typer.Option("--links", help="With --join: with whom it exchanges, such as 0,3."),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="With --join: where it is, if not in the file.")
    ] = None,
    live: Live = None,
    metrics: Metrics = None,
    as_json: Annotated[bool, typer.Option("--status", hidden=True)] = False,
) -> None:
    """Run one peer: on each Pi, in a container, in a terminal."""
    if context.invoked_subcommand is not None:
        return
    if peer is None or file is None:
        raise UserError("peer: say which peer of which file: peer --id 3 --topology ring.yaml")
    output = Output(
        "" if as_json else f"peer {peer}", gone=lambda: STOP.ask("nobody reads any more")
    )
    experiment = load_experiment(file, changes, device)
    program = algorithms.find(experiment)
    check_watching(live, metrics, is_host(experiment, program, peer))
    folder = _folder_for(run_dir, file.stem, resume or resume_anyway, fresh)
    options = Options(
        keys,
        resume or resume_at is not None,
        resume_at,
        resume_anyway,
        join=join,
        links=ids_in(links),
        address=address,
        tells_pictures=live is not None,
    )
    joining = ["--join"] * join + ["--links", links or ""] * bool(links)
    joining += ["--address", address or ""] * bool(address)
    joining += ["--live", live or ""] * bool(live) + ["--metrics", metrics or ""] * bool(metrics)
    command = _command(peer, file, changes, folder, device, keys, joining)
    if is_host(experiment, program, peer):
        make_run_dir(folder)
        stand_by(experiment, peer, program, folder, output, options, STOP, command, as_json)
        return
    feed = Feed()
    say = output.say if live is None else noted(output.say, feed)
    process = PeerProcess(experiment, peer, program, folder, say, options, STOP)
    make_run_dir(folder)  # now that nothing can be refused any more
    voter = voter_of(experiment, process, options, output)
    reloading = Reloading(
        process, keys_folder(keys), lambda: load_experiment(file, changes, device)
    )
    again = lambda: how_to_go_on(process.saver.newest, command)  # noqa: E731
    STOP.begun(output.say, again, reloading.at_signal)
    if as_json:
        listen_to_parent(process.course, process.log, process.stop, process.io.sockets.cut)
    else:
        neighbours = ", ".join(map(str, process.neighbours)) or "nobody"
        output.say(f"{program.name}, {program.rounds} rounds, with {neighbours}; to {folder}")
    following = (process.status, program.rounds, process.finished, output, as_json)
    telling = threading.Thread(target=follow, args=following, daemon=True)
    telling.start()
    stop_looking = find_neighbours(process)
    reception = Reception(Admitting(process), address)
    reception.open()
    door = Door(process.folder, Orders(process, reloading, reception).obey, output.say)
    try:
        with watched(live, metrics, process, feed, output.say):
            ending = process.run()
        if voter is not None and ending.completed:
            voter.stay(program.rounds, STOP.asked)
    except Isolation as alone:
        if as_json or process.saver.newest is None:
            raise
        words = f"{alone}; {how_to_go_on(process.saver.newest, command)}"
        raise Isolation(words) from None
    except UserError:
        raise
    except Exception as problem:
        lacking = what_is_lacking(problem)
        if not lacking:
            traceback.print_exc()
        at, saved = process.state.round, process.saver.newest
        why = f" ({one_line(lacking)})" if lacking else ""
        output.say(f"crashed in round {at + 1}{why}; {how_to_go_on(saved, command)}")
        sys.exit(1)
    finally:
        door.close()
        stop_looking()
        if voter is not None:
            voter.end()
        process.finished.set()
        telling.join(timeout=5)
        output.end()
    if as_json:
        output.put(json.dumps(asdict(process.status)))
    last = last_line(ending, process, command)
    output.say(last.partition("; go on with: ")[0] if as_json else last)  # others are to go on, too
    if not ending.completed:
        sys.exit(STOPPED)
    if ending.problem:
        sys.exit(1)


def _folder_for(run_dir: Path | None, name: str, resume: bool, fresh: bool) -> Path:
    """Where a run writes: in the folder that is named, a new one, or that of the latest run."""
    if fresh:
        if resume:
            raise UserError("--fresh begins anew and --resume goes on; say one of them")
        if run_dir is not None and run_dir.exists():
            run_dir = next_free(run_dir)
    elif resume and run_dir is None:
        run_dir = latest_run(name)
        if run_dir is None:
            raise UserError(f"--resume: there is no run runs/{name}-N here; name its --run-dir")
    return choose_run_dir(run_dir, name, shared=True)


def _command(
    peer: int,
    file: Path,
    changes: list[str] | None,
    folder: Path,
    device: str | None,
    keys: Path | None,
    joining: list[str],
) -> str:
    """The command that goes on with this peer's run."""
    words = ["peer", "--id", str(peer), "--topology", str(file), *joining]
    for change in changes or []:
        words += ["--set", change]
    for option, value in (("--device", device), ("--keys", keys)):
        words += [option, str(value)] if value is not None else []
    return shlex.join([*words, "--run-dir", str(folder), "--resume"])


def _say(line: str) -> None:
    print(line, flush=True)


@app.command("up")
def up_command(
    file: File,
    changes: Set = None,
    run_dir: RunDir = None,
    device: Device = None,
    keys: Keys = None,
    resume: Resume = False,
    resume_anyway: Anyway = False,
    fresh: Fresh = False,
    report: Report = True,
    baselines: Baselines = False,
    live: Live = None,
) -> None:
    """Run every peer of the file as a process on this machine."""
    STOP.begun(lambda line: None, lambda: "its peers stop, each at the end of its round")
    console = terminal(file=tolerant(lambda: STOP.ask("nobody reads any more")))
    experiment = load_experiment(file, changes, device)
    program = algorithms.find(experiment)
    usable_device(experiment.device)  # said once, not by every peer
    if "addresses" not in experiment.model_fields_set:
        experiment = with_free_ports(experiment)
    folder = _folder_for(run_dir, file.stem, resume or resume_anyway, fresh)
    moving = program.server if experiment.backups else None  # its state is where it was elected
    at = common_round(folder, experiment.peers, console.print, moving)
    extra = ["--resume-anyway"] * resume_anyway
    if at is not None:
        extra += ["--resume-at", str(at)]
        console.print(f"going on after round {at}, which all peers have saved in {folder}")
    elif resume or any(map(saved_rounds, folder.glob("peer-*"))):
        raise UserError(
            f"--run-dir {folder}: there is no round that all peers have saved; begin anew with "
            "--fresh"
        )
    check_data(experiment, program)
    check_loggers(experiment)
    make_run_dir(folder)
    options = ["--keys", str(keys)] if keys else []
    with steered(live, experiment, program, folder, console.print) as watch:
        codes = up(experiment, folder, program.rounds, console, options, extra, STOP, watch)
    STOP.let_go()
    if report and any(code == 0 for code in codes.values()):
        from sim.reporting.console import (
            show_report,  # judging and drawing load only where they are needed
        )

        show_report(folder, console, baselines=baselines)
    if any(code != 0 for code in codes.values()):
        failed = ", ".join(str(peer) for peer, code in codes.items() if code != 0)
        console.print(f"peers that did not finish: {failed} (see {folder / 'peers.log'})")
    if STOPPED in codes.values():
        words = ["peer", "up", "--topology", str(file)]
        for change in changes or []:
            words += ["--set", change]
        for option, value in (("--device", device), ("--keys", keys)):
            words += [option, str(value)] if value is not None else []
        again = shlex.join([*words, "--run-dir", str(folder)])
        at = common_round(folder, experiment.peers, console.print, moving)
        console.print(
            f"stopped before a round was complete; begin again with: {again}"
            if at is None
            else f"stopped after round {at}; go on with: {again} --resume",
            highlight=False,
            soft_wrap=True,
        )
    if any(code != 0 for code in codes.values()):
        sys.exit(2 if 2 in codes.values() else STOPPED if STOPPED in codes.values() else 1)


@app.command("profile")
def profile_command(
    file: File,
    peer: Annotated[
        int | None, typer.Option("--id", help="Which peer this is; any worker if absent.")
    ] = None,
    other: Annotated[
        int | None,
        typer.Option("--with", help="A neighbour that runs this, too: the link to measure."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("profile.yaml"),
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Of each kind of work.")] = 30,
    changes: Set = None,
    device: Device = None,
) -> None:
    """Measure a local step here and a link (loopback, or --with a neighbour), for the simulator."""
    experiment = load_experiment(file, changes, device)
    profile = measure(experiment, algorithms.find(experiment), peer, other, repeats)
    try:
        write_profile(profile, out)
    except OSError as problem:
        raise UserError(f"--out {out}: cannot be written: {problem.strerror}") from None
    for kind, cost in profile.seconds:
        if cost is not None:
            _say(f"{kind}: {1e3 * cost.of(experiment.batch):.3g} ms on {experiment.batch} images")
    link = profile.link
    if link is not None and link.delay is not None and link.bandwidth is not None:
        crossing = f", {link.duplex or 1:.0%} of it where two values cross"
        _say(f"link: {1e3 * link.delay:.3g} ms, {link.bandwidth:.4g} Mbit/s each way{crossing}")
    _say(f"written: {out} (devices: {out}, network: {{link: {out}}})")


add_doctor(app, algorithms.find)
add_join(app, algorithms.find, one)
app.command("new")(new)
app.command("chaos")(chaos)
for command in (keys, invite, admit, leave, forget, reload, status):
    app.command(command.__name__)(command)


def main() -> None:
    """Entry point of the command ``peer``."""
    STOP.obey_signals()
    speak_any_encoding()
    raise_descriptor_limit()
    name_this_user()
    run_app(app)


if __name__ == "__main__":
    main()
