"""The table that a terminal shows at the end of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sim.metrics.quality import Quality

_SHOWN_PEERS = 40


def summary_table(
    summary: Mapping[str, Any], baselines: Mapping[str, Quality] | None = None
) -> Table:
    """One row a peer: its classes, what it covers and its CFID, beside the same of ``baselines``.

    The last row holds the fewest classes that any peer covers and the median CFID. Of more than
    forty peers only that row is shown. Where nothing could be judged, rounds and traffic remain.

    Args:
        summary: what :func:`sim.report.write_report` returned.
        baselines: by name; those kept in the summary if None.
    """
    if baselines is None:
        kept = summary.get("baselines") or {}
        baselines = {name: Quality.from_record(record) for name, record in kept.items()}
    groups = dict(baselines)
    if summary["coverage"]:
        groups[str(summary["algorithm"])] = Quality.from_record(summary)
    table = Table(title=f"{summary['peers']} peers, {summary['rounds']} rounds")
    table.add_column("peer", justify="right")
    table.add_column("own classes")
    for name in groups:
        strong = "bold" if name == summary["algorithm"] else None
        table.add_column(f"covers\n{name}", justify="right", style=strong)
    for name in groups:
        strong = "bold" if name == summary["algorithm"] else None
        table.add_column(f"CFID\n{name}", justify="right", style=strong)
    table.add_column("sent", justify="right")
    peers = range(int(summary["peers"]))
    for k in peers if len(peers) <= _SHOWN_PEERS else ():
        own = summary["labels"].get(str(k))
        table.add_row(
            str(k),
            "?" if own is None else " ".join(map(str, own)),
            *(_count(of.coverage.get(k), of.classes) for of in groups.values()),
            *(_number(of.cfid.get(k)) for of in groups.values()),
            format_bytes(summary["bytes_out"].get(str(k))),
        )
    if groups:
        table.add_section()
        table.add_row(
            "all",
            "fewest covered, median CFID",
            *(
                _count(min(of.coverage.values(), default=None), of.classes)
                for of in groups.values()
            ),
            *(_number(_median(of.cfid)) for of in groups.values()),
            format_bytes(sum(summary["bytes_out"].values())),
        )
    return table


def format_bytes(count: float | None) -> str:
    """``12.3 MB``: decimal units, as networks count; ``-`` where nothing is known."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _count(covered: int | None, classes: int) -> str:
    return "-" if covered is None else f"{covered} of {classes}"


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _median(values: Mapping[int, float]) -> float | None:
    finite = [x for x in values.values() if math.isfinite(x)]
    return statistics.median(finite) if finite else None
