"""The command ``peer status``: the whole network's table, as any one peer knows it."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from peer.console import fitting, terminal
from peer.control.door import ANSWER, NAME, order
from peer.live.serving import TOKEN
from peer.runtime.progress import (
    REACHABLE,
    bytes_in_words,
    in_words,
    loss_in_words,
)
from peer.state.recorder import latest_run
from peer.telling.overview import AWAY, TOLD
from topology.errors import UserError

PATIENCE = 10.0
"""Seconds in which a peer answers."""


def status(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS",
            help="Of a peer's page or metrics, such as http://pi-3:8000/?token=x.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--topology", help="Ask a peer of this file's latest run on this machine."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--run-dir", help="Ask a peer of the run in this folder.")
    ] = None,
    peer: Annotated[
        int | None, typer.Option("--id", min=0, help="Which peer is asked; any if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show how all peers are getting on, as one of them knows it.

    A peer that does not answer is one line and exit code 2.
    """
    if (address is not None) == (file is not None or folder is not None):
        raise UserError(
            "peer status: say whom to ask: the ADDRESS of a page, --topology FILE, or --run-dir DIR"
        )
    if address is not None:
        found = ask_address(address)
    else:
        where = folder or latest_run(file.stem if file is not None else "")
        if where is None:
            raise UserError(f"--topology {file}: there is no run of it here; say its --run-dir")
        found = ask_run(where, peer)
    if as_json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    console = terminal() if sys.stdout.isatty() else terminal(width=200)
    console.print(Overview(found))


def ask_run(folder: Path, peer: int | None) -> dict[str, Any]:
    """What a peer of the run in ``folder`` knows: that one, or the first that answers.

    Raises:
        UserError: none does.
    """
    homes = [path.parent for path in sorted(folder.glob(f"peer-*/{NAME}"))]
    if peer is not None:
        homes = [folder / f"peer-{peer}"]
    problems = []
    for home in homes:
        try:
            return _understood(order(home, {"order": "status"}, PATIENCE), str(home))
        except UserError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    raise UserError(f"--run-dir: no peer is running in {folder}")


def ask_address(address: str) -> dict[str, Any]:
    """What the peer whose page or metrics are there knows.

    Raises:
        UserError: it does not answer, or not as a peer does.
    """
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(
            f"peer status {address}: say http://HOST:PORT/?token=..., as it was printed"
        )
    tokens = parse_qs(parts.query).get("token") or [os.environ.get(TOKEN, "")]
    where = f"{parts.scheme}://{parts.netloc}/status.json"
    request = urllib.request.Request(where, headers={"X-Token": tokens[0]})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            text = answer.read(ANSWER).decode(errors="replace")
    except urllib.error.HTTPError as problem:
        why = {
            403: "the token is missing, or another one",
            404: "it is no single peer's; where it is of 'peer up', say --run-dir",
        }.get(problem.code, problem.reason)
        raise UserError(f"peer status: {where} refuses ({problem.code}): {why}") from None
    except (OSError, ValueError) as problem:
        cause = problem.reason if isinstance(problem, urllib.error.URLError) else problem
        raise UserError(f"peer status: {where} does not answer ({cause})") from None
    return _understood(text, where)


def _understood(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        whole = all(
            {"peer", *(TOLD if "round" in each else ())} <= each.keys() for each in found["peers"]
        )
        if whole and isinstance(found["asked"], int):
            return dict(found)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"peer status: what answers at {where} is no peer")


HEADINGS = (
    "peer", "round", "s/round", "loss D", "loss G", "score", "links up", "in", "out", "memory",
    "heard",
)  # fmt: skip
GIVING_WAY = ("memory", "out", "in", "s/round", "links up", "loss G", "loss D", "score")


class Overview:
    """The table: a row a peer. Where it is narrow, columns give way."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        scored = any(each.get("measure") for each in self.found["peers"])
        headings = [heading for heading in HEADINGS if heading != "score" or scored]
        yield self._table(fitting(headings, GIVING_WAY, self._table, console, options))

    def _table(self, headings: list[str]) -> Table:
        peers = self.found["peers"]
        title = f"{len(peers)} peers, as peer {self.found['asked']} knows them"
        table = Table(title=title, title_justify="left")
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("", overflow="fold")
        for each in peers:
            cells = self._cells(each)
            style = "dim" if each["condition"] in ("silent", "unheard") else ""
            table.add_row(*(cells[h] for h in headings), condition_in_words(each), style=style)
        return table

    def _cells(self, each: dict[str, Any]) -> dict[str, str]:
        if "round" not in each:
            return dict.fromkeys(HEADINGS, "") | {"peer": str(each["peer"])}
        phases = each["phases"].values()
        score, pace = each["score"], each["pace"]
        return {
            "peer": str(each["peer"]),
            "round": f"{each['round']}/{self.found['rounds']}",
            "s/round": "" if pace is None else f"{pace:.3g}",
            "loss D": loss_in_words(each["losses"].get("discriminator")),
            "loss G": loss_in_words(each["losses"].get("generator")),
            "score": "" if score is None else f"{each['measure'].upper()} {score:.3g}",
            "links up": f"{sum(phase in REACHABLE for phase in phases)}/{len(phases)}",
            "in": bytes_in_words(each["bytes_in"]),
            "out": bytes_in_words(each["bytes_out"]),
            "memory": bytes_in_words(each["memory"]) if each["memory"] else "",
            "heard": f"{each['heard']:.0f} s ago" if each["heard"] else "now",
        }


def condition_in_words(each: dict[str, Any]) -> str:
    """How a peer is, in a few words; empty where all is well."""
    condition = each["condition"]
    if condition == "unheard":
        return "not heard of"
    if condition == "silent":
        return f"silent for {in_words(each['heard'])}"
    away = [k for k, phase in each.get("phases", {}).items() if phase in AWAY]
    if condition != "running":
        return str(condition)
    return f"without peer {', '.join(away)}" if away else ""
