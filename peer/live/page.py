"""The page as one HTML file, which fetches nothing and opens anywhere.

Its parts lie in ``assets``: the page, its style and its script are ours; the charts are drawn by
uPlot (https://github.com/leeoniya/uPlot, MIT licence, beside it), which is vendored so that the
page works without a network.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib import resources
from string import Template

from peer.live.facts import Fact, Network, in_order


def page(
    network: Network, facts: Sequence[Fact], *, title: str, subtitle: str, footer: str = ""
) -> str:
    """The HTML of a run.

    Args:
        network: what stays as it is.
        facts: of all peers, in any order of rounds.
        title, subtitle, footer: plain text.
    """
    assets = resources.files("peer.live").joinpath("assets")

    def text(name: str) -> str:
        return assets.joinpath(name).read_text(encoding="utf-8")

    known = {"network": network.as_record(), "facts": in_order(facts)}
    return Template(text("page.html")).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        footer=html.escape(footer),
        # "<" would end the script's element, were it part of "</script>".
        facts=json.dumps(known, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        style=text("page.css"),
        script=text("page.js"),
        chart_style=text("uplot.min.css"),
        chart_script=text("uplot.min.js"),
    )
