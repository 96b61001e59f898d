"""The page as one HTML file, which fetches nothing and opens anywhere.

Its parts lie in ``assets``: the page, its style and its script are ours; the charts are drawn by
uPlot (https://github.com/leeoniya/uPlot, MIT licence, beside it), which is vendored so that the
page works without a network.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from string import Template

from peer.live.facts import Fact, Network, in_order


@dataclass(frozen=True)
class Live:
    """Where a page that follows a run gets its facts.

    Attributes:
        facts: the address of the stream, relative to the page's.
        actions: what may be done to a peer.
        token: to be sent with each of these.
        now: by the clock of what was ``heard``; None where no fact says when.
        link_actions: what may be done to a link.
    """

    facts: str
    actions: tuple[str, ...]
    token: str
    now: float | None = None
    link_actions: tuple[str, ...] = ()


def page(
    network: Network,
    facts: Sequence[Fact],
    *,
    title: str,
    subtitle: str,
    footer: str = "",
    live: Live | None = None,
) -> str:
    """The HTML of a run.

    Args:
        network: what stays as it is.
        facts: of all peers, in any order of rounds; of a page that follows a run, those so far.
        title, subtitle, footer: plain text.
        live: where it gets more; None for a page that has them all, and asks nobody.
    """
    assets = resources.files("peer.live").joinpath("assets")

    def text(name: str) -> str:
        return assets.joinpath(name).read_text(encoding="utf-8")

    known = {
        "network": network.as_record(),
        "facts": in_order(facts) if live is None else list(facts),
        "live": None if live is None else asdict(live),
    }
    return Template(text("page.html")).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        footer=html.escape(footer),
        connect="" if live is None else "; connect-src 'self'",
        # "<" would end the script's element, were it part of "</script>".
        facts=json.dumps(known, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        style=text("page.css"),
        script=text("page.js"),
        live_script="" if live is None else f"<script>\n{text('live.js')}\n</script>",
        chart_style=text("uplot.min.css"),
        chart_script=text("uplot.min.js"),
    )
