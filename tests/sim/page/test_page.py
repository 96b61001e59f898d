"""``sim page``: one file that plays a run, with nothing in it that the run did not say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from peer.live.page import page
from sim.__main__ import app
from sim.page import from_run
from sim.page.from_run import facts_of
from sim.records.reader import read_run

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 100  # only carried, never read

MakeRun = Callable[..., Path]


def keep_pictures(folder: Path, peers: range, rounds: range) -> None:
    for k in peers:
        (folder / f"peer-{k}" / "pictures").mkdir(parents=True, exist_ok=True)
        for r in rounds:
            (folder / f"peer-{k}" / "pictures" / f"round-{r:08}.png").write_bytes(PNG)


def log_scores(folder: Path, peers: range, rounds: range) -> None:
    lines = [
        {"peer": k, "round": r, "measure": "cfid", "cfid": 100.0 / r + k, "own": None,
         "images": 50, "covered": min(r, 10)}
        for r in rounds for k in peers
    ]  # fmt: skip
    (folder / "quality.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def go_without(folder: Path, peer: int, other: int, rounds: range) -> None:
    """Say in the records that ``peer`` went on without ``other``, and nobody else did."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["missing"] = [other] * (line["peer"] == peer and line["round"] in rounds)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def known(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def of_kind(facts: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [fact for fact in facts if fact["kind"] == kind]


def test_every_record_is_a_fact(make_run: MakeRun) -> None:
    folder = make_run(peers=4, rounds=30)
    keep_pictures(folder, range(3), range(10, 31, 10))
    log_scores(folder, range(4), range(10, 31, 10))
    run = read_run(folder)
    network, facts = facts_of(run)
    rounds = of_kind(facts, "round")
    assert len(rounds) == sum(map(len, run.records.values()))
    first = next(f for f in rounds if f["peer"] == 2)
    assert first["losses"]["generator"] == pytest.approx(
        run.records[2][0].losses["generator"], rel=1e-5
    )
    assert len(of_kind(facts, "picture")) == 9
    assert network.draws == {0, 1, 2}
    scores = of_kind(facts, "score")
    assert {(f["peer"], f["round"], f["covered"]) for f in scores} == {
        (k, r, min(r, 10)) for k in range(4) for r in (10, 20, 30)
    }
    assert {f["measure"] for f in scores} == {"CFID"}
    curve = run.disagreement("generator")
    assert curve is not None
    logged = {f["round"]: f["values"]["generator"] for f in of_kind(facts, "disagreement")}
    assert logged == pytest.approx(dict(zip(curve.rounds, curve.values, strict=True)), rel=1e-5)


def test_links_are_the_graphs(make_run: MakeRun) -> None:
    network, _ = facts_of(read_run(make_run(peers=6, graph="star")))
    assert network.links == [(0, k) for k in range(1, 6)]
    assert set(network.places) == set(range(6))
    assert all(abs(x) <= 1.01 and abs(y) <= 1.01 for x, y in network.places.values())


def test_who_went_without_whom_is_said_once_a_stretch(make_run: MakeRun) -> None:
    folder = make_run(peers=5, rounds=40)
    go_without(folder, 1, 2, range(10, 21))
    _, facts = facts_of(read_run(folder))
    assert [(f["round"], f["text"]) for f in of_kind(facts, "event")] == [
        (10, "peer 1 goes on without peer 2"),
        (21, "peer 1 has back peer 2"),
    ]


