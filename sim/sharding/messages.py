"""What peers said, as one rank of a simulation hands it to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import torch

from peer.effects import Moment
from sim.environment.network import Sent
from sim.events.exchanges import News, Said, Withdrawn
from sim.sharding.collectives import Parcel
from sim.simulated_peer.simulated_peer import Value
from sim.simulated_peer.snapshots import Snapshot


def pack_said(said: Said) -> Parcel:
    """All of it; every value once, to however many it goes."""
    values = {id(sent.value): sent.value for sent in said.sent if sent.value is not None}
    rows = {key: value.tensor for key, value in values.items() if isinstance(value, Snapshot)}
    letters = {key: bytes(value) for key, value in values.items() if isinstance(value, memoryview)}
    places = {key: place for place, key in enumerate([*rows, *letters])}
    content = msgpack.packb(
        {
            "sent": [[*_fields(sent), places.get(id(sent.value))] for sent in said.sent],
            "withdrawn": [[taken.sender, taken.receiver, taken.t] for taken in said.withdrawn],
            "news": [
                [news.peer, news.at, news.round, news.finished, _moments(news.passed)]
                for news in said.news
            ],
            "letters": list(letters.values()),
            "rows": [len(row) for row in rows.values()],
        }
    )
    return Parcel(content, torch.cat(list(rows.values()))) if rows else Parcel(content)


def unpack_said(parcel: Parcel) -> Said:
    """What another rank has packed."""
    content: dict[str, Any] = msgpack.unpackb(parcel.content, max_bin_len=2**32 - 1)
    values: list[Value] = [Snapshot.of_value(w) for w in torch.split(parcel.rows, content["rows"])]
    values += [memoryview(bytearray(letter)) for letter in content["letters"]]
    said = Said()
    for sender, receiver, t, at, soonest, delay, nbytes, crossing, place in content["sent"]:
        value = None if place is None else values[place]
        way = (sender, receiver, Moment(*t))
        said.sent.append(Sent(*way, at, soonest, delay, nbytes, crossing, value))
    for sender, receiver, t in content["withdrawn"]:
        said.withdrawn.append(Withdrawn(sender, receiver, Moment(*t)))
    for peer, at, round, finished, passed in content["news"]:
        moments = {neighbour: Moment(*t) for neighbour, *t in passed}
        said.news.append(News(peer, at, round, finished, moments))
    return said


def _fields(sent: Sent) -> list[Any]:
    """All but the value."""
    moving = [sent.at, sent.soonest, sent.delay, sent.nbytes, sent.crossing]
    return [sent.sender, sent.receiver, sent.t, *moving]


def _moments(passed: Mapping[int, Moment]) -> list[list[int]]:
    return [[neighbour, *t] for neighbour, t in passed.items()]
