"""What computes in a simulation: the event driver decides when, an engine how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from peer.compute.combine import combine
from peer.compute.execute import carry_out
from peer.effects import Combine, Effect
from sim.simulated_peer.snapshots import Snapshot

if TYPE_CHECKING:
    from sim.simulated_peer.simulated_peer import Process


class Engine(Protocol):
    """Computes what effects ask for. A result may be computed at any time before it is used."""

    def submit(self, process: Process, effect: Effect) -> Callable[[], Any]:
        """Take on a local effect; what is returned gives its result."""

    def combine(
        self,
        process: Process,
        effect: Combine,
        own: Snapshot,
        received: Mapping[int, Snapshot],
    ) -> None:
        """Take on moving ``process``'s arena; nobody looks at it before :meth:`settle`."""

    def settle(self, process: Process) -> None:
        """Carry out what is taken on: the peer's arenas are about to be read."""

    def finish(self) -> None:
        """The run is over, well or not: nothing computes any more, and what waits is forgotten."""


class OneByOne:
    """The engine that computes as the ZeroMQ driver does: the same functions, the same bits."""

    def submit(self, process: Process, effect: Effect) -> Callable[[], Any]:
        """The effect is carried out when its result is asked for."""

        def result() -> Any:
            process.snapshots.keep()
            return carry_out(effect, process.peer.state)

        return result

    def combine(
        self,
        process: Process,
        effect: Combine,
        own: Snapshot,
        received: Mapping[int, Snapshot],
    ) -> None:
        """At once."""
        process.snapshots.keep()
        w = process.peer.state.nets[effect.net].arena.vector
        values = {k: snapshot.tensor for k, snapshot in received.items()}
        combine(w, own.tensor, values, effect.weights)

    def settle(self, process: Process) -> None:
        """Nothing is ever put off."""

    def finish(self) -> None:
        """Nothing ever computes on its own."""
