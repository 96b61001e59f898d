"""What a peer has heard of the others, as facts of its page."""

from __future__ import annotations

import base64

import networkx as nx
import numpy as np

from peer.live.facts import Network
from peer.live.overheard import Overhearing, as_told
from peer.net.status.account import Account, Picture
from peer.net.status.flood import Entry, Flood
from tests.support.network_in_memory import identity, make_endpoint
from topology.membership import Change, Membership


def hearing() -> tuple[Flood, Overhearing]:
    endpoint = make_endpoint(identity(0), [1])
    endpoint.roster.base = nx.path_graph(3)
    flood = Flood(endpoint.roster, endpoint.links)
    return flood, Overhearing(flood)


def tell(flood: Flood, peer: int, number: int, said: Account | Picture, made: float = 5.0) -> None:
    topic = "account" if isinstance(said, Account) else "picture"
    flood.known = {**flood.known, (peer, topic): Entry(number, made, said, b"")}


def test_each_news_is_told_once_and_says_when_it_was_heard() -> None:
    flood, page = hearing()
    assert page.news() == []
    said = Account(round=7, phases={0: "up", 2: "down"}, missing=(0,), losses={"generator": None})
    tell(flood, 1, 1, said, made=4.5)
    (fact,) = page.news()
    assert (fact["kind"], fact["peer"], fact["round"], fact["heard"]) == ("round", 1, 7, 4.5)
    assert fact["missing"] == [0, 2]
    assert fact["losses"] == {"generator": None}
    assert page.news() == []
    tell(flood, 1, 2, said, made=9.5)  # a long round: the same, told anew
    assert [fact["heard"] for fact in page.news()] == [9.5]


def test_scores_and_states_are_told_where_they_are_new() -> None:
    flood, page = hearing()
    scored = {"measure": "rfd", "score": 4.25, "covered": 8, "scored": 2}
    tell(flood, 2, 1, Account(round=3, **scored))
    kinds = [(fact["kind"], fact["round"], fact.get("value")) for fact in page.news()]
    assert kinds == [("round", 3, None), ("score", 2, 4.25)]
    tell(flood, 2, 2, Account(round=4, state="finished", **scored))
    assert [(f["kind"], f.get("text")) for f in page.news()][1:] == [("state", "finished")]
    tell(flood, 2, 3, Account(round=4, **scored))  # it is back
    assert [(f["kind"], f.get("text")) for f in page.news()][1:] == [("state", "")]


def test_a_picture_is_told_as_it_came() -> None:
    flood, page = hearing()
    tell(flood, 1, 1, Picture(30, b"\x89PNG"))
    (fact,) = page.news()
    assert (fact["kind"], fact["round"], base64.b64decode(fact["png"])) == (
        "picture", 30, b"\x89PNG",
    )  # fmt: skip


def test_disagreement_is_of_sketches_of_one_round() -> None:
    flood, page = hearing()
    one = np.zeros(256, np.float32)
    tell(flood, 0, 1, Account(round=9, sketched=8, sketches={"generator": one}))
    tell(flood, 1, 1, Account(round=9, sketched=4, sketches={"generator": one + 1}))
    assert not [fact for fact in page.news() if fact["kind"] == "disagreement"]
    tell(flood, 2, 1, Account(round=10, sketched=8, sketches={"generator": one + 2}))
    (fact,) = [fact for fact in page.news() if fact["kind"] == "disagreement"]
    assert (fact["round"], fact["values"]) == (8, {"generator": 256.0})


def test_who_has_joined_and_who_holds_what_is_there_for_who_opens_the_page() -> None:
    flood, _ = hearing()
    file = Network(10, 1, [(0, 1), (1, 2)], {0: (0, 1), 1: (0, 0), 2: (0, -1)}, {0: [4]})
    tell(flood, 0, 1, Account(holds=(9,)))  # the file says it otherwise
    tell(flood, 1, 1, Account(holds=(0, 1)))
    tell(flood, 2, 1, Account())
    tell(flood, 2, 1, Picture(3, b""))
    seen = as_told(file, flood, ("cat", "dog"), 3)
    assert seen.holds == {0: [4], 1: (0, 1)}
    assert (seen.class_names, seen.draws, seen.places) == (("cat", "dog"), {2}, file.places)
    flood.roster.members = Membership.of([Change(5, 7, "join", 2, (2,))])
    assert as_told(file, flood, (), 3).links == file.links
    seen = as_told(file, flood, (), 5)
    assert set(seen.places) == {0, 1, 2, 7}
    assert (2, 7) in seen.links
