"""The table that a terminal shows at the end of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from sim.metrics.quality import Quality

_SHOWN_PEERS = 40
_NOTHING = "nothing"
_SCORES = ("network", "own")
_NAMED, _LONGEST = 6, 24
"""How many names of classes are said, and how many letters of each."""


def summary_table(
    summary: Mapping[str, Any], baselines: Mapping[str, Quality] | None = None
) -> Table:
    """One row a peer: its classes, what it covers and its CFID, beside the same of ``baselines``.

    The last row holds the fewest classes that any peer covers and the median CFID. Of more than
    forty peers only that row is shown. Where nothing could be judged, rounds and traffic remain.

    Args:
        summary: what :func:`sim.reporting.report.write_report` returned.
        baselines: by name; those kept in the summary if None.
    """
    if baselines is None:
        kept = summary.get("baselines") or {}
        baselines = {name: Quality.from_record(record) for name, record in kept.items()}
    groups = dict(baselines)
    if summary["coverage"]:
        groups[str(summary["algorithm"])] = Quality.from_record(summary)
    table = Table(
        title=f"{plural(summary['peers'], 'peer')}, {plural(summary['rounds'], 'round')}",
        caption=_meaning(next(iter(groups.values()))) if groups else None,
    )
    table.add_column("peer", justify="right", no_wrap=True)
    table.add_column("holds")
    for name in groups:
        strong = "bold" if name == summary["algorithm"] else None
        table.add_column(f"{name}\ncovers    CFID", justify="right", style=strong, no_wrap=True)
    scores = summary.get("quality")
    if scores:
        heading = f"{scores['measure'].upper()}\nall     own"
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("sent", justify="right", no_wrap=True)
    peers = range(int(summary["peers"]))
    for k in peers if len(peers) <= _SHOWN_PEERS else ():
        table.add_row(
            str(k),
            name_held(summary, k),
            *(_verdict(of.coverage.get(k), of.cfid.get(k)) for of in groups.values()),
            *([_distances(*(scores[of].get(str(k)) for of in _SCORES))] if scores else []),
            format_bytes(summary["bytes_out"].get(str(k))),
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        *(_verdict(min(of.coverage.values(), default=None), _median(of)) for of in groups.values()),
        *([_distances(*(_middle(scores[of].values()) for of in _SCORES))] if scores else []),
        format_bytes(sum(summary["bytes_out"].values())),
    )
    return table


def plural(count: int, noun: str) -> str:
    """``1 peer``, ``1,500 rounds``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_bytes(count: float | None) -> str:
    """``12.3 MB``: decimal units, as networks count; ``-`` where nothing is known."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_time(seconds: float | None) -> str:
    """``3.21 s``, ``5.02 min``, ``22.14 h`` on the virtual clock; ``-`` where nothing is known."""
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.2f} min" if seconds < 7200 else f"{seconds / 3600:,.2f} h"


def name_classes(classes: Sequence[int], names: Sequence[str] = ()) -> str:
    """``2 3``; ``0-9`` for a run of three or more; ``cat, dog`` where ``names`` are words."""
    called = [names[x] if x < len(names) else str(x) for x in sorted(classes)]
    if not all(name.isdecimal() for name in called):
        more = f" and {len(called) - _NAMED} more" if len(called) > _NAMED else ""
        return ", ".join(_brief(name) for name in called[:_NAMED]) + more
    found = [int(name) for name in called]
    if len(found) > 2 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]}-{found[-1]}"
    return " ".join(called) or "-"


def _brief(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "\u2026"


def name_held(summary: Mapping[str, Any], peer: int) -> str:
    """The classes of a peer's data; ``nothing`` if it finished without, ``?`` if nobody knows."""
    own = summary["labels"].get(str(peer))
    if own is not None:
        return name_classes(own, summary.get("class_names") or ())
    return _NOTHING if summary["labels"] and peer not in summary["unfinished"] else "?"


def format_distance(value: float | None) -> str:
    """``27.3``, ``1033``: three digits or more, no exponent; ``-`` where nothing is known."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _meaning(of: Quality) -> str:
    return f"of {of.classes} classes; the last row: fewest covered, median CFID"


def _verdict(covered: int | None, cfid: float | None) -> str:
    return f"{'-' if covered is None else covered} {format_distance(cfid):>7}"


def _distances(network: float | None, own: float | None) -> str:
    """Distance to all images, and to the peer's own."""
    return f"{format_distance(network)} {format_distance(own):>7}"


def _median(quality: Quality) -> float | None:
    return _middle(quality.cfid.values())


def _middle(values: Iterable[float | None]) -> float | None:
    """The median of those that are known."""
    finite = [x for x in values if x is not None and math.isfinite(x)]
    return statistics.median(finite) if finite else None
