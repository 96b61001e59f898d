"""A run's folder while it is written: every whole line becomes a fact, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peer.live.feed import MOST_FACTS, MOST_PICTURES, Feed
from peer.live.follow import Follower
from peer.loggers.mosaic import save_images
from peer.state.count_sketch import CountSketch, encode, estimate_disagreement


def line(peer: int, round: int, **more: Any) -> str:
    record = {"peer": peer, "round": round, "seconds": 0.5, "bytes_in": 1, "bytes_out": 2,
              "losses": {"generator": 0.7}, "missing": []}  # fmt: skip
    return json.dumps(record | more) + "\n"


def test_lines_are_told_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = Follower(tmp_path)
    assert follower.news() == []
    first, second = line(0, 1), line(1, 1, losses={"generator": None}, missing=[0])
    path.write_text(first + second[:9])
    assert [(f["peer"], f["round"]) for f in follower.news()] == [(0, 1)]
    path.write_text(first + second)
    (found,) = follower.news()
    assert (found["losses"], found["missing"]) == ({"generator": None}, [0])
    assert follower.news() == []


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    lines = ["nonsense\n", "[1]\n", '{"peer": 1}\n', "\n", "\x00\n", line(2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    assert [f["peer"] for f in Follower(tmp_path).news()] == [2]


def test_a_file_that_was_cut_back_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = Follower(tmp_path)
    path.write_text("".join(line(0, r) for r in range(1, 9)))
    follower.news()
    path.write_text("".join(line(0, r) for r in range(1, 4)))  # gone on with from round 3
    assert [f["round"] for f in follower.news()] == [1, 2, 3]


def test_real_peers_write_each_their_own(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"peer-{k}").mkdir()
        (tmp_path / f"peer-{k}" / "metrics.jsonl").write_text(line(k, 5))
        score = {"peer": k, "round": 5, "measure": "rfd", "rfd": 1.5, "own": None, "images": 9,
                 "covered": None}  # fmt: skip
        (tmp_path / f"peer-{k}" / "quality.jsonl").write_text(json.dumps(score) + "\n")
    found = Follower(tmp_path).news()
    assert [f["peer"] for f in found if f["kind"] == "round"] == [0, 1, 2]
    scores = [f for f in found if f["kind"] == "score"]
    assert {(f["measure"], f["value"], f["covered"]) for f in scores} == {("RFD", 1.5, None)}


def test_the_disagreement_is_of_those_whose_sketches_are_here(tmp_path: Path) -> None:
    sketch = CountSketch(500, 0, "generator")
    draw = torch.Generator().manual_seed(0)
    sketches = [sketch(torch.randn(500, generator=draw)) for _ in range(3)]
    lines = [line(k, 7, sketches={"generator": encode(s)}) for k, s in enumerate(sketches)]
    path = tmp_path / "metrics.jsonl"
    follower = Follower(tmp_path)
    path.write_text(lines[0])
    assert [f["kind"] for f in follower.news()] == ["round"]
    path.write_text("".join(lines))
    found = [f for f in follower.news() if f["kind"] == "disagreement"]
    wanted, _ = estimate_disagreement(np.array(sketches))
    assert found[-1]["values"]["generator"] == pytest.approx(wanted, rel=1e-5)


def test_a_picture_is_told_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "peer-4" / "pictures" / "round-00000020.png"
    save_images(torch.zeros(4, 1, 8, 8), path)
    content = path.read_bytes()
    follower = Follower(tmp_path)
    path.write_bytes(content[:-5])
    assert follower.news() == []
    path.write_bytes(content)
    (found,) = follower.news()
    assert (found["kind"], found["peer"], found["round"]) == ("picture", 4, 20)
    assert follower.news() == []


# --- what is kept of them -----------------------------------------------------------------------


def fact(round: int, kind: str = "round", peer: int = 0) -> dict[str, Any]:
    return {"kind": kind, "peer": peer, "round": round}


def test_whoever_was_told_some_gets_the_rest() -> None:
    feed = Feed()
    feed.add(fact(r) for r in range(1, 6))
    number, found = feed.after(0, most=3)
    assert [f["round"] for f in found] == [1, 2, 3]
    number, found = feed.after(number)
    assert [f["round"] for f in found] == [4, 5]
    assert feed.after(number) == (number, [])
    feed.add([fact(6, "score")])
    assert [f["kind"] for f in feed.after(number)[1]] == ["score"]


def test_a_feed_is_bounded_and_keeps_the_newest() -> None:
    feed = Feed()
    feed.add(fact(r) for r in range(20 * MOST_FACTS))
    feed.add(fact(r, "picture") for r in range(500))
    _, found = feed.after(0, most=10**9)
    rounds = [f["round"] for f in found if f["kind"] == "round"]
    pictures = [f["round"] for f in found if f["kind"] == "picture"]
    assert MOST_FACTS // 2 <= len(rounds) <= MOST_FACTS
    assert len(pictures) <= MOST_PICTURES
    assert (rounds[0], rounds[-1], pictures[-1]) == (0, 20 * MOST_FACTS - 1, 499)
    assert rounds == sorted(set(rounds))
