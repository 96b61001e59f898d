"""What an engine is, and the one that computes one peer at a time.

The event driver decides when effects are carried out, an engine how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from peer.compute.combine import combine
from peer.compute.execute import carry_out
from peer.effects import Combine, Effect
from sim.simulated_peer.snapshots import Snapshot

if TYPE_CHECKING:
    from sim.simulated_peer.simulated_peer import SimulatedPeer


class Engine(Protocol):
    """Computes what effects ask for, at any time before the result is used."""

    def submit(self, peer: SimulatedPeer, effect: Effect) -> Callable[[], Any]:
        """Accept a local effect; calling what is returned gives its result."""

    def combine(
        self,
        peer: SimulatedPeer,
        effect: Combine,
        own: Snapshot,
        received: Mapping[int, Snapshot],
    ) -> None:
        """Accept a combine of ``peer``'s arena, which nobody reads before :meth:`flush`.

        Args:
            peer: whose combine it is.
            effect: which net, with which weights.
            own: the peer's own value.
            received: its neighbours' values.
        """

    def flush(self, peer: SimulatedPeer) -> None:
        """Apply the combines that were accepted: the peer's arenas are about to be read."""

    def finish(self) -> None:
        """End the run, whether it succeeded or not: wait for what computes, and drop what waits."""


class OneByOne:
    """Computes one peer at a time, with the functions of the ZeroMQ driver: the same bits."""

    def submit(self, peer: SimulatedPeer, effect: Effect) -> Callable[[], Any]:
        """Carry out the effect when its result is asked for."""

        def result() -> Any:
            peer.snapshots.before_write()
            return carry_out(effect, peer.state)

        return result

    def combine(
        self,
        peer: SimulatedPeer,
        effect: Combine,
        own: Snapshot,
        received: Mapping[int, Snapshot],
    ) -> None:
        """Combine at once."""
        peer.snapshots.before_write()
        w = peer.state.nets[effect.net].arena.vector
        values = {k: snapshot.tensor for k, snapshot in received.items()}
        combine(w, own.tensor, values, effect.weights)

    def flush(self, peer: SimulatedPeer) -> None:
        """Nothing to do: no combine is ever deferred."""

    def finish(self) -> None:
        """Nothing to do: nothing computes in the background."""
