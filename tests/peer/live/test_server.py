"""The page over HTTP: what it answers, to whom, and what becomes of those who ask for too much."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peer.live.facts import Network
from peer.live.feed import Feed
from peer.live.server import Refused
from peer.live.serving import MOST_CONNECTIONS, check_live, parse_address, serving
from topology.errors import UserError

NETWORK = Network(10, 1, [(0, 1)], {0: (0.0, 1.0), 1: (0.0, -1.0)}, {0: [0], 1: [1]})


class Page:
    """A served page, its feed, and what was asked of its peers."""

    def __init__(self, port: int, token: str, feed: Feed, done: list[str]) -> None:
        self.port, self.token, self.feed, self.done = port, token, feed, done

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def listen(self, after: int | None = None) -> tuple[http.client.HTTPConnection, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        connection.request("GET", f"/facts?token={self.token}", headers=headers)
        return connection, connection.getresponse()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Page]:
    said: list[str] = []
    done: list[str] = []

    def act(peer: int) -> str:
        if peer == 1:
            raise Refused("peer 1 does not run")
        done.append(f"act {peer}")
        return "done"

    with serving(
        "127.0.0.1:0", NETWORK, tmp_path, title="T", subtitle="S", tell=said.append,
        actions={"start again": act}, link_actions={"cut": lambda a, b: f"cut {a} {b}"},
    ) as feed:  # fmt: skip
        found = re.fullmatch(r"the page is http://127\.0\.0\.1:(\d+)/\?token=([\w-]{20,})", said[0])
        assert found is not None
        yield Page(int(found[1]), found[2], feed, done)


def test_without_the_token_nothing_is_answered(served: Page) -> None:
    for path in ("/", "/?token=", "/?token=x", "/facts", "/facts?token=%00"):
        status, text = served.ask(path)
        assert status == 403
        assert "facts" not in text
    status, text = served.ask(f"/?token={served.token}")
    assert status == 200
    assert "<title>T</title>" in text


def test_another_name_for_this_machine_is_refused(served: Page) -> None:
    path = f"/?token={served.token}"
    assert served.ask(path, headers={"Host": "evil.example"})[0] == 400
    assert served.ask(path, headers={"Host": f"localhost:{served.port}"})[0] == 200


def test_another_site_cannot_act(served: Page) -> None:
    path = f"/peers/0/start%20again?token={served.token}"
    assert served.ask(path)[0] == 405  # a picture's address, say
    assert served.ask(path, "POST")[0] == 403  # a form
    assert served.ask(path, "POST", {"X-Token": "x"})[0] == 403
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "x-token"}  # fmt: skip
    assert served.ask(path, "OPTIONS", preflight)[0] == 405  # so no browser sends the header
    assert served.done == []


def test_what_may_be_done_is_done(served: Page) -> None:
    token = {"X-Token": served.token}
    assert served.ask("/peers/0/start%20again", "POST", token) == (200, '{"said":"done"}')
    status, text = served.ask("/peers/1/start%20again", "POST", token)
    assert (status, json.loads(text)["said"]) == (409, "peer 1 does not run")
    for path in ("/peers/7/start%20again", "/peers/0/destroy", "/peers/-1/start%20again"):
        assert served.ask(path, "POST", token)[0] == 404
    assert served.done == ["act 0"]


def test_what_may_be_done_to_a_link_is_done(served: Page) -> None:
    token = {"X-Token": served.token}
    assert served.ask("/links/1/0/cut", "POST", token) == (200, '{"said":"cut 1 0"}')
    assert served.ask(f"/links/1/0/cut?token={served.token}", "POST")[0] == 403  # another site's
    for path in ("/links/0/7/cut", "/links/0/1/mend", "/links/0/cut"):
        assert served.ask(path, "POST", token)[0] == 404


def test_programs_are_told_nothing_where_nobody_knows_of_all(served: Page) -> None:
    """The page of ``peer up`` reads folders: whoever asks for a status asks a peer."""
    for path in ("/status.json", "/metrics"):
        assert served.ask(f"{path}?token={served.token}")[0] == 404


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/assets/page.js",
             "/peers/0", "/peers/99999999999999999999/kill"],
)  # fmt: skip
def test_there_are_no_other_paths(served: Page, path: str) -> None:
    assert served.ask(f"{path}?token={served.token}")[0] in (404, 405)


def test_facts_come_and_go_on_where_one_was(served: Page) -> None:
    served.feed.add({"kind": "round", "peer": 0, "round": r} for r in (1, 2))
    connection, answer = served.listen()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.readline() == b"id: 2\n"
    assert [f["round"] for f in json.loads(answer.readline().removeprefix(b"data: "))] == [1, 2]
    assert answer.readline() == b"\n"
    served.feed.add([{"kind": "round", "peer": 0, "round": 3}])
    assert answer.readline() == b"id: 3\n"
    connection.close()
    connection, answer = served.listen(after=2)
    assert answer.readline() == b"id: 3\n"
    served.feed.close()
    assert b"event: end\n" in answer.read()
    connection.close()


def test_who_opens_it_late_sees_at_once_what_there_is(served: Page) -> None:
    served.feed.add({"kind": "round", "peer": 0, "round": r} for r in (1, 2))
    served.feed.add([{"kind": "event", "round": None, "text": "peer 0: </script> it said"}])
    _, text = served.ask(f"/?token={served.token}")
    found = re.search(r'id="facts">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    known = json.loads(found[1])
    assert [fact["round"] for fact in known["facts"]] == [1, 2, None]
    assert known["live"]["facts"] == f"facts?token={served.token}&after=3"
    served.feed.add([{"kind": "round", "peer": 0, "round": 3}])
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", f"/{known['live']['facts']}")
    answer = connection.getresponse()
    assert answer.readline() == b"id: 4\n"
    assert [f["round"] for f in json.loads(answer.readline().removeprefix(b"data: "))] == [3]
    connection.close()
    assert served.ask(f"/facts?token={served.token}&after=x")[0] == 400


def test_a_thousand_connections_do_no_harm(served: Page) -> None:
    listening, answer = served.listen()
    with contextlib.ExitStack() as open_ones:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                each = open_ones.enter_context(
                    socket.create_connection(("127.0.0.1", served.port), timeout=5)
                )
                each.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # and no more
        assert served.ask(f"/?token={served.token}")[0] in (200, 503)
        served.feed.add([{"kind": "round", "peer": 0, "round": 1}])
        assert answer.readline() == b"id: 1\n"  # who was there before is served
    listening.close()


def test_more_than_so_many_are_told_to_come_later(served: Page) -> None:
    streams = [served.listen() for _ in range(MOST_CONNECTIONS)]
    assert served.ask(f"/?token={served.token}")[0] == 503
    for connection, _ in streams:
        connection.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [("8000", ("127.0.0.1", 8000)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:9", ("::1", 9)),
     (":7", ("127.0.0.1", 7)), ("pi", ("pi", 0))],
)  # fmt: skip
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert parse_address(text) == found


@pytest.mark.parametrize("text", ["127.0.0.1:x", "a:99999", "a:-1"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="say HOST:PORT"):
        check_live(text)


@pytest.mark.parametrize(
    ("option", "lacking", "said"),
    [("--live", ["starlette"], "package starlette;"),
     ("--live", ["starlette", "uvicorn"], "packages starlette and uvicorn;"),
     ("--metrics", ["prometheus_client"], "package prometheus-client;")],
)  # fmt: skip
def test_without_the_extra_one_line_says_what_is_missing(
    option: str, lacking: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    missing = lambda name: None if name in lacking else find(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(UserError, match=f"{option}: needs the {said} pip install 'hearsay.live.'"):
        check_live("127.0.0.1:0", option)
    if option == "--metrics":
        check_live("127.0.0.1:0")  # a page needs it not


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        page = serving(address, NETWORK, tmp_path, title="", subtitle="", tell=print)
        with pytest.raises(UserError, match=f"--live {address}: cannot listen there"), page:
            pass
