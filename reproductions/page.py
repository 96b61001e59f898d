"""The page *Do the papers hold?*, made from the records in ``results/`` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from reproductions.claims import Found, find, names
from reproductions.running import PLANNED, RESULTS
from sim.reporting.plots.style import save

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "do-the-papers-hold.md"
PICTURES = ROOT / "docs" / "images" / "reproductions"

BEGINNING = """\
# Do the papers hold?

Every figure and table of four papers, in the small, each with one command, a number and a verdict;
and the claims of two later ones that fit this size. The rule of each verdict was written before
the run. Orderings, ratios and coverage decide, with their spread over seeds; the papers' absolute
FIDs are no targets, as nets, images and judge are others. *CFID* is a Fréchet distance on the
features of a small classifier ([](../reference/measures.md)), lower is better, and no FID. Whether
each system is built as its paper says was looked at by itself: [](read-against-the-papers.md).

```sh
python -m reproductions --list           # names, and what has a verdict
python -m reproductions diffusion-fig6   # run it, or what is left of it; draw it; judge it
python -m reproductions --all --processes 2 --images FOLDER   # MNIST and CIFAR-10 lie there
python -m reproductions --page           # this page and its figures, from the records
```

Runs are kept in `runs/reproductions` and gone on with. Numbers after ± are standard deviations over
seeds.
"""


def records() -> dict[str, dict[str, Any]]:
    """By name, in the order of papers and figures, what has been carried out."""
    found = {}
    for name in names():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            found[name] = json.loads(path.read_text())
    return found


def write_page() -> Path:
    """Write the page, and a figure a claim."""
    known = records()
    parts = [BEGINNING, _overview(known)]
    for name, record in known.items():
        draw(name, record, PICTURES)
        parts.append(_section(name, record))
    waiting = [name for name in names() if name not in known]
    if waiting:
        listed = ", ".join(f"`{name}`" for name in waiting)
        parts.append(f"## Not run yet\n\nWritten, and without a verdict so far: {listed}.\n")
    PAGE.write_text("\n".join(parts))
    return PAGE


def draw(name: str, record: Mapping[str, Any], folder: Path) -> Path:
    """Draw a claim's figure from its record."""
    return save(find(name).draw(_found(record)), folder / f"{name}.png")


def _found(record: Mapping[str, Any]) -> Found:
    runs: list[dict[str, Any]] = record["runs"]
    found: Found = next(run["found"] for run in runs if run["attempt"] == PLANNED)
    return found


def _overview(known: Mapping[str, Mapping[str, Any]]) -> str:
    count = {v: sum(r["verdict"] == v for r in known.values()) for v in _VERDICTS}
    said = ", ".join(f"{n} {v}" for v, n in count.items())
    total = sum(record["core_minutes"] for record in known.values()) / 60
    lines = [
        f"Of {len(known)} claims: {said}. All runs together took {total:.1f} hours of one core.",
        "",
        "| source | claim | here | verdict | command: `python -m reproductions` | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, record in known.items():
        cells = [
            record["source"],
            record["claim"],
            record["numbers"],
            f"**[{record['verdict']}](#{name})**",
            f"`{name}`",
            f"{record['core_minutes']:.0f}",
        ]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    lines += ["", "Minutes are of one core; a run that several claims share counts at each.", ""]
    return "\n".join(lines)


_VERDICTS = ("holds", "holds in part", "does not hold")


def _section(name: str, record: Mapping[str, Any]) -> str:
    seeds = record["seeds"]
    machine = record["machine"]
    tries = [run for run in record["runs"] if run["attempt"] != PLANNED]
    lines = [
        f"({name})=",
        f"## {record['source']}",
        "",
        f"**Claim.** {record['claim']}",
        "",
        f"**Smaller here.** {record['smaller']}",
        "",
        f"**Rule.** {record['rule']}",
        "",
        f"**Found.** {record['numbers']}: **{record['verdict']}**.",
        "",
        *[
            f"**Tried, too: {run['attempt']}.** {run['numbers']}: {run['verdict']}.\n"
            for run in tries
        ],
        f"```{{figure}} ../images/reproductions/{name}.png",
        f":alt: {record['source']}, reproduced",
        f":width: {_width(name)}%",
        "",
        record["caption"],
        "```",
        "",
        f"`python -m reproductions {name}`; {seeds} seed{'s' * (seeds != 1)}, "
        f"{record['core_minutes']:.0f} minutes of one core ({machine['processor']}, "
        f"torch {machine['torch']}, commit {machine['commit']}).",
        "",
    ]
    return "\n".join(lines)


def _width(name: str) -> int:
    """Percent of the page's width: two plots side by side fill it."""
    with Image.open(PICTURES / f"{name}.png") as picture:
        return min(100, round(picture.width / 13.8))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
