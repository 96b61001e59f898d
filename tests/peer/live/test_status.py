"""``peer status``: whom it asks, what it shows, and what it says where nobody answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from rich.console import Console
from typer.testing import CliRunner

import peer.__main__
from peer.console import run_app
from peer.control.door import Door
from peer.live.server import Told, application
from peer.live.serving import TOKEN, listening, the_token
from peer.live.status import GIVING_WAY, HEADINGS, Overview, ask_address
from peer.net.status.account import Account
from peer.net.status.flood import Entry, Flood
from peer.telling.overview import overview
from tests.support.network_in_memory import identity, make_endpoint
from topology.errors import UserError
from topology.membership import Change, Membership

SECRET = "a-token-of-this-test"


def known() -> dict[str, Any]:
    """What peer 0 of a ring of six knows: one of each kind."""
    endpoint = make_endpoint(identity(0), [1, 5])
    endpoint.roster.base = nx.cycle_graph(6)
    endpoint.roster.members = Membership.of([Change(9, 5, "leave", 5)])
    flood = Flood(endpoint.roster, endpoint.links)
    of = {
        0: (99.0, Account(round=40, phases={1: "up", 5: "left"}, pace=0.5, memory=2 * 10**8)),
        1: (97.0, Account(round=41, losses={"generator": 1.5}, measure="rfd", score=3.25)),
        2: (10.0, Account(round=12, phases={1: "up", 3: "down"})),
        3: (50.0, Account(round=100, state="finished")),
        5: (20.0, Account(round=8)),
    }
    flood.known = {(k, "account"): Entry(1, made, said, b"") for k, (made, said) in of.items()}
    return overview(flood, 100, 100.0)


def shown(width: int) -> str:
    console = Console(width=width, markup=False)
    with console.capture() as captured:
        console.print(Overview(known()))
    return captured.get()


def row(peer: int, text: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(f"│    {peer} │")]
    return " ".join(found.replace("│", " ").split())


def test_a_row_says_how_each_peer_is() -> None:
    text = shown(200)
    assert "6 peers, as peer 0 knows them" in text
    assert row(0, text).startswith("0 40/100 0.5 2/2 0 B 0 B 200.0 MB 1 s ago")
    assert "1.500 RFD 3.25" in row(1, text)
    assert row(2, text).endswith("90 s ago silent for 90 s")
    assert row(3, text).endswith("50 s ago finished")
    assert row(4, text) == "4 not heard of"
    assert row(5, text).endswith("left")


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_where_it_is_narrow_whole_columns_give_way(width: int) -> None:
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    head = next(line for line in text.splitlines() if "peer" in line and "┃" in line)
    kept = [word.strip() for word in head.split("┃") if word.strip()]
    assert kept == [h for h in HEADINGS if h in kept]
    gone = [h for h in HEADINGS if h not in kept]
    assert set(gone) == set([h for h in GIVING_WAY if h in HEADINGS][: len(gone)])


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(peer.__main__.app, ["status", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# --- by the door ----------------------------------------------------------------------------------


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Path]:
    def obey(words: Mapping[str, Any]) -> str:
        assert words == {"order": "status"}
        return json.dumps(known())

    (tmp_path / "run" / "peer-3").mkdir(parents=True)
    (tmp_path / "run" / "peer-1").mkdir()
    (tmp_path / "run" / "peer-1" / "control").touch()  # of a process that was killed
    made = Door(tmp_path / "run" / "peer-3", obey, print)
    yield tmp_path / "run"
    made.close()


def test_any_peer_that_answers_is_asked(door: Path) -> None:
    code, text, _ = run("--run-dir", str(door), "--json")
    assert (code, json.loads(text)) == (0, known())
    assert "as peer 0 knows them" in run("--run-dir", str(door), "--id", "3")[1]


def test_a_peer_that_is_not_there_is_one_line(
    door: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        (["--run-dir", str(door), "--id", "1"], f"no peer is running in {door / 'peer-1'}"),
        (["--run-dir", str(tmp_path)], f"no peer is running in {tmp_path}"),
        (["--topology", "no-such-file.yaml"], "there is no run of it here"),
        ([], "say whom to ask"),
        (["127.0.0.1:1"], "http://127.0.0.1:1/status.json does not answer"),
        (["ftp://x"], "say http://HOST:PORT"),
    ):
        with pytest.raises(SystemExit) as ended:
            run_app(peer.__main__.app, ["status", *arguments])
        assert ended.value.code == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


# --- by HTTP --------------------------------------------------------------------------------------


def served(is_open: bool) -> Any:
    told = Told(known, lambda: b"hearsay_round 8\n", SECRET, is_open)
    return listening("127.0.0.1:0", "--metrics", lambda hosts, _: application(None, hosts, told))


def test_an_address_is_asked_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(is_open=False) as where:
        assert ask_address(f"{where}/?token={SECRET}") == known()
        for wrong in (where, f"{where}/?token=x"):
            with pytest.raises(UserError, match=r"refuses \(403\): the token is missing"):
                ask_address(wrong)
        monkeypatch.setenv(TOKEN, SECRET)
        assert ask_address(where.removeprefix("http://")) == known()


def test_metrics_of_this_machine_alone_need_no_token_and_others_do() -> None:
    import http.client

    def ask(where: str, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(where.removeprefix("http://"), timeout=20)
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    with served(is_open=True) as where:
        assert ask(where, {}) == (200, b"hearsay_round 8\n")
        assert ask(where, {"Host": "evil.example"})[0] == 400
    with served(is_open=False) as where:
        assert ask(where, {})[0] == 403
        assert ask(where, {"Authorization": "Bearer x"})[0] == 403
        assert ask(where, {"Authorization": f"Bearer {SECRET}"})[0] == 200


def test_what_answers_but_is_no_peer() -> None:
    def is_another() -> dict[str, Any]:
        return {"asked": 0, "peers": [{"peer": 0, "round": 3}]}

    told = Told(is_another, None, SECRET, True)
    make = lambda hosts, _: application(None, hosts, told)  # noqa: E731
    listens = listening("127.0.0.1:0", "--metrics", make)
    with listens as where, pytest.raises(UserError, match="is no peer"):
        ask_address(where)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(UserError, match="does not answer"):
        ask_address(f"127.0.0.1:{port}")  # nobody listens there any more


def test_a_token_of_ones_own_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, SECRET)
    assert the_token() == SECRET
    for bad in ("", "short", "sixteen letters &", "x" * 300):
        monkeypatch.setenv(TOKEN, bad)
        with pytest.raises(UserError, match="HEARSAY_TOKEN: must be 16"):
            the_token()
    monkeypatch.delenv(TOKEN)
    assert the_token() != the_token()
