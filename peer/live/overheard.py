"""What a peer has heard of all others over its links, as facts of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from peer.live.facts import Fact, Network, finite, picture_fact, round_fact
from peer.live.follow import Estimates
from peer.live.layout import lay_out
from peer.net.status.account import RUNNING, Account
from peer.net.status.flood import Entry, Flood, Key
from peer.net.wire import TOPICS
from peer.telling.overview import AWAY


def as_told(network: Network, flood: Flood, class_names: Sequence[str], round: int) -> Network:
    """The network with what its peers have told of it by now: who has joined, and who holds what.

    Args:
        network: as the experiment's file has it; what it says of data is not changed.
        flood: what is known of all.
        class_names: that all have agreed on.
        round: in which it is looked at.
    """
    told: dict[int, Sequence[int]] = {}
    for (peer, _), entry in flood.known.items():
        if isinstance(entry.said, Account) and entry.said.holds is not None:
            told[peer] = entry.said.holds
    members, base = flood.roster.members, flood.roster.base
    found = replace(
        network,
        holds={**told, **network.holds},
        class_names=network.class_names or class_names,
        draws=network.draws | {peer for peer, topic in flood.known if topic == TOPICS[1]},
    )
    graph = members.graph(base, round)
    graph = graph.subgraph(flood.roster.ids & set(graph))  # it has every id up to the highest
    if members.changes and set(graph) > set(network.places):
        links = sorted((min(a, b), max(a, b)) for a, b in graph.edges)
        found = replace(found, links=links, places=lay_out(graph))
    return found


class Overhearing:
    """Looks at what is known, and tells what is new since the last look.

    Args:
        flood: of the peer whose page it is.
    """

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._told: dict[Key, int] = {}  # the number of the newest
        self._scores: dict[int, tuple[Any, ...]] = {}
        self._states: dict[int, str] = {}
        self._estimates = Estimates()

    def news(self) -> list[Fact]:
        """Facts that were not there before."""
        found: list[Fact] = []
        for key, entry in sorted(self._flood.known.items(), key=lambda pair: pair[0]):
            if self._told.get(key) == entry.number:
                continue
            self._told[key] = entry.number
            peer, _ = key
            if isinstance(entry.said, Account):
                found += self._account(peer, entry, entry.said)
            else:
                found.append(picture_fact(peer, entry.said.round, entry.said.png))
        found += self._estimates.news()
        return found

    def _account(self, peer: int, entry: Entry, said: Account) -> Iterator[Fact]:
        away = {k for k, phase in said.phases.items() if phase in AWAY}
        yield round_fact(
            peer,
            said.round,
            at=said.seconds,
            losses={net: float("nan") if x is None else x for net, x in said.losses.items()},
            bytes_in=said.bytes_in,
            bytes_out=said.bytes_out,
            missing=sorted(away.union(said.missing)),
        ) | {"heard": entry.made}
        score = said.measure, said.scored
        if said.measure and self._scores.get(peer) != score:
            self._scores[peer] = score
            value = None if said.score is None else finite({"value": said.score})["value"]
            yield {
                "kind": "score",
                "peer": peer,
                "round": said.scored,
                "measure": said.measure.upper(),
                "value": value,
                "covered": said.covered,
            }
        if self._states.get(peer, RUNNING) != said.state:
            self._states[peer] = said.state
            text = "" if said.state == RUNNING else said.state
            yield {"kind": "state", "peer": peer, "round": 0, "text": text}
        if said.sketches:
            sketches = {net: np.asarray(x, np.float64) for net, x in said.sketches.items()}
            self._estimates.add(peer, said.sketched, sketches)
