"""What a command prints when a run is over: the table, and where the report is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sim.records.reader import read_run
from sim.reporting.report import write_report
from sim.reporting.tables import format_bytes, format_distance, format_time, summary_table
from sim.runs.baselines import judge_baselines
from topology.errors import UserError


def show_report(
    run_dir: Path, console: Console, *, seconds: float | None = None, baselines: bool = False
) -> None:
    """Judge a run, write its report, and print the table.

    With ``baselines``, also judge the same peers untrained, and trained without communication.
    """

    def say(line: str) -> None:
        console.print(line, style="dim")

    beside = None
    if baselines:
        try:
            beside = judge_baselines(read_run(run_dir).experiment, say)
        except UserError as problem:
            say(f"no baselines: {problem}")
    summary = write_report(run_dir, seconds=seconds, baselines=beside, notify=say)
    console.print(summary_table(summary))
    disagreement = summary["disagreement"]
    parts = [f"{net} {value:.3g}" for net, value in disagreement.items() if value is not None]
    if parts:
        how = "estimated from sketches" if summary["disagreement_estimated"] else "exact"
        console.print(f"disagreement ({how}): {', '.join(parts)}")
    if summary["predicted"]:
        sent = format_bytes(sum(summary["bytes_out"].values()))
        line = f"predicted: {format_time(summary['virtual_seconds'])} of virtual time, {sent} sent"
        if "time_to_target" in summary:
            target = summary["time_to_target"]
            reached = target["seconds"]
            when = "never reached" if reached is None else f"after {format_time(reached)}"
            distance = f"{target['measure'].upper()} {format_distance(target['distance'])}"
            line += f"; {distance} {when}"
        console.print(line, highlight=False)
    console.print(f"the report is {run_dir / 'report.html'}", soft_wrap=True)
