"""What a page knows of a run: the network, and facts that come in the order of rounds.

A fact is a mapping that JSON can carry. All have ``kind`` and ``round``:

===============  ===========================================================================
round            ``peer``, ``at`` (seconds), ``losses`` by net, ``bytes_in``, ``bytes_out``,
                 ``missing``: neighbours that it went on without since its last fact;
                 ``heard``, where it came over links: when, by the server's clock
score            ``peer``, ``measure``, ``value``, ``covered`` (classes; null where nobody
                 could tell)
disagreement     ``peer`` null, ``values`` by net, squared parameter units
picture          ``peer``, ``png`` (base64)
event            ``text``, in words
state            ``peer``, ``text``: what became of its process; empty while it runs
cut              ``links``: pairs of peers between which nothing gets through, by somebody's will
===============  ===========================================================================

A page that is written at the end and one that follows a run read the same facts.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peer.quality.scorer import Score

Fact = dict[str, Any]
Place = tuple[float, float]


@dataclass(frozen=True)
class Network:
    """What stays as it is while a run goes on.

    Attributes:
        rounds: that the program asks for.
        every: rounds between two facts of a peer.
        links: pairs of peers.
        places: of each peer, in [-1, 1] x [-1, 1].
        holds: by peer, the classes of its own data; absent where it holds none, or nobody knows.
        class_names: by number; empty where numbers are their names.
        nets: that are trained, generators first.
        clock: ``virtual``, or ``real``.
        disagreement: what its curve is called.
        bounds: by net, a value to hold its disagreement against, and its name.
        pictures: what is to be said of the pictures.
        draws: peers of which there are pictures.
        silent: seconds without news after which a peer counts as silent.
    """

    rounds: int
    every: int
    links: Sequence[tuple[int, int]]
    places: Mapping[int, Place]
    holds: Mapping[int, Sequence[int]]
    class_names: Sequence[str] = ()
    nets: Sequence[str] = ()
    clock: str = "real"
    disagreement: str = "Disagreement"
    bounds: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    pictures: str = ""
    draws: frozenset[int] = frozenset()
    silent: float = 10.0

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rounds": self.rounds,
            "every": self.every,
            "links": [list(pair) for pair in self.links],
            "peers": [
                {
                    "id": k,
                    "x": round(x, 4),
                    "y": round(y, 4),
                    "classes": list(self.holds.get(k, ())),
                    "holds": name_held(self.holds.get(k), self.class_names),
                    "draws": k in self.draws,
                }
                for k, (x, y) in sorted(self.places.items())
            ],
            "class_names": list(self.class_names),
            "nets": list(self.nets),
            "clock": self.clock,
            "disagreement": self.disagreement,
            "bounds": {
                net: {"value": value, "name": name}
                for net, (value, name) in self.bounds.items()
                if math.isfinite(value) and value > 0
            },
            "pictures": self.pictures,
            "silent": self.silent,
        }


def name_held(classes: Sequence[int] | None, names: Sequence[str] = ()) -> str:
    """What a peer's data are, in a few words: ``0, 1``, ``cat, dog``, ``12 classes``."""
    if classes is None:
        return "no labels"
    if not classes:
        return "no data"
    if len(classes) > 4:
        return f"{len(classes)} classes"
    return ", ".join(names[x] if x < len(names) else str(x) for x in sorted(classes))


def round_fact(
    peer: int,
    round: int,
    *,
    at: float,
    losses: Mapping[str, float],
    bytes_in: int,
    bytes_out: int,
    missing: Sequence[int],
) -> Fact:
    """What a peer recorded of a round; ``at`` in seconds, losses by net, bytes since its start."""
    return {
        "kind": "round",
        "peer": peer,
        "round": round,
        "at": float(f"{at:.6g}"),
        "losses": finite(losses),
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "missing": list(missing),
    }


def score_fact(peer: int, round: int, score: Score) -> Fact:
    """A score as a fact."""
    value = finite({"value": score.network})["value"] if score.network is not None else None
    return {
        "kind": "score",
        "peer": peer,
        "round": round,
        "measure": score.measure.upper(),
        "value": value,
        "covered": score.covered,
    }


def picture_fact(peer: int, round: int, png: bytes) -> Fact:
    """What a peer drew after a round, as the bytes of a PNG file."""
    return {
        "kind": "picture",
        "peer": peer,
        "round": round,
        "png": base64.b64encode(png).decode(),
    }


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers for JSON, which knows none that is not finite; six digits are enough to draw."""
    return {
        name: float(f"{value:.6g}") if math.isfinite(value) else None
        for name, value in values.items()
    }


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    """By round; of one round in the order in which they are given."""
    return sorted(facts, key=lambda fact: int(fact["round"]))
