"""The command ``sim page``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peer.console import terminal
from peer.live.command import subtitle, title
from peer.live.page import page
from peer.state.checkpoint import write_whole
from sim.page.from_run import facts_of
from sim.records.reader import read_run
from sim.reporting.tables import format_bytes

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]
Out = Annotated[Path | None, typer.Option("--out", help="The file. [default: RUN/page.html]")]


def page_command(run: Folder, out: Out = None) -> None:
    """Write the run as one file that plays it again in any browser, without a network.

    The graph, each peer's pictures, scores, losses and the disagreement, with a slider over rounds.
    metrics.pictures_every and metrics.quality_every say how often there is something to see.
    """
    recorded = read_run(run)
    path = out or run / "page.html"
    network, facts = facts_of(recorded)
    text = page(
        network,
        facts,
        title=title(recorded.experiment, recorded.folder),
        subtitle=subtitle(recorded.experiment),
        footer="Written by `sim page` from what the run recorded. It fetches nothing.",
    )
    write_whole(path, text.encode())
    terminal(soft_wrap=True, highlight=False).print(
        f"the page is {path} ({format_bytes(path.stat().st_size)})"
    )
