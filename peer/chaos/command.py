"""``peer chaos``: a bad network between the peers of an experiment, on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from peer.chaos.faults import Faults
from peer.chaos.proxy import Place, Proxy
from peer.console import Set, load_experiment
from peer.experiment.addresses import is_ipc, is_loopback, split
from peer.experiment.schema import Experiment
from peer.experiment.yaml_file import write_mapping
from peer.runtime.output import Output
from peer.runtime.signals import SIGNALS, STOPPED
from topology.errors import UserError

MARK = "# Written by peer chaos: "
"""How its files begin; such a file it may write over."""


class Pair(NamedTuple):
    """One proxy: what stands before its lines, where it is dialled, what stands behind it."""

    name: str
    listen: str
    target: str


def _every(option: str, what: str) -> typer.models.OptionInfo:
    words = f"{what} every so many seconds, on average, at random."
    found: typer.models.OptionInfo = typer.Option(option, help=words)
    return found


def chaos(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LISTEN TARGET]",
            help="Without --topology: where the proxy is dialled, and what stands behind it, such "
            "as tcp://127.0.0.1:5001 tcp://127.0.0.1:4001.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--topology", help="An experiment: a proxy before each of its peers."),
    ] = None,
    changes: Set = None,
    out: Annotated[
        Path, typer.Option("--out", help="The experiment to start the peers with, written here.")
    ] = Path("chaos.yaml"),
    offset: Annotated[
        int,
        typer.Option("--offset", help="Peers listen at 'port' plus this, plus their id."),
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    delay: Annotated[float, typer.Option("--delay", help="Seconds that all takes longer.")] = 0.0,
    jitter: Annotated[
        float, typer.Option("--jitter", help="Seconds more, at most, at random.")
    ] = 0.0,
    throttle: Annotated[
        float | None, typer.Option("--throttle", help="Bytes a second, each way.")
    ] = None,
    reset_every: Annotated[
        float | None, _every("--reset-every", "Reset each connection (RST)")
    ] = None,
    stall_every: Annotated[
        float | None, _every("--stall-every", "Let nothing move on a connection")
    ] = None,
    stall: Annotated[float, typer.Option("--stall", help="Seconds of such a stall.")] = 5.0,
    corrupt_every: Annotated[
        float | None, _every("--corrupt-every", "Flip one bit of each direction")
    ] = None,
    cut_every: Annotated[
        float | None, _every("--cut-every", "Lose all that goes in one direction")
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--for", help="Seconds. [default: until it is stopped]")
    ] = None,
    beyond_loopback: Annotated[
        bool, typer.Option("--beyond-loopback", help="Allow other machines' addresses.")
    ] = False,
) -> None:
    """Put a bad network before real peers: delays, stalls, resets, flipped bits.

    With --topology, a proxy takes every peer's address, and the experiment is written anew
    (chaos.yaml) with other ports for the peers to listen at: start them with that file, beside
    this command. Or give one pair of addresses. Each connection draws its own faults.
    """
    faults = Faults(
        delay, jitter, throttle, reset_every, stall_every, stall, corrupt_every, cut_every
    )
    _check_numbers(asdict(faults) | {"for": duration})
    if (file is None) == (not addresses):
        raise UserError(
            "peer chaos: say --topology FILE, or one pair of addresses: peer chaos "
            "tcp://127.0.0.1:5001 tcp://127.0.0.1:4001"
        )
    output = Output("chaos", gone=lambda: None)
    if file is not None:
        experiment = load_experiment(file, changes, None)
        pairs, behind = before_peers(experiment, offset)
        _check_loopback(pairs, beyond_loopback)
        _write(behind, file, out)
        output.say(f"start the peers with: peer up --topology {shlex.quote(str(out))}")
    else:
        if len(addresses or []) != 2:
            raise UserError("peer chaos: give two addresses, LISTEN and TARGET")
        listen, target = addresses or []
        pairs = [Pair("proxy", listen, target)]
        _check_loopback(pairs, beyond_loopback)
    sys.exit(asyncio.run(_run(pairs, faults, seed, duration, output.say)))


def before_peers(experiment: Experiment, offset: int) -> tuple[list[Pair], Experiment]:
    """A proxy at each peer's address, and the experiment whose peers listen behind them.

    Neighbours go on dialling the addresses that they know; peers listen at ``port + offset + id``
    of the loopback interface. Neither is part of what peers must agree on.

    Raises:
        UserError: ports do not suffice, or are those of the proxies.
    """
    port = experiment.port + offset
    if not 1 <= port <= 65536 - experiment.peers:
        raise UserError(f"--offset {offset}: the peers' ports would begin at {port}")
    given = [experiment.address(peer) for peer in range(experiment.peers)]
    behind = experiment.varied(addresses=given, listen="tcp://127.0.0.1:{port}", port=port)
    pairs = [
        Pair(f"peer {peer}", given[peer], behind.listening_address(peer))
        for peer in range(experiment.peers)
    ]
    used = {_place(pair.listen).port for pair in pairs} & {_place(p.target).port for p in pairs}
    if used:
        raise UserError(
            f"--offset {offset}: port {min(used)} would be a proxy's and a peer's; say another"
        )
    return pairs, behind


async def _run(
    pairs: list[Pair],
    faults: Faults,
    seed: int,
    duration: float | None,
    say: Callable[[str], None],
) -> int:
    """Run a proxy a pair until the time is over (0) or a signal comes (130)."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP is, under nohup
            loop.add_signal_handler(number, stopped.set)
    proxies = [
        Proxy(pair.name, number, _place(pair.listen), _place(pair.target), faults, seed, say)
        for number, pair in enumerate(pairs)
    ]
    try:
        for proxy, pair in zip(proxies, pairs, strict=True):
            await proxy.open()
            say(f"{pair.name}: {pair.listen} passes to {pair.target}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), duration)
    finally:
        for proxy in proxies:
            await proxy.close()
    total = sum((proxy.counts for proxy in proxies), Counter())
    say(", ".join(f"{total[kind]} {word}" for kind, word in KINDS.items()))
    return STOPPED if stopped.is_set() else 0


KINDS = {
    "connections": "connections",
    "reset": "resets",
    "stall": "stalls",
    "flip": "bits flipped",
    "cut": "directions cut",
}


def _check_numbers(options: dict[str, float | None]) -> None:
    for name, value in options.items():
        may_be_zero = name in ("delay", "jitter")
        if value is None or (math.isfinite(value) and (value > 0 or (value == 0 and may_be_zero))):
            continue
        least = "0 or more" if may_be_zero else "more than 0"
        raise UserError(f"--{name.replace('_', '-')} {value:g}: say {least}")


def _check_loopback(pairs: list[Pair], beyond: bool) -> None:
    for pair in pairs:
        for address in (pair.listen, pair.target):
            _place(address)
            if not beyond and not is_loopback(address):
                raise UserError(
                    f"peer chaos: {address} may be reached from other machines; if it is meant to, "
                    "say --beyond-loopback"
                )


def _place(address: str) -> Place:
    if is_ipc(address):
        raise UserError(f"peer chaos: {address} is a file; it stands before tcp://HOST:PORT")
    scheme, host, port = split(address)
    if scheme != "tcp" or not host or port is None:
        raise UserError(f"peer chaos: {address} is no address; say tcp://HOST:PORT")
    return Place(None if host == "*" else host, port)


def _write(experiment: Experiment, file: Path, out: Path) -> None:
    """Write the experiment, where nothing lies or what an earlier call has written."""
    try:
        if out.exists() and not out.read_text(encoding="utf-8", errors="replace").startswith(MARK):
            raise UserError(f"{out}: is there already, and is left as it is; name another --out")
        text = f"{MARK}{file.name!r}, its peers behind proxies.\n"
        out.write_text(text + write_mapping(experiment.resolved()), encoding="utf-8")
    except OSError as problem:
        raise UserError(f"--out {out}: cannot be written: {problem.strerror}") from None
