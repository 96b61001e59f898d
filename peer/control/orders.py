"""What a running peer can be told to do."""

from __future__ import annotations

import json
import queue
from collections.abc import Mapping
from typing import Any

import networkx as nx

from peer.control.reload import Reloading
from peer.invite.reception import Reception
from peer.runtime.process import PeerProcess
from topology.errors import UserError
from topology.graph import SHOWN
from topology.membership import FAR, Change, Kind


class Orders:
    """Carries out orders for one peer; called by the door's thread.

    Args:
        process: the peer's.
        reloading: of its keys.
        reception: which gives out codes.
    """

    def __init__(self, process: PeerProcess, reloading: Reloading, reception: Reception) -> None:
        self.process = process
        self.reloading = reloading
        self.reception = reception
        self.admitting = reception.admitting
        self.me = process.state.peer

    def obey(self, order: Mapping[str, Any]) -> str:
        """Carry out an order; returns what came of it, in words.

        Raises:
            UserError: it cannot be done.
        """
        if order.get("order") == "status":
            return json.dumps(self.process.overview())
        if order.get("order") == "reload":
            return f"peer {self.me}: {self.reloading.reload()}"
        if self.process.experiment.durability == "exact":
            raise UserError(
                "durability: exact: what a peer has seen is told to it again after a crash, which "
                "takes the peers that the file lists; who takes part can change with 'interval'"
            )
        match order:
            case {"order": "leave"}:
                return self._leave()
            case {"order": "forget", "peer": int(peer)}:
                return self._forget(peer)
            case {
                "order": "admit",
                "peer": int(peer),
                "address": str() | None as address,
                "key": (str() | None as key),
            }:
                where = self.admitting.admit(peer, address, key).address
                return f"peer {self.me} lets peer {peer} in, at {where}"
            case {
                "order": "invite",
                "peer": int() | None as wanted,
                "links": list() | None as links,
                "seconds": int() | float() as seconds,
            }:
                return self.reception.invite(wanted, links, seconds)
            case {"order": "invited"}:
                return self.reception.listed()
            case {"order": "revoke", "peer": int(peer)}:
                return self.reception.revoke(peer)
        raise UserError(f"peer {self.me} knows no order {dict(order)}")

    def _leave(self) -> str:
        self._refuse_server(self.me)
        change = self._propose("leave", self.me)
        return (
            f"peer {self.me} trains up to round {change.round} and leaves; its neighbours go on "
            f"without it from then on{self._parts(change)}"
        )

    def _forget(self, peer: int) -> str:
        if peer == self.me:
            raise UserError(f"peer {peer} cannot forget itself; say: peer leave --id {peer}")
        self._refuse_server(peer)
        if peer not in self.process.io.endpoint.roster.ids:
            raise UserError(f"there is no peer {peer}; see 'peers' and who has joined")
        change = self._propose("forget", peer)
        alive = self.process.status.phases.get(peer) == "up"
        also = "; it is up, and ends when it hears of it" if alive else ""
        return (
            f"peer {peer} is forgotten from round {change.round + 1} on{also}{self._parts(change)}"
        )

    def _refuse_server(self, peer: int) -> None:
        program = self.process.program
        if peer == program.server:
            raise UserError(
                f"peer {peer} is the server of {program.name}, without which nobody learns; stop "
                "the peers instead"
            )

    def _propose(self, kind: Kind, peer: int) -> Change:
        """Let a change take effect, unless it has.

        Raises:
            UserError: it has, or will.
        """
        known = self.process.io.members.departure(peer, FAR)
        if known is not None:
            what = "leaves" if known.kind == "leave" else "is forgotten"
            raise UserError(f"peer {peer} {what} from round {known.round + 1} on already")
        try:
            return self.process.io.propose(kind, peer, self.process.state.round)
        except queue.Empty:
            raise UserError(f"peer {self.me} is about to end") from None

    def _parts(self, change: Change) -> str:
        """What is to be said where the peers that stay are not all connected any more."""
        roster = self.process.io.endpoint.roster
        members = roster.members.joined(self.process.io.members)
        graph = members.graph(roster.base, change.round)
        there = [k for k in graph if members.takes_part(k, change.round, len(roster.base))]
        parts = sorted(map(sorted, nx.connected_components(graph.subgraph(there))), key=len)
        if len(parts) < 2:
            return ""
        least = ", ".join(map(str, parts[0][:SHOWN])) + " and more" * (len(parts[0]) > SHOWN)
        return (
            f"; the graph then falls into {len(parts)} parts that learn nothing of each other, the "
            f"smallest being peer{'s' * (len(parts[0]) > 1)} {least}"
        )
