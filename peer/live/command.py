"""The option ``--live``, and what it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peer.experiment import Experiment
from peer.live.feed import Feed
from peer.live.serving import check_live, listening, serving, the_token
from peer.program import Program
from peer.runtime.process import PeerProcess
from peer.telling.overview import SILENT
from topology.errors import UserError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from peer.live.steer import Steering

Live = Annotated[
    str | None,
    typer.Option(
        "--live",
        metavar="HOST:PORT",
        help="Serve a page that shows the run while it goes on, there; 0 is any free port of "
        "this machine alone.",
    ),
]

Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="HOST:PORT",
        help="Serve numbers for Prometheus and for 'peer status' there.",
    ),
]


def check_watching(live: str | None, metrics: str | None, is_host: bool = False) -> None:
    """Whether what these options ask for can be.

    Raises:
        UserError: a package is missing, an address is none, or the process may be the server.
    """
    for option, address in (("--live", live), ("--metrics", metrics)):
        if address is not None:
            check_live(address, option)
            if is_host:
                raise UserError(
                    f"{option}: with backups, the server's place moves from process to process; "
                    "watch the network from a worker's"
                )


def noted(say: Callable[[str], None], feed: Feed) -> Callable[[str], None]:
    """Say a line, and show it on the page."""

    def both(line: str) -> None:
        say(line)
        feed.add([{"kind": "event", "round": None, "text": line}])

    return both


@contextlib.contextmanager
def watched(
    live: str | None,
    metrics: str | None,
    process: PeerProcess,
    feed: Feed,
    tell: Callable[[str], None],
) -> Iterator[None]:
    """Serve one peer's page, and its metrics, while the block runs.

    What the page knows of other peers comes over the links; nobody else is asked.
    """
    with contextlib.ExitStack() as open_ones:
        if metrics is not None and metrics != live:
            open_ones.enter_context(_measured(metrics, process, tell))
        if live is not None:
            open_ones.enter_context(_page_of(live, metrics == live, process, feed, tell))
        yield


@contextlib.contextmanager
def _measured(address: str, process: PeerProcess, tell: Callable[[str], None]) -> Iterator[None]:
    from peer.live.metrics import told_by
    from peer.live.server import application  # which need an extra

    token, words = the_token(), ""

    def make(hosts: list[str], is_here: bool) -> Starlette:
        nonlocal words
        words = "" if is_here else f"?token={token}"
        return application(None, hosts, told_by(process, is_here, token))

    with listening(address, "--metrics", make) as where:
        tell(f"metrics are at {where}/metrics{words}")
        yield


@contextlib.contextmanager
def _page_of(
    address: str,
    has_metrics: bool,
    process: PeerProcess,
    feed: Feed,
    tell: Callable[[str], None],
) -> Iterator[None]:
    from peer.live.network import network_of
    from peer.live.overheard import Overhearing, as_told
    from peer.live.server import Told

    def told(is_here: bool, token: str) -> Told:
        if not has_metrics:
            return Told(process.overview, None, token, is_open=False)
        from peer.live.metrics import told_by

        return told_by(process, is_here, token)

    experiment, flood, me = process.experiment, process.io.flood, process.state.peer
    network = replace(
        network_of(experiment, process.program, "real"),
        pictures=PICTURES,
        draws=frozenset({me}),
        silent=SILENT * flood.every,
        disagreement="Disagreement, estimated from sketches",
    )
    with serving(
        address,
        network,
        Overhearing(flood),
        title=f"{title(experiment, process.run_dir)}, as peer {me} hears of it",
        subtitle=subtitle(experiment),
        tell=tell,
        feed=feed,
        clock=process.teller.clock,
        told=told,
        by_now=lambda: as_told(network, flood, process.state.class_names, process.status.round + 1),
    ):
        yield


PICTURES = (
    "Peers that run with --live draw eight pictures now and then, always from the same z; what the "
    "others draw stays where it is."
)


@contextlib.contextmanager
def steered(
    address: str | None,
    experiment: Experiment,
    program: Program,
    folder: Path,
    tell: Callable[[str], None],
) -> Iterator[Steering | None]:
    """Serve the page of ``peer up`` while the block runs; None, and no page, without an address."""
    if address is None:
        yield None
        return
    check_live(address)
    from peer.live.network import network_of
    from peer.live.steer import Steering  # which needs an extra

    network = network_of(experiment, program, "real")
    # with backups, a link may lead to another process from one moment to the next
    steering = Steering(Feed(), () if experiment.backups else network.links)
    with serving(
        address,
        network,
        folder,
        title=title(experiment, folder),
        subtitle=subtitle(experiment),
        tell=tell,
        actions=steering.actions,
        link_actions=steering.link_actions,
        feed=steering.feed,
    ):
        yield steering


@contextlib.contextmanager
def followed(
    address: str | None,
    experiment: Experiment,
    program: Program,
    folder: Path,
    tell: Callable[[str], None],
) -> Iterator[None]:
    """Serve the page of a simulation while the block runs; nothing can be done to its peers."""
    if address is None:
        yield
        return
    check_live(address)
    from peer.live.network import network_of

    with serving(
        address,
        network_of(experiment, program, "virtual"),
        folder,
        title=title(experiment, folder),
        subtitle=subtitle(experiment),
        tell=tell,
    ):
        yield


def title(experiment: Experiment, folder: Path) -> str:
    """What a run is called: its folder, and the algorithm."""
    return f"{folder.resolve().name}: {experiment.algorithm.name}"


def subtitle(experiment: Experiment) -> str:
    """What is run, in a line."""
    data = experiment.data
    return (
        f"{experiment.peers} peers ({experiment.graph_family}), data: {data.source} "
        f"({data.partition.name}), seed {experiment.seed}"
    )
