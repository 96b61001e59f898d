"""What one peer knows of all, as a mapping that JSON can carry: what ``peer status`` is told.

==================  ========================================================================
key                 what
==================  ========================================================================
``asked``           the peer that says so
``rounds``          that the program asks for
``every``           seconds between two accounts of a peer
``peers``           one mapping each: its id as ``peer``; ``heard``, seconds since it told what
                    stands there (null: it has told nothing); ``condition``, in a word; and
                    what it told (:class:`peer.net.status.account.Account`)
``refused``         STATUS that were dropped, being no such thing, or of nobody
==================  ========================================================================
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from peer.net.session import Phase
from peer.net.status.account import RUNNING, Account
from peer.net.status.flood import Flood
from topology.membership import FAR

SILENT = 3.0
"""Intervals without news after which a peer counts as silent."""

AWAY = {phase.value for phase in (Phase.SUSPECT, Phase.DOWN, Phase.REFUSED, Phase.QUARANTINED)}
"""Phases of a link by which nothing comes."""

TOLD = [each.name for each in fields(Account) if each.name not in ("state", "sketches", "sketched")]


def overview(flood: Flood, rounds: int, now: float) -> dict[str, Any]:
    """What the peer whose ``flood`` that is knows of all, ``now``."""
    known, roster = flood.known, flood.roster
    ids = sorted({*roster.ids, flood.me})  # we may be about to join
    found = []
    for k in ids:
        entry = known.get((k, "account"))
        said = entry.said if entry is not None and isinstance(entry.said, Account) else None
        heard = None if entry is None else max(0.0, now - entry.made)
        condition = _condition(said, 0.0 if k == flood.me else heard, flood.every)
        gone = roster.members.departure(k, FAR)
        if gone is not None and condition in ("unheard", "silent"):
            condition = "left" if gone.kind == "leave" else "forgotten"
        told = {} if said is None else {name: getattr(said, name) for name in TOLD}
        if said is not None:
            told["missing"] = list(said.missing)
            told["phases"] = {str(n): phase for n, phase in said.phases.items()}
        found.append({"peer": k, "heard": heard, "condition": condition, **told})
    return {
        "asked": flood.me,
        "rounds": rounds,
        "every": flood.every,
        "peers": found,
        "refused": flood.refused,
    }


def _condition(said: Account | None, heard: float | None, every: float) -> str:
    if said is None or heard is None:
        return "unheard"
    if said.state != RUNNING:
        return said.state
    return "silent" if heard > SILENT * every else RUNNING
