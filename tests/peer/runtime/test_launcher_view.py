"""The table of ``peer up`` in terminals of any width: what is shown is whole."""

from __future__ import annotations

import io
import re
import subprocess
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

import pytest
from rich.console import Console

from peer.runtime.launcher import GIVING_WAY, HEADINGS, Child, View

LINE = (
    "2026-11-27 21:23:20 peer 3: note: /home/a person/pictures [bold]of cats[/bold]/1.png is left "
    "out, as an animation"
)


@dataclass
class Ended:
    """A process, as far as the table looks at it."""

    code: int | None

    def poll(self) -> int | None:
        return self.code


def child(peer: int, code: int | None, away: int, is_scored: bool) -> Child:
    status: dict[str, Any] = {
        "round": 98_000 + peer,
        "losses": {"discriminator": 1.2345, "generator": -12.5},
        "phases": {str(k): "down" if k < away else "up" for k in range(12)},
        "bytes_in": 123_456_789 + 10**6 * peer,
        "bytes_out": 999_999_999_999,
    }
    if is_scored and peer != 1:  # which is not so far yet
        status["score"] = {"measure": "fid", "fid": 0.1234 + 10**peer}
    return Child(peer, cast("subprocess.Popen[str]", Ended(code)), status)


def shown(count: int, width: int, is_scored: bool = False) -> list[str]:
    codes = (None, None, 0, 130, -9, 1, 3)
    children = [child(k, codes[k % 7], 12 if k == 1 else k % 3, is_scored) for k in range(count)]
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    console.print(View(children, 100_000, deque([LINE])))
    return file.getvalue().splitlines()


def rows(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows, what is said over several lines put together."""
    heads, *_ = ([cell.strip() for cell in line[1:-1].split("┃")] for line in lines if "┃" in line)
    found: list[list[str]] = []
    for line in lines:
        if "│" not in line:
            continue
        cells = [cell.strip() for cell in line[1:-1].split("│")]
        if cells[0]:
            found.append(cells)
        else:
            assert not any(cells[:-1])
            found[-1][-1] += " " + cells[-1]
    return heads, found


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("is_scored", [False, True])
def test_nothing_is_cut_at_any_width(count: int, width: int, is_scored: bool) -> None:
    lines = shown(count, width, is_scored)
    assert all(len(line) <= width for line in lines)
    assert not re.search("…|\\.\\.\\.", "\n".join(lines))
    assert lines[0].strip() == ("1 peer" if count == 1 else "12 peers")
    whole_heads, whole = rows(shown(count, 1000, is_scored))
    assert [head or "said" for head in whole_heads] == [
        *("FID" if head == "score" else head for head in HEADINGS if is_scored or head != "score"),
        "said",
    ]
    heads, found = rows(lines)
    assert heads[:2] == ["peer", "round"]
    kept = [whole_heads.index(heading) for heading in heads]  # whole columns, or none of them
    assert found == [[row[k] for k in kept] for row in whole]
    below = lines[next(k for k, line in enumerate(lines) if line.startswith("└")) + 1 :]
    assert "".join(below).replace(" ", "") == LINE.replace(" ", "")  # brackets are no markup


def test_columns_give_way_in_their_order() -> None:
    heads = [h for h in HEADINGS if h != "score"]
    order = [h for h in GIVING_WAY if h != "score"]
    gone = [[each for each in heads if each not in rows(shown(12, w))[0]] for w in (40, 60, 80)]
    assert [set(each) for each in gone] == [set(order[: len(each)]) for each in gone]
    assert len(gone[0]) > len(gone[1]) > len(gone[2])
    assert "loss D" not in gone[1]
