"""What the settings of algorithms have in common, and what they say of the peers they need."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

Link = tuple[int, int]


class Settings(BaseModel):
    """Settings of an algorithm: immutable, unknown keys refused.

    A class of settings may also say what the algorithm needs, by any of: ``server`` (the peer that
    holds no data), ``nets(peer)`` (the names of the nets that a peer holds), ``links(peers)`` (the
    links that the graph must have) and ``products(peers)`` (the peers whose generators it is for).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(ge=0, description="Rounds.")


class StarSettings(Settings):
    """Settings of an algorithm with a server in the middle of a star."""

    server: int = Field(0, ge=0, description="The peer that plays the server; it holds no data.")

    def workers(self, peers: int) -> list[int]:
        """All peers but the server, in order."""
        return [k for k in range(peers) if k != self.server]

    def links(self, peers: int) -> Iterable[Link]:
        """The server's, to every worker."""
        return [(self.server, k) for k in self.workers(peers)]

    def products(self, peers: int) -> list[int]:
        """What comes out is the server's."""
        return [self.server]
