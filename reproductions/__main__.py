"""``python -m reproductions``: does it hold?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from peer.console import run_app
from reproductions.claims import find, names
from reproductions.images import KEPT
from reproductions.page import draw, records, write_page
from reproductions.running import carry_out
from topology.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    chosen: Annotated[list[str] | None, typer.Argument(help="Names; --list shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few rounds of each: does everything run?")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Names, figures and verdicts.")] = False,
    page: Annotated[bool, typer.Option("--page", help="Write the page of the site.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="Runs at once, each in one thread.")] = 1,
    images: Annotated[
        Path | None,
        typer.Option(help="The folder of mnist and cifar10. [default: HEARSAY_DATA, or data]"),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Where runs are kept. [default: runs/reproductions]")
    ] = None,
) -> None:
    """Run figures and tables of the papers, and say whether they hold."""
    if images is not None:
        if not images.is_dir():
            raise UserError(f"--images {images}: there is no such folder")
        os.environ["HEARSAY_DATA"] = str(images.resolve())  # the runs' processes read it, too
    if listed:
        _list()
    wanted = names() if everything else list(chosen or [])
    if wanted:
        for name in wanted:
            find(name)
        folder = keep or (KEPT.with_name("reproductions-quick") if quick else KEPT)
        done = carry_out(wanted, folder, processes=processes, quick=quick)
        for name, record in done.items():
            print(f"drawn: {draw(name, record, folder / 'figures')}")
        if not everything and len(done) < len(set(wanted)):
            raise typer.Exit(2)  # a line has said what was left out
    if page:
        print(f"written: {write_page()}")
    if not (listed or wanted or page):
        raise UserError("name what to reproduce, or say --all, --list or --page")


def _list() -> None:
    known = records()
    for name in names():
        verdict = known[name]["verdict"] if name in known else "not run yet"
        print(f"{name}: {find(name).source}: {verdict}")


if __name__ == "__main__":
    run_app(app)
