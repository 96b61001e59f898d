"""Batches of messages as bytes and rows, as one rank sends them to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import torch

from peer.effects import Moment
from sim.environment.network import Transmission
from sim.events.batch import Batch, ProgressUpdate, Withdrawal
from sim.sharding.collectives import RankMessage
from sim.simulated_peer.simulated_peer import Value
from sim.simulated_peer.snapshots import Snapshot


def pack_batch(batch: Batch) -> RankMessage:
    """A batch as one message; a value that goes to several peers is in it once."""
    values = {id(sent.value): sent.value for sent in batch.transmissions if sent.value is not None}
    rows = {key: value.tensor for key, value in values.items() if isinstance(value, Snapshot)}
    letters = {key: bytes(value) for key, value in values.items() if isinstance(value, memoryview)}
    places = {key: place for place, key in enumerate([*rows, *letters])}
    content = msgpack.packb(
        {
            "transmissions": [
                [*sent[:-1], places.get(id(sent.value))] for sent in batch.transmissions
            ],
            "withdrawals": batch.withdrawals,
            "updates": [[*update[:-1], _moments(update.settled)] for update in batch.updates],
            "letters": list(letters.values()),
            "rows": [len(row) for row in rows.values()],
        }
    )
    return RankMessage(content, torch.cat(list(rows.values()))) if rows else RankMessage(content)


def unpack_batch(message: RankMessage) -> Batch:
    """The batch that another rank has packed."""
    content: dict[str, Any] = msgpack.unpackb(message.content, max_bin_len=2**32 - 1)
    rows = torch.split(message.rows, content["rows"])
    values: list[Value] = [Snapshot.of_value(w) for w in rows]
    values += [memoryview(bytearray(letter)) for letter in content["letters"]]
    batch = Batch()
    for *fields, place in content["transmissions"]:
        sent = Transmission._make([*fields, None if place is None else values[place]])
        batch.transmissions.append(sent._replace(t=Moment(*sent.t)))
    for sender, receiver, t, at in content["withdrawals"]:
        batch.withdrawals.append(Withdrawal(sender, receiver, Moment(*t), at))
    for peer, at, round, finished, listens_in, settled in content["updates"]:
        moments = {neighbour: Moment(*t) for neighbour, *t in settled}
        batch.updates.append(ProgressUpdate(peer, at, round, finished, listens_in, moments))
    return batch


def _moments(settled: Mapping[int, Moment]) -> list[list[int]]:
    return [[neighbour, *t] for neighbour, t in settled.items()]
