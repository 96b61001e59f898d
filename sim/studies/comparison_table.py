"""A comparison as a table: a row a system, over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rich.table import Table

from sim.reporting.tables import format_bytes, format_distance, format_time
from sim.studies.compare import Outcome


def comparison_table(outcomes: Sequence[Outcome], classes: int | None = None) -> Table:
    """A row a system; mean and standard deviation over seeds."""
    table = Table(caption=_caption(outcomes))
    predicted = any(outcome.virtual_seconds is not None for outcome in outcomes)
    target = next((o.target for o in outcomes if o.target is not None), None)
    gains = any(outcome.gain is not None for outcome in outcomes)
    measure = outcomes[0].measure.upper() if outcomes else "CFID"
    owns = any(outcome.own_distance is not None for outcome in outcomes)
    headings = ["system", "judged by", "rounds", "covers", measure]
    headings += [f"{measure} to own"] * owns + ["sent", "seconds"]
    headings += ["predicted"] * predicted
    if target is not None:
        unit = "" if predicted else ", rounds"
        headings.append(f"to {measure} {format_distance(target)}{unit}")
    headings += ["gain"] * gains
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "system" else "right")
    for system in dict.fromkeys(outcome.system for outcome in outcomes):
        of = [outcome for outcome in outcomes if outcome.system == system]
        table.add_row(
            system,
            f"{of[0].judged} generator{'s' * (of[0].judged != 1)}",
            f"{of[0].rounds:,}",
            spread([o.covered for o in of], "{:.3g}".format),
            spread([o.distance for o in of], format_distance),
            *[spread([o.own_distance for o in of], format_distance)] * owns,
            format_bytes(statistics.fmean(o.bytes_out for o in of)),
            f"{statistics.fmean(o.seconds for o in of):.0f}",
            *[spread([o.virtual_seconds for o in of], format_time)] * predicted,
            *[_reached(of, predicted)] * (target is not None),
            *[spread([o.gain for o in of], "{:.2f}".format)] * gains,
        )
    return table


def _reached(of: Sequence[Outcome], predicted: bool) -> str:
    if predicted:
        return spread([o.time_to_target for o in of], format_time)
    return spread([o.rounds_to_target for o in of], "{:,.0f}".format)


def spread(values: Sequence[float | None], form: Callable[[float], str]) -> str:
    """Mean, and standard deviation where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = form(statistics.fmean(known))
    return mean if len(known) == 1 else f"{mean} \u00b1 {form(statistics.stdev(known))}"


def _caption(outcomes: Sequence[Outcome]) -> str:
    seeds = sorted({outcome.seed for outcome in outcomes})
    many = f"mean and standard deviation over seeds {seeds[0]} to {seeds[-1]}; "
    words = "covers: classes of the poorest generator judged"
    if any(outcome.virtual_seconds is not None for outcome in outcomes):
        words += "; seconds: of this machine; predicted: virtual time on the experiment's devices"
    if any(outcome.gain is not None for outcome in outcomes):
        words += (
            f"; gain: times sooner than {outcomes[0].system} at its best distance, in virtual time"
        )
    return (many if len(seeds) > 1 else "") + words
