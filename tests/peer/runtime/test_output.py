"""What a peer says never raises, and says where and when."""

from __future__ import annotations

import errno
import io
import os
import re

import pytest

from peer.runtime.output import Output, Tolerant
from peer.runtime.progress import Pace, describe, in_words


def test_a_line_has_time_and_peer(capsys: pytest.CaptureFixture[str]) -> None:
    Output("peer 3", gone=lambda: None).say("round 1")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d peer 3: round 1\n", capsys.readouterr().out
    )
    Output("", gone=lambda: None).say("round 1")
    assert capsys.readouterr().out == "round 1\n"


def test_a_reader_that_has_gone_is_told_once_and_nothing_is_raised() -> None:
    read, write = os.pipe()
    os.close(read)
    gone: list[None] = []
    with os.fdopen(write, "w") as pipe:
        stream = Tolerant(pipe, lambda: gone.append(None))
        for _ in range(3):
            stream.write("x" * 100_000)
            stream.flush()
    assert gone == [None]


def test_an_encoding_or_a_disk_that_takes_nothing_raises_nothing() -> None:
    gone: list[None] = []
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = Tolerant(ascii_only, lambda: gone.append(None))
    assert stream.write("größer") == 6
    stream.write("good\n")
    stream.flush()
    assert ascii_only.buffer.getvalue() == b"good\n"  # type: ignore[attr-defined]

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    assert Tolerant(Full(), lambda: gone.append(None)).write("line") == 4
    closed = io.StringIO()
    closed.close()
    assert Tolerant(closed, lambda: gone.append(None)).write("line") == 4
    assert gone == []


def test_progress_in_a_line() -> None:
    pace = Pace()
    assert pace.rate(0.0, 0) == 0.0
    rate = pace.rate(10.0, 25)
    assert rate == 2.5
    line = describe(25, 100, rate, {"generator": 1.0, "discriminator": 0.5}, {1: "up", 4: "down"})
    assert line == (
        "round 25 of 100 (25.0%), 2.5 rounds/s, 30 s left, loss D 0.500, loss G 1.000, 1/2 links up"
    )
    assert describe(0, 100, 0.0, {}, {}) == "round 0 of 100 (0.0%)"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(45, "45 s"), (180, "3 min"), (7500, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_time_left_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
