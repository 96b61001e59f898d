"""Reports of runs written by hand: their numbers, and what they say where something is missing."""

from __future__ import annotations

import html.parser
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import topology
from sim.records.reader import read_run
from sim.reporting.report import evaluate_generators, summary_table, write_comparison, write_report
from topology.errors import UserError

MakeRun = Callable[..., Path]
FIGURES = {"disagreement", "losses", "delta_loss", "coverage", "cfid", "samples", "graph"}


@pytest.fixture
def report(judge_cache: Path) -> Callable[..., dict[str, Any]]:
    return lambda folder, **keys: write_report(folder, cache=judge_cache, **keys)


@pytest.fixture(scope="module")
def simulated(write_run, judge_cache: Path, tmp_path_factory: pytest.TempPathFactory):
    """A simulation's folder, reported on once for the tests that only look, and its summary."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "<run> & co", rounds=40)
    return folder, write_report(folder, seconds=12.5, cache=judge_cache)


def _untrained(folder: Path, judge_cache: Path) -> Any:
    experiment = read_run(folder).experiment
    generator = experiment.build_gan((1, 8, 8)).generator
    return evaluate_generators(
        experiment, dict.fromkeys(range(experiment.peers), generator), cache=judge_cache
    )


def test_a_simulations_summary(simulated, judge_cache: Path):
    folder, summary = simulated
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["rounds"] == 40
    assert summary["seconds"] == 12.5
    assert summary["lambda_2"] == pytest.approx(0.5393, abs=1e-4)
    assert summary["arena_blake2b"] == {str(k): f"{k:064x}" for k in range(5)}
    logged = json.loads((folder / "network.jsonl").read_text().splitlines()[-1])
    assert summary["disagreement"] == logged["disagreement"]
    assert summary["disagreement_estimated"] is False
    # SGD: the theorem, with the largest gradient that was logged (3 and 1, in round 1).
    bounds = summary["disagreement_bound"]
    assert bounds["discriminator"]["value"] == pytest.approx(9 * bounds["generator"]["value"])
    assert bounds["generator"]["value"] == pytest.approx(3.43e-3, rel=1e-2)
    assert bounds["generator"]["surrogate"] is False
    quality = _untrained(folder, judge_cache)
    assert sorted(summary["coverage"]) == sorted(summary["cfid"]) == ["0", "1", "2", "3", "4"]
    assert summary["coverage"]["0"] == quality.coverage[0]
    assert summary["cfid"]["0"] == pytest.approx(quality.cfid[0])
    assert summary["cfid"]["4"] != summary["cfid"]["0"]  # its weights are not the same
    assert summary["judge_accuracy"] >= 0.97
    assert summary["labels"]["3"] == [6, 7]
    assert len(summary["histogram"]["1"]) == 10
    assert summary["missing"] == {"0": {"1": 1}}
    assert summary["unfinished"] == []


def test_figures_are_written_and_follow_the_run(simulated, make_run: MakeRun, report):
    one, other = simulated[0], make_run("other", seed=3, spread=5.0, graph="star")
    report(other)
    assert {path.stem for path in (one / "figures").iterdir()} == FIGURES
    for name in FIGURES:
        pixels = []
        for folder in (one, other):
            with Image.open(folder / "figures" / f"{name}.png") as image:
                assert image.format == "PNG"
                pixels.append(np.asarray(image.convert("L"), dtype=np.float64))
        assert min(pixels[0].shape) > 200, name
        assert pixels[0].std() > 15, name
        differ = pixels[0].shape != pixels[1].shape or (pixels[0] != pixels[1]).any()
        assert differ or "loss" in name, name  # the synthetic losses are the same


class _References(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.references += [
            value or ""
            for key, value in attrs
            if key in ("src", "href", "srcset", "data", "action")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(simulated):
    folder, summary = simulated
    page = (folder / "report.html").read_text(encoding="utf-8")
    parser = _References()
    parser.feed(page)
    assert parser.open == []
    assert parser.tags.count("img") == len(FIGURES)
    assert all(ref.startswith("data:image/png;base64,") for ref in parser.references)
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert "://" not in re.sub(r"tcp://", "", text)
    assert "url(" not in text
    assert "@import" not in text
    assert {"script", "link", "iframe"}.isdisjoint(parser.tags)
    assert "&lt;run&gt; &amp; co" in page
    assert "<run>" not in page
    assert parser.tags.count("tr") == 1 + 5
    for value in (f"{summary['cfid']['2']:.0f}", f"{2:064x}"[:8], "0.5393", "80.0 kB", "CFID"):
        assert value in text
    assert f"{summary['judge_accuracy']:.2%}" in text
    assert "not to be compared with one" in text


def test_real_peers_are_estimated_and_the_error_is_said(simulated, make_run: MakeRun, report):
    _, exact = simulated
    folder = make_run("real", real=True)
    summary = report(folder)
    assert summary["disagreement_estimated"] is True
    for net in ("generator", "discriminator"):
        error = summary["disagreement_relative_error"][net]
        assert 0.03 < error < 0.0884
        ratio = summary["disagreement"][net] / exact["disagreement"][net]
        assert abs(ratio - 1) < 4 * error
    assert "two standard errors" in (folder / "report.html").read_text(encoding="utf-8")
    assert summary["seconds"] == 24.0  # of the slowest peer


def test_killed_peers_are_named_and_the_rest_is_judged(make_run: MakeRun, report):
    folder = make_run(real=True)
    shutil.rmtree(folder / "peer-3")
    summary = report(folder)
    assert summary["unfinished"] == [3]
    assert sorted(summary["coverage"]) == ["0", "1", "2", "4"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "gathered): peer 3." in page


def test_without_labels_quality_is_absent_and_said_once(make_run: MakeRun, report, tmp_path: Path):
    np.savez(tmp_path / "plain.npz", images=np.zeros((20, 8, 8), np.uint8))
    path = str(tmp_path / "plain.npz")
    folder = make_run(data={"source": "npz", "path": path, "partition": "iid"})
    summary = report(folder)
    assert (summary["coverage"], summary["cfid"]) == ({}, {})
    assert "no labels" in summary["quality_absent"]
    assert {p.stem for p in (folder / "figures").iterdir()} == FIGURES - {"coverage", "cfid"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("not judged") == 1
    assert "CFID</th>" not in page
    Console(file=io.StringIO()).print(summary_table(summary))


def test_each_peers_own_images_may_be_elsewhere(make_run: MakeRun, report):
    data = {"source": "npz", "path": "/nowhere/{id}.npz", "partition": "own"}
    folder = make_run(real=True, data=data)
    summary = report(folder)
    assert "common source" in summary["quality_absent"]
    assert not (folder / "figures" / "samples.png").exists()  # their shape is not known here
    for k in range(5):
        path = folder / f"peer-{k}" / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": [1, 8, 8]}))
    report(folder)
    assert (folder / "figures" / "samples.png").exists()


def test_baselines_stand_beside_and_are_kept(make_run: MakeRun, report, judge_cache: Path):
    folder = make_run()
    quality = _untrained(folder, judge_cache)
    picture = folder / "figures" / "cfid.png"
    report(folder)
    before = picture.read_bytes()
    report(folder, seconds=3.0, baselines={"untrained": quality})
    with_baseline = picture.read_bytes()
    assert with_baseline != before
    assert "<small>untrained</small>" in (folder / "report.html").read_text(encoding="utf-8")
    again = report(folder)
    assert again["baselines"]["untrained"] == quality.as_record()
    assert again["seconds"] == 3.0
    assert picture.read_bytes() == with_baseline


def test_the_terminals_table(simulated, judge_cache: Path):
    folder, summary = simulated
    quality = _untrained(folder, judge_cache)
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(summary, {"untrained": quality}))
    lines = out.getvalue().splitlines()
    assert "5 peers, 40 rounds" in lines[0]
    row = next(line for line in lines if re.match(r"\W+2 \W", line))
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1] == "4 5"
    assert cells[2].split() == [str(quality.coverage[2]), f"{quality.cfid[2]:.0f}"]
    assert cells[3].split() == [str(summary["coverage"]["2"]), f"{summary['cfid']['2']:.0f}"]
    assert cells[4] == "80.0 kB"
    last = next(line for line in lines if re.match(r"\W+all \W", line))
    assert last.split("│")[4].split()[0] == str(min(summary["coverage"].values()))
    assert max(map(len, lines)) <= 80


def test_runs_side_by_side(simulated, make_run: MakeRun, judge_cache: Path, tmp_path: Path):
    one, other = simulated[0], make_run("other", spread=9.0)
    path = write_comparison([one, other], tmp_path / "both.png", cache=judge_cache)
    assert (other / "summary.json").exists()
    first = path.read_bytes()
    assert first[:4] == b"\x89PNG"
    write_comparison([one, one], path, cache=judge_cache)
    assert path.read_bytes() != first


def test_a_generator_of_another_model_is_the_users_error(make_run: MakeRun, report):
    folder = make_run()
    text = (folder / "experiment.yaml").read_text()
    (folder / "experiment.yaml").write_text(text.replace("name: mlp-digits", "name: mlpgan"))
    with pytest.raises(UserError, match=r"generator.safetensors: is not a generator"):
        report(folder)


def test_nobody_talks_no_bound(make_run: MakeRun, report):
    folder = make_run(algorithm={"name": "local", "rounds": 40}, graph="path")
    summary = report(folder)
    assert summary["disagreement_bound"] == {}
    graph = topology.build_graph("path", 5, 0)
    weights = topology.metropolis_weights(graph)
    assert summary["lambda_2"] == pytest.approx(topology.second_eigenvalue(weights))


def test_no_run_no_report(tmp_path: Path, report):
    with pytest.raises(UserError, match="not a run directory"):
        report(tmp_path)


def test_the_metrics_of_the_whole_run_are_reported(simulated):
    folder, summary = simulated
    assert summary["run"]["updates_per_second"] == pytest.approx(40 * 5 / 20)
    assert summary["run"]["delta_loss"]["mean"] == pytest.approx(-4 + 1 / 38.5, abs=1e-3)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<b>10</b><span>rounds of peers in a virtual second</span>" in page
    assert "<h2>Delta loss</h2>" in page


def _take_generators_away(folder: Path, *peers: int) -> None:
    for k in peers:
        (folder / f"peer-{k}" / "generator.safetensors").unlink()


def _hold_nothing(folder: Path, peer: int) -> None:
    path = folder / f"peer-{peer}" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": None}))


def test_peers_without_a_generator_or_without_data(make_run: MakeRun, report):
    """As MD-GAN leaves it: the server has the generator and no data, the workers the data."""
    folder = make_run(algorithm={"name": "mdgan", "rounds": 40}, graph="star")
    _take_generators_away(folder, 1, 2, 3, 4)
    _hold_nothing(folder, 0)
    summary = report(folder)
    assert sorted(summary["coverage"]) == ["0"]
    assert sorted(summary["cfid"]) == ["0"]
    assert sorted(summary["labels"]) == ["1", "2", "3", "4"]
    assert summary["absent_share"] == {}
    assert summary["unfinished"] == []
    assert (folder / "figures" / "samples.png").exists()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("hold no generator") == 1
    assert "peers 1, 2, 3, 4 hold no generator" in page
    assert "left no result" not in page.lower()
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(summary))
    cells = {
        row.split("│")[1].strip(): [cell.strip() for cell in row.strip("│").split("│")]
        for row in out.getvalue().splitlines()
        if row.count("│") >= 4
    }
    assert cells["0"][1] == "nothing"
    assert cells["1"][2].split() == ["-", "-"]


def test_nobody_holds_a_generator(make_run: MakeRun, report):
    folder = make_run()
    _take_generators_away(folder, *range(5))
    summary = report(folder)
    assert (summary["coverage"], summary["cfid"]) == ({}, {})
    assert summary["quality_absent"] == "no peer has left a generator"
    assert not (folder / "figures" / "samples.png").exists()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("no peer has left a generator") == 1


def test_own_data_of_some_only(make_run: MakeRun, report):
    """A peer without data may hold a generator, too: it draws, and nothing of it is unseen."""
    folder = make_run(algorithm={"name": "fedavg", "rounds": 40}, graph="star")
    _hold_nothing(folder, 0)
    summary = report(folder)
    assert sorted(summary["coverage"]) == ["0", "1", "2", "3", "4"]
    assert sorted(summary["absent_share"]) == ["1", "2", "3", "4"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<td>0</td><td class="text">nothing</td>' in page
