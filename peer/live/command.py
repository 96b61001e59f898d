"""The option ``--live``, and what it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peer.experiment import Experiment
from peer.live.serving import check_live, serving
from peer.program import Program

if TYPE_CHECKING:
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
    from peer.live.feed import Feed
    from peer.live.network import network_of
    from peer.live.steer import Steering  # which needs an extra

    steering = Steering(Feed())
    network = network_of(experiment, program, "real")
    with serving(
        address,
        network,
        folder,
        title=title(experiment, folder),
        subtitle=subtitle(experiment),
        tell=tell,
        actions=steering.actions,
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
