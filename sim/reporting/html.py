"""``report.html``: one page that opens anywhere, its pictures inside it, and that prints well."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peer.experiment.yaml_file import write_mapping
from sim.metrics.quality import Quality
from sim.records.pictures import pictures_by_round
from sim.records.reader import RecordedRun
from sim.reporting.tables import format_bytes, format_distance, name_held
from sim.reporting.text import captions, glossary, headline, notes, subtitle, tiles

_STYLE = """
:root { color-scheme: light; --ink: #222; --soft: #666; --line: #ddd; --blue: #0072b2;
  --orange: #d55e00; --paper: #fff; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--paper); max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
p, figcaption, dd { max-width: 46rem; }
.sub, figcaption, dd, footer { color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.6rem 0; padding: 0;
  list-style: none; }
.tiles li { flex: 1 1 10.5rem; border-top: 3px solid var(--blue); padding: .5rem 0 0; }
.tiles b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.25; }
.tiles span { font-size: .88rem; color: var(--soft); }
.note { border-left: 4px solid var(--orange); padding: .2rem 0 .2rem .9rem; margin: .6rem 0; }
figure { margin: 0 0 1.5rem; break-inside: avoid; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .92rem; margin-top: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { text-align: right; padding: .35rem .45rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
th small { display: block; font-weight: 400; color: var(--soft); }
td.text, th.text { text-align: left; }
td.main { font-weight: 600; }
.rounds { width: auto; } .rounds th { text-align: center; vertical-align: middle; }
.rounds img { width: 9rem; image-rendering: pixelated; display: block; }
.bars { display: inline-flex; align-items: flex-end; gap: 2px; height: 1.7rem; }
.bars i { width: 7px; background: #9a9a9a; min-height: 1px; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.bars i.new { background: var(--orange); }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .84rem; }
pre { overflow-x: auto; background: #f6f6f6; padding: 1rem; }
dt { font-weight: 600; margin-top: .8rem; } dd { margin: 0; }
footer { margin-top: 3rem; font-size: .85rem; }
@media print { body { font-size: 11pt; max-width: none; padding: 0; } .screen { display: none; }
  h2 { break-after: avoid; } tr { break-inside: avoid; } table { font-size: 7pt; }
  th, td { padding: .25rem; } }
"""

_TITLES = {
    "samples": "Samples",
    "coverage": "Coverage",
    "cfid": "CFID",
    "quality": "Quality as training went on",
    "disagreement": "Disagreement",
    "losses": "Losses",
    "delta_loss": "Delta loss",
    "graph": "The network",
}


def render(run: RecordedRun, summary: Mapping[str, Any], figures: Mapping[str, Path]) -> str:
    """The page of one run, as HTML without any reference to another file or host.

    Args:
        run: what was recorded.
        summary: as in ``summary.json``.
        figures: PNG files by name (the keys of the titles above); those that are missing are left
            out.
    """
    quality = Quality.from_record(summary) if summary["coverage"] else None
    baselines = {n: Quality.from_record(r) for n, r in summary.get("baselines", {}).items()}
    texts = captions(run, summary, quality)
    pictures = "".join(
        _figure(_TITLES[name], figures[name], texts[name]) for name in _TITLES if name in figures
    )
    title = headline(summary, quality)
    numbers = "".join(
        f"<li><b>{_text(value)}</b><span>{_text(meaning)}</span></li>"
        for value, meaning in tiles(summary, quality)
    )
    terms = "".join(
        f"<dt>{_text(name)}</dt><dd>{_text(meaning)}</dd>"
        for name, meaning in glossary(summary, quality)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(run.folder.resolve().name)}: {_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p class="sub">{_text(subtitle(run, summary))}</p>
</header>
<ul class="tiles">{numbers}</ul>
{"".join(f'<p class="note">{_text(note)}</p>' for note in notes(run, summary))}
{pictures}
{_by_round(pictures_by_round(run))}
<h2>Peer by peer</h2>
<div class="scroll">{_table(run, summary, quality, baselines)}</div>
<h2>What the numbers mean</h2>
<dl>{terms}</dl>
<section class="screen"><h2>The experiment</h2>
<details><summary>Every key of the experiment file</summary>
<pre>{_text(write_mapping(run.experiment.resolved()))}</pre></details></section>
<footer>Written by hearsay from the run directory {_text(run.folder.resolve().name)}.</footer>
</body>
</html>
"""


def _by_round(pictures: Mapping[int, Mapping[int, Path]]) -> str:
    """How the peers' pictures came to be: a row a peer, a thumbnail a round."""
    if not pictures:
        return ""
    rounds = sorted({round for of_peer in pictures.values() for round in of_peer})
    head = "".join(f"<th>round {round:,}</th>" for round in rounds)
    rows = "".join(
        f"<tr><th>peer {peer}</th>"
        + "".join(
            f'<td><img alt="peer {peer}, round {round}" src="{_inside(files[round])}"></td>'
            if round in files
            else "<td></td>"
            for round in rounds
        )
        + "</tr>"
        for peer, files in pictures.items()
    )
    return (
        "<h2>How the pictures came to be</h2>"
        f'<div class="scroll"><table class="rounds"><tr><th></th>{head}</tr>{rows}</table></div>'
        '<p class="sub">From the same random numbers each time, a peer\'s own: what changes along '
        "a row is the generator.</p>"
    )


def _classes(summary: Mapping[str, Any], quality: Quality) -> str:
    """What the bars of a peer's samples stand for, in their order."""
    names = summary.get("class_names")
    if not names:
        return f"classes 0 to {quality.classes - 1}"
    return f"classes {', '.join(names)}"


def _table(
    run: RecordedRun,
    summary: Mapping[str, Any],
    quality: Quality | None,
    baselines: Mapping[str, Quality],
) -> str:
    groups = {**baselines, **({str(summary["algorithm"]): quality} if quality else {})}
    head = ['<th>peer</th><th class="text">holds</th>']
    head += [f"<th>covers<small>{_text(name)}</small></th>" for name in groups]
    head += [f"<th>CFID<small>{_text(name)}</small></th>" for name in groups]
    scores = summary.get("quality") or {}
    for which in ("all", "own") if scores else ():
        head.append(f"<th>{_text(scores['measure'].upper())}<small>to {which} images</small></th>")
    if quality:
        head.append("<th>unseen<small>share of samples</small></th>")
        head.append(
            f'<th class="text">samples<small>{_text(_classes(summary, quality))}</small></th>'
        )
    head.append("<th>rounds</th><th>sent</th><th>missed<small>exchanges</small></th>")
    head.append('<th class="text">parameters<small>BLAKE2b</small></th>')
    rows = []
    for k in range(run.experiment.peers):
        cells = [_cell(str(k)), _cell(name_held(summary, k), "text")]
        for name, of in groups.items():
            cells.append(_cell(of.coverage.get(k), "main" * (name == summary["algorithm"])))
        for name, of in groups.items():
            shown = format_distance(of.cfid.get(k))
            cells.append(_cell(shown, "main" * (name == summary["algorithm"])))
        if scores:
            distances = (scores[which].get(str(k)) for which in ("network", "own"))
            cells += [_cell(format_distance(distance)) for distance in distances]
        if quality:
            share = quality.absent_share.get(k)
            cells.append(_cell(None if share is None else f"{share:.0%}"))
            cells.append(f'<td class="text">{_bars(quality, k)}</td>')
        result = run.results.get(k)
        cells.append(_cell(f"{result.rounds:,}" if result else None))
        cells.append(_cell(format_bytes(result.bytes_out) if result else None))
        cells.append(_cell(f"{sum(result.missing.values()):,}" if result else None))
        digest = f"<code>{_text(result.arena_blake2b[:8])}</code>" if result else "-"
        rows.append(f'<tr>{"".join(cells)}<td class="text">{digest}</td></tr>')
    return f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _bars(quality: Quality, peer: int) -> str:
    """The class histogram as tiny bars, those of unseen classes coloured."""
    counts = quality.histogram.get(peer, ())
    own = quality.labels.get(peer, ())
    top = max(counts, default=0) or 1
    bars = (
        f'<i{"" if c in own else " class=new"} style="height:{100 * n / top:.0f}%" '
        f'title="class {c}: {n} of {quality.samples}"></i>'
        for c, n in enumerate(counts[:100])
    )
    return f'<span class="bars">{"".join(bars)}</span>'


def _figure(title: str, path: Path, caption: str) -> str:
    return (
        f'<figure><h2>{_text(title)}</h2><img alt="{_text(title)}" '
        f'src="{_inside(path)}"><figcaption>{_text(caption)}</figcaption></figure>'
    )


def _inside(path: Path) -> str:
    """A PNG as an address that holds the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _cell(value: object, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<td{attribute}>{_text('-' if value is None else str(value))}</td>"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
