"""The page *Do the papers hold?*, made from the records in ``results/`` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from peer.state.checkpoint import write_json
from reproductions.claims import Found, find, names
from reproductions.running import PLANNED, RESULTS, reworded
from sim.reporting.plots.style import save

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "do-the-papers-hold.md"
PICTURES = ROOT / "docs" / "images" / "reproductions"

BEGINNING = """\
# Do the papers hold?

The results of four papers, in the small: each of their figures and tables has one command, a number
and a verdict. Claims of other papers that fit this size come last. The rule of each verdict was
written before the run. Orderings, ratios and coverage decide; the papers' absolute FIDs are no
targets, as nets, images and judge are others. Whether each system is built as its paper says was
looked at by itself: [](read-against-the-papers.md).

Left out are what shows no result (architectures, nets, notation), FeGAN's figures 1 (MD-GAN alone)
and 17 (a server that crashes), Oasis's figures 13 and 14 (samples), and Distributed-GAN's figures
16 to 21 and 23 (samples of CelebA and LSUN).

- *CFID* is a Fréchet distance on the features of a small classifier. It is no FID; lower is better.
- *NDB/K* is the share of K bins of the real images that generated ones fill differently; lower is
  better.
- *Delta* is the loss discrepancy of the Oasis paper, the discriminator's loss less the
  generator's, in nats; higher is better.
- A class is *covered* if it has 1 % of a generator's samples, by the classifier with a confidence
  of 0.9.
- Numbers after ± are standard deviations over seeds.
- *Disputed* is what somebody who read a rule beside the paper has against it. No rule was changed
  after its run.
- *Tried, too* is what was tried, twice at most, to make a claim hold that did not: another step
  size, more rounds, another reading of the paper. The verdict is that of what was planned.

[](../reference/measures.md) says more of each.

```sh
python -m reproductions --list          # names, and what has a verdict
python -m reproductions oasis-table2    # run one, draw it and judge it: six minutes
python -m reproductions diffusion-fig6 --images FOLDER         # one of real images
python -m reproductions --all --processes 2 --images FOLDER    # all of them
python -m reproductions --page          # this page and its figures, from the records
```

These run in a checkout. Scikit-learn's digits come with it; real images lie in a folder of your
own, without which the claims about them are left out. `FOLDER/mnist` holds MNIST's IDX files
(`train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, plain or `.gz`), `FOLDER/cifar10/train` a
folder of CIFAR-10's pictures for each class. Runs are kept in `runs/reproductions`; given again, a
command goes on where it was broken off. The table says how many minutes the runs of each claim
took; `--quick` runs a few rounds of each and decides nothing.
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
    """Write the page and a figure a claim, and bring the records' words up to date."""
    known = {name: reworded(record) for name, record in records().items()}
    parts = [BEGINNING, _overview(known)]
    for name, record in known.items():
        write_json(RESULTS / f"{name}.json", record)
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
    said = ", ".join(f"{n} {_VERDICTS[v][n != 1]}" for v, n in count.items())
    total = sum(record["core_minutes"] for record in known.values()) / 60
    lines = [
        f"Of {len(known)} claims, {said}. Their runs take {total:.1f} hours of a thread, less what "
        "they share.",
        "",
        "| source | claim | here | verdict | command: `python -m reproductions` | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, record in known.items():
        cells = [
            record["source"],
            record["claim"],
            record["numbers"],
            f"**[{record['verdict']}](#{name})**{_part(record)}{_tried(record)}",
            f"`{name}`",
            _minutes(record),
        ]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    shared = "beside whatever else the machine did; a run that several claims share counts at each."
    lines += ["", f"Minutes are of one thread, {shared}", ""]
    return "\n".join(lines)


_VERDICTS = {
    "holds": ("holds", "hold"),
    "holds in part": ("holds in part", "hold in part"),
    "does not hold": ("does not hold", "do not hold"),
}
"""Of one claim, and of several."""


def _part(run: Mapping[str, Any]) -> str:
    """Which part holds, after the verdict."""
    return f": {run['part']}" if run["part"] else ""


def _tried(record: Mapping[str, Any]) -> str:
    """The verdicts of what was tried, too."""
    tries = [run["verdict"] for run in record["runs"] if run["attempt"] != PLANNED]
    return f"; tried, too: {', '.join(tries)}" if tries else ""


def _minutes(record: Mapping[str, Any]) -> str:
    """Of one thread, as text."""
    minutes = round(record["core_minutes"])
    return str(minutes) if minutes else "< 1"


def _section(name: str, record: Mapping[str, Any]) -> str:
    seeds = record["seeds"]
    machine = record["machine"]
    tries = [run for run in record["runs"] if run["attempt"] != PLANNED]
    tried = {run["attempt"] for run in tries}
    waiting = [attempt for attempt in find(name).attempts if attempt not in tried]
    lines = [
        f"({name})=",
        f"## {record['source']}",
        "",
        f"**Claim.** {record['claim']}",
        "",
        f"**Smaller here.** {record['smaller'].strip()}",
        "",
        f"**Rule.** {record['rule']}",
        "",
        f"**Found.** {record['numbers']}: **{record['verdict']}**{_part(record)}.",
        "",
        *([f"**Disputed.** {find(name).disputed}", ""] if find(name).disputed else []),
        *[
            f"**Tried, too: {run['attempt']}.** {run['numbers']}: {run['verdict']}{_part(run)}.\n"
            for run in tries
        ],
        *[f"**To be tried, too.** {attempt[0].upper()}{attempt[1:]}.\n" for attempt in waiting],
        f"```{{figure}} ../images/reproductions/{name}.png",
        f":alt: {record['source']}, reproduced",
        f":width: {_width(name)}%",
        "",
        record["caption"],
        "```",
        "",
        f"`python -m reproductions {name}`; {seeds} seed{'s' * (seeds != 1)}, "
        f"{_minutes(record)} min of one thread ({machine['processor']}, "
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
