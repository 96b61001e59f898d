"""The door to a running peer: who may give orders, and what is answered."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from peer.control.door import LONGEST, NAME, Door, order
from topology.errors import UserError


def obey(words: Mapping[str, Any]) -> str:
    if words.get("order") == "greet":
        return f"hello, {words['name']}"
    raise UserError(f"no order {words}")


@pytest.fixture(params=["near", "far"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One whose socket has a short path, or one that is longer than systems take."""
    return tmp_path if request.param == "near" else tmp_path / ("x" * LONGEST) / "peer-3"


@pytest.fixture
def door(folder: Path) -> Iterator[Door]:
    folder.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    made = Door(folder, obey, said.append)
    assert not said
    yield made
    made.close()


def test_an_order_is_answered(folder: Path, door: Door) -> None:
    assert order(folder, {"order": "greet", "name": "Mallory"}) == "hello, Mallory"
    with pytest.raises(UserError, match="no order"):
        order(folder, {"order": "steal"})
    assert order(folder, {"order": "greet", "name": "Bob"}) == "hello, Bob"


def test_nobody_else_can_open_it(folder: Path, door: Door) -> None:
    mode = (folder / NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_who_is_another_user_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file's mode says by then."""
    made = Door(tmp_path, obey, print)
    monkeypatch.setattr("peer.control.door._is_ours", lambda caller: False)
    with pytest.raises(UserError, match="does not answer"):
        order(tmp_path, {"order": "greet", "name": "Eve"})
    made.close()


def test_where_nobody_runs(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^--run-dir: no peer is running in "):
        order(folder, {"order": "greet"})
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match=r"^--run-dir: no peer is running in "):
        order(folder, {"order": "greet"})


def test_after_it_is_closed_there_is_no_door(folder: Path, door: Door) -> None:
    door.close()
    assert not (folder / NAME).exists()
    with pytest.raises(UserError, match="no peer is running"):
        order(folder, {"order": "greet"})


def test_the_socket_of_one_that_was_killed_is_taken_away(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / NAME))
    left.close()
    with pytest.raises(UserError, match="no peer is running"):
        order(tmp_path, {"order": "greet"})
    made = Door(tmp_path, obey, print)
    assert order(tmp_path, {"order": "greet", "name": "A"}) == "hello, A"
    made.close()


@pytest.mark.parametrize("said", [b"\n", b"[1]\n", b"\xff\n", b'{"order": ', b"7\n", b"x" * 70000])
def test_what_is_no_order_is_refused_and_the_next_is_heard(tmp_path: Path, said: bytes) -> None:
    made = Door(tmp_path, obey, print)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(tmp_path / NAME))
        caller.sendall(said)
        caller.shutdown(socket.SHUT_WR)
        answer = caller.makefile("rb").readline()
    assert json.loads(answer) == {"refused": "an order is one line of JSON, a mapping"}
    assert order(tmp_path, {"order": "greet", "name": "A"}) == "hello, A"
    made.close()


def test_where_there_can_be_no_door_the_peer_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    made = Door(tmp_path / "file", obey, said.append)
    assert "takes no orders" in said[0]
    made.close()
