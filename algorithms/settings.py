"""What the settings of algorithms have in common, and what they say of nets, links and peers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from peer.settings import Settings
from peer.training import Order

Link = tuple[int, int]


def share_of(count: int, fraction: float) -> int:
    """How many of ``count`` a ``fraction`` of them is: max(1, floor(fraction * count)).

    Products just below a whole number, such as 0.29 * 100, count as that number.
    """
    return max(1, int(fraction * count + 1e-9))


class AlgorithmSettings(Settings):
    """Settings of an algorithm.

    A class of settings may also say what the algorithm needs, by any of: ``server`` (the peer that
    holds no data), ``nets(peer)`` (the names of the nets that a peer holds), ``links(peers)`` (the
    links that the graph must have), ``products(peers)`` (the peers whose generators are judged) and
    ``plain_sgd`` (its formula says what a step is, so that no other optimizer may).
    """

    rounds: int = Field(ge=0, description="Rounds.")


class StarSettings(AlgorithmSettings):
    """Settings of an algorithm with a server in the middle of a star."""

    server: int = Field(0, ge=0, description="The peer that plays the server; it holds no data.")

    def workers(self, peers: int) -> list[int]:
        """All peers but the server, in order."""
        return [k for k in range(peers) if k != self.server]

    def links(self, peers: int) -> Iterable[Link]:
        """Those between the server and every worker."""
        return [(self.server, k) for k in self.workers(peers)]

    def products(self, peers: int) -> list[int]:
        """The server's generator is judged."""
        return [self.server]


class FederatedSettings(StarSettings):
    """Settings of systems whose workers train whole GANs between two exchanges with a server.

    The defaults are those of the Oasis paper; its FedProx has ``mu: 0.5``.
    """

    fraction: float = Field(1.0, gt=0, le=1, description="C: share of workers in a round.")
    local_steps: int = Field(5, ge=1, description="Local GAN iterations of a chosen worker.")
    n_d: int = Field(1, ge=1, description="Discriminator steps an iteration.")
    order: Order = Field("D_first", description="Which net steps first; or simultaneous.")
    mu: float = Field(0.0, ge=0, description="FedProx: the pull to the received model.")
    optimizer_state: Literal["keep", "reset"] = Field(
        "keep", description="What happens to a worker's moments when a model arrives."
    )
    sync_buffers: bool = Field(True, description="Average batch-norm statistics, too.")
