"""The code in a terminal: with a picture of it, or with a line that says what that takes."""

from __future__ import annotations

import sys

import pytest

from peer.control.command import ids_in, show_qr
from peer.invite.code import Code
from topology.errors import UserError

CODE = str(Code(0, 5, 1_800_000_000, bytes(10), bytes(32), bytes(16), "tcp://10.0.0.1:47100"))


def test_a_camera_reads_the_code_off_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    segno = pytest.importorskip("segno", reason="needs hearsay[invite]")
    show_qr(CODE)
    said = capsys.readouterr()
    drawn = [line for line in said.out.splitlines() if line.strip()]
    qr = segno.make(CODE, error="m")
    assert qr.mode == "alphanumeric"  # capitals and digits: the smallest picture
    assert max(map(len, drawn)) <= 80  # of a terminal's columns, colours and all
    assert len(drawn) >= qr.symbol_size()[1] / 2
    assert said.err == ""


def test_without_the_package_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    show_qr(CODE)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "no QR code: the package segno is not installed (pip install 'hearsay[invite]'); the code "
        "above is all that is needed\n"
    )


def test_ids_are_read_off_a_list() -> None:
    assert ids_in("3,0,3") == (0, 3)
    assert ids_in(None) == ()
    with pytest.raises(UserError, match="--links a,b: must be ids, such as 0,3"):
        ids_in("a,b")
