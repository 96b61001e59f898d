"""The command ``peer``: one peer, or all of them, or what they need before they start."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import algorithms
from peer.console import (
    Baselines,
    Device,
    Report,
    RunDir,
    Set,
    load_experiment,
    run_app,
    terminal,
)
from peer.net.keys import keys_folder, make_keys
from peer.runtime.launcher import up, with_free_ports
from peer.runtime.preflight import check_data, check_everything
from peer.runtime.process import Options, PeerProcess
from peer.runtime.profiler import measure, write_profile
from peer.state.device import usable_device
from peer.state.recorder import choose_run_dir, make_run_dir
from topology.errors import UserError

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
Keys = Annotated[Path | None, typer.Option("--keys", help="The folder of secret keys.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoints.")]


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
    status: Annotated[bool, typer.Option("--status", hidden=True)] = False,
) -> None:
    """Run one peer: on each Pi, in a container, in a terminal."""
    if context.invoked_subcommand is not None:
        return
    if peer is None or file is None:
        raise UserError("peer: say which peer of which file: peer --id 3 --topology ring.yaml")
    experiment = load_experiment(file, changes, device)
    program = algorithms.find(experiment)
    folder = choose_run_dir(run_dir, file.stem, shared=True)
    if not resume and (folder / f"peer-{peer}" / "metrics.jsonl").exists():
        raise UserError(
            f"--run-dir {folder}: peer {peer} has run there already; add --resume, or name another"
        )
    options = Options(keys, resume, watch_parent=status)
    process = PeerProcess(experiment, peer, program, folder, _say, options)
    make_run_dir(folder)  # now that nothing can be refused any more
    process.obey_signals()
    if status:
        threading.Thread(target=_print_status, args=(process,), daemon=True).start()
    else:
        neighbours = ", ".join(map(str, process.neighbours)) or "nobody"
        _say(
            f"peer {peer}: {program.name}, {program.rounds} rounds, with {neighbours}; to {folder}"
        )
    completed = process.run()
    if status:
        print(json.dumps(asdict(process.status)), flush=True)
    else:
        _say(f"finished after round {process.state.round}; its generator is in {process.folder}")
    if not completed:
        sys.exit(130)


def _say(line: str) -> None:
    print(line, flush=True)


def _print_status(process: PeerProcess) -> None:
    """Print this peer's status twice a second, for ``peer up``."""
    while not process.finished.wait(0.5):
        print(json.dumps(asdict(process.status)), flush=True)


@app.command("up")
def up_command(
    file: File,
    changes: Set = None,
    run_dir: RunDir = None,
    device: Device = None,
    keys: Keys = None,
    resume: Resume = False,
    report: Report = True,
    baselines: Baselines = False,
) -> None:
    """Run every peer of the file as a process on this machine."""
    console = terminal()
    experiment = load_experiment(file, changes, device)
    program = algorithms.find(experiment)
    usable_device(experiment.device)  # so that the error comes once, not from every peer
    if "addresses" not in experiment.model_fields_set:
        experiment = with_free_ports(experiment)
    folder = choose_run_dir(run_dir, file.stem, shared=resume)
    check_data(experiment, program)
    make_run_dir(folder)
    extra = ["--keys", str(keys)] if keys else []
    codes = up(experiment, folder, program.rounds, console, extra + ["--resume"] * resume)
    if report and any(code == 0 for code in codes.values()):
        from sim.reporting.console import (
            show_report,  # judging and drawing load only where they are needed
        )

        show_report(folder, console, baselines=baselines)
    if any(code != 0 for code in codes.values()):
        failed = ", ".join(str(peer) for peer, code in codes.items() if code != 0)
        console.print(f"peers that did not finish: {failed} (see {folder / 'peers.log'})")
        sys.exit(2 if 2 in codes.values() else 130 if 130 in codes.values() else 1)


@app.command("keys")
def keys_command(
    peer: Annotated[int, typer.Option("--id", help="Which peer's pair.")],
    keys: Keys = None,
) -> None:
    """Make this peer's key pair where it will live, and print the public line for the file."""
    folder = keys_folder(keys)
    public = make_keys(peer, folder)
    print(f"the secret key is {folder / f'peer-{peer}.secret'}; it stays there", file=sys.stderr)
    print("put this line under 'keys:' in the experiment file, at every peer:", file=sys.stderr)
    print(f'  {peer}: "{public}"')


@app.command("check")
def check_command(
    file: File,
    peer: Annotated[
        int | None, typer.Option("--id", help="Check what this peer needs; all peers if absent.")
    ] = None,
    changes: Set = None,
    device: Device = None,
    keys: Keys = None,
) -> None:
    """Look at ports, keys, data and reachability before anything runs."""
    experiment = load_experiment(file, changes, device)
    program = algorithms.find(experiment)
    if not check_everything(experiment, program, peer, keys_folder(keys), terminal()):
        sys.exit(2)


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


def main() -> None:
    """Entry point of the command ``peer``."""
    run_app(app)


if __name__ == "__main__":
    main()
