"""The tables of docs/results/comparison.md and their figures, from what `sim compare` left.

    python docs/images/draw_comparison.py runs/compare-digits runs/compare-mnist

A folder's name says which part of the page it is of. A table and two figures replace what stands
between the page's marks of that name; the figures become docs/images/comparison.png and
progress.png, comparison-mnist.png and progress-mnist.png. Runs that are over count while others
are still to come.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sim.reporting import plots
from sim.reporting.tables import format_bytes, format_distance
from sim.studies.compare import OUTCOME, Outcome, quality_curves_of
from sim.studies.comparison_table import spread

IMAGES = Path(__file__).resolve().parent
PAGE = IMAGES.parent / "results" / "comparison.md"
PARTS = {"compare-digits": "", "compare-mnist": "-mnist"}
"""By folder, what its figures' names end with."""

JUDGED = {
    "Ditto": "{} personal ones",
    "Oasis": "a mixture of the groups'",
}


def outcomes_of(folder: Path) -> list[Outcome]:
    """All runs that are over, in the order of the comparison, then of seeds."""
    found = [
        Outcome(**json.loads(path.read_text())["outcome"])
        for path in sorted(folder.glob(f"*/{OUTCOME}"), key=lambda path: path.stat().st_mtime)
    ]
    order = list(dict.fromkeys(outcome.system for outcome in found))
    return sorted(found, key=lambda outcome: (order.index(outcome.system), outcome.seed))


def table(outcomes: Sequence[Outcome]) -> str:
    """Rows of Markdown: mean and standard deviation over seeds, medians beside them."""
    seeds = {system: [o for o in outcomes if o.system == system] for system in _systems(outcomes)}
    lines = [
        "| system | judged by | seeds | covers | least | CFID | median | sent by all |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for system, of in seeds.items():
        covered = [o.covered for o in of if o.covered is not None]
        distances = [o.distance for o in of if o.distance is not None]
        cells = [
            system,
            _judged(of[0]),
            str(len(of)),
            spread(covered, "{:.1f}".format),
            _of(covered, min, "{:.0f}".format),
            spread(distances, format_distance),
            _of(distances, statistics.median, format_distance),
            format_bytes(statistics.fmean(o.bytes_out for o in of))
            if of[0].bytes_out
            else "nothing",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _systems(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(outcome.system for outcome in outcomes))


def _judged(outcome: Outcome) -> str:
    plain = "the server's" if outcome.judged == 1 else "{} generators"
    return JUDGED.get(outcome.system, plain).format(outcome.judged)


def _of(
    values: Sequence[float],
    choose: Callable[[Sequence[float]], float],
    form: Callable[[float], str],
) -> str:
    return form(choose(values)) if values else "-"


FIGURE = """\
```{{figure}} ../images/{file}
:alt: {alt}
:width: 100%

{caption}
```
"""


def write(folder: Path) -> None:
    """One folder's table and figures."""
    outcomes = outcomes_of(folder)
    comparison, progress = (
        f"{kind}{PARTS[folder.name]}.png" for kind in ("comparison", "progress")
    )
    plots.save(plots.draw_systems(outcomes), IMAGES / comparison)
    series = quality_curves_of(outcomes, folder)
    figure = plots.draw_quality(series, "share of the run that is done (%)", outcomes[0].measure)
    plots.save(figure, IMAGES / progress)
    parts = [
        FIGURE.format(
            file=comparison,
            alt="classes covered, CFID and traffic of twelve systems",
            caption="A dot a seed, a bar to the mean over seeds.",
        ),
        table(outcomes) + "\n",
        FIGURE.format(
            file=progress,
            alt="classes covered and CFID as training goes on",
            caption=f"As training goes on; seed {outcomes[0].seed}.",
        ),
    ]
    begin, end = f"<!-- {folder.name} -->\n", f"<!-- end of {folder.name} -->"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    assert after, f"{PAGE} has no marks of {folder.name}"
    PAGE.write_text("\n".join([before + begin, *parts, end + after]))


if __name__ == "__main__":
    for each in sys.argv[1:]:
        write(Path(each))