def test_thinned_out_records_keep_who_was_missing(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(peers=5, rounds=400)
    go_without(folder, 3, 4, range(200, 201))  # in a record that is not kept
    monkeypatch.setattr(from_run, "MOST_FACTS", 100)
    _, facts = facts_of(read_run(folder))
    rounds = [f for f in of_kind(facts, "round") if f["peer"] == 3]
    assert len(rounds) == 20
    assert (rounds[0]["round"], rounds[-1]["round"]) == (1, 400)
    assert [f["missing"] for f in rounds if f["missing"]] == [[4]]


def test_where_pictures_are_many_it_says_how_many_are_here(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(peers=2, rounds=100)
    keep_pictures(folder, range(2), range(1, 101))
    monkeypatch.setattr(from_run, "MOST_PICTURES", 10 * 2 * len(PNG))
    network, facts = facts_of(read_run(folder))
    shown = {f["round"] for f in of_kind(facts, "picture")}
    assert len(shown) == 10
    assert {1, 100} <= shown
    assert "Of 100 rounds with pictures, 10 are in this page." in network.pictures


def test_values_that_are_not_finite_are_null(make_run: MakeRun) -> None:
    folder = make_run(peers=2, rounds=5)
    path = folder / "metrics.jsonl"
    path.write_text(re.sub(r'"generator": [0-9.e+-]+', '"generator": null', path.read_text()))
    network, facts = facts_of(read_run(folder))
    page(network, facts, title="t", subtitle="s")  # JSON knows no NaN, and would say so
    assert of_kind(facts, "round")[0]["losses"]["generator"] is None


def test_real_peers_are_shown_by_their_own_clock(make_run: MakeRun) -> None:
    network, facts = facts_of(read_run(make_run(real=True)))
    assert network.clock == "real"
    assert "from sketches" in network.disagreement
    assert of_kind(facts, "disagreement")


def test_a_peer_that_left_no_result_is_said(make_run: MakeRun) -> None:
    folder = make_run(peers=3, rounds=20)
    shutil.rmtree(folder / "peer-1", ignore_errors=True)
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [line for line in lines if line["peer"] != 1 or line["round"] <= 7]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    _, facts = facts_of(read_run(folder))
    said = [f for f in of_kind(facts, "event") if f["text"].startswith("peer 1 left no result")]
    assert [f["round"] for f in said] == [7]


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_damaged_summary_is_no_summary(make_run: MakeRun, content: str) -> None:
    folder = make_run()
    (folder / "summary.json").write_text(content)
    network, _ = facts_of(read_run(folder))
    assert network.bounds == {}


def test_the_command(make_run: MakeRun) -> None:
    folder = make_run()
    done = CliRunner().invoke(app, ["page", str(folder)])
    assert done.exit_code == 0, done.output
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert len(known(text)["network"]["peers"]) == 5
    again = CliRunner().invoke(app, ["page", str(folder), "--out", str(folder / "b.html")])
    assert again.exit_code == 0
    assert (folder / "b.html").read_text(encoding="utf-8") == text


def test_nothing_in_the_page_reaches_for_the_network(make_run: MakeRun) -> None:
    network, facts = facts_of(read_run(make_run()))
    text = page(network, facts, title="<T>", subtitle="a & b")
    assert "default-src 'none'" in text
    ours = text.replace("http://www.w3.org/2000/svg", "").replace("https://github.com/leeoniya", "")
    assert not re.search(r"https?:|\shref=|fetch\(|XMLHttp|import\(|WebSocket|EventSource", ours)
    assert "<title>&lt;T&gt;</title>" in text


def test_a_name_of_a_class_is_text_and_no_part_of_the_page(make_run: MakeRun) -> None:
    folder = make_run()
    name = '</script><script>alert("a neighbour chose this")</script>'
    summary = {"class_names": [name, "b"], "labels": {"0": [0, 1]}}
    (folder / "summary.json").write_text(json.dumps(summary))
    network, facts = facts_of(read_run(folder))
    text = page(network, facts, title="t", subtitle="s")
    assert known(text)["network"]["class_names"] == [name, "b"]
    assert "<script>alert" not in text


SEEN = """
<script>
const seen = {};
for (const round of [1, 10, 25, 40]) {
  one("round").value = round;
  one("round").dispatchEvent(new Event("input"));
  seen[round] = {now: one("now").textContent,
    missed: document.querySelectorAll("#graph line.missed").length,
    cards: [...document.querySelectorAll(".card span:last-child")].map((x) => x.textContent),
    pictures: [...document.querySelectorAll(".card img")].filter((x) => !x.hidden).length,
    events: [...document.querySelectorAll("#events li")].filter((x) => !x.hidden).length,
    drawn: page.parts[1].plans.map((plan) => plan.chart.data[0].length)};
}
document.querySelector("#graph .node").dispatchEvent(new Event("click"));
seen.chosen = document.querySelectorAll(".card.chosen, #graph .chosen").length;
one("play").click();
seen.playing = one("play").textContent;
document.body.replaceChildren(JSON.stringify(seen));
</script>
</body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page")
def test_the_slider_shows_each_round_as_it_was(make_run: MakeRun, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    folder = make_run(peers=5, rounds=40)
    keep_pictures(folder, range(4), range(10, 41, 10))
    log_scores(folder, range(5), range(10, 41, 10))
    go_without(folder, 1, 2, range(10, 21))
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [line for line in lines if line["peer"] != 4 or line["round"] <= 20]  # then it is killed
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    network, facts = facts_of(read_run(folder))
    text = page(network, facts, title="t", subtitle="s").replace("</body>", SEEN)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    options += ["--disable-background-networking", "--no-first-run", "--disable-sync"]
    dumped = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         f"file://{tmp_path}/page.html"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    found = re.search(r"<body>(.*?)</body>", dumped.stdout, re.DOTALL)
    assert found is not None, dumped.stdout[-2000:]
    seen = json.loads(found[1])
    assert seen["1"]["now"].startswith("round 1 of 40")
    assert (seen["1"]["missed"], seen["1"]["pictures"], seen["1"]["events"]) == (0, 0, 0)
    assert (seen["10"]["missed"], seen["10"]["pictures"], seen["10"]["events"]) == (1, 4, 1)
    assert seen["10"]["cards"][1] == "without 2"
    assert (seen["25"]["missed"], seen["25"]["events"]) == (0, 2)
    assert seen["25"]["cards"][4] == "silent since round 20"
    assert seen["25"]["cards"][0] == "round 25"
    assert all(a <= b for a, b in zip(seen["10"]["drawn"], seen["40"]["drawn"], strict=True))
    assert seen["40"]["drawn"][-1] == 40
    assert seen["chosen"] == 2
    assert seen["playing"] == "Pause"
