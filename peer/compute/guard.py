"""What is done about steps that are not finite: they are skipped, and then it is tried from before.

One loss or gradient that overflows would leave NaN in a net for good: its neighbours refuse it
(:mod:`peer.net.transfer.incoming`), and it never learns again. So a step whose loss or squared
gradient norm is not finite is not taken: parameters, moments and buffers stay as they were. After
:data:`LIMIT` such steps in a row of one net, the peer's nets go back to its newest good checkpoint,
or to their first values where there is none: once. The round, the streams and what is agreed with
neighbours go on, as they cannot be taken back. At the next :data:`LIMIT` in a row the peer stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from peer.gan.net_name import NetName
from peer.state import Net, PeerState, SavedState
from topology.errors import UserError

LIMIT = 10
"""So many steps in a row of one net that are not finite are no accident."""

Kept = list[tuple[torch.Tensor, torch.Tensor]]
"""Memory, and a copy of what was in it."""


def keep_buffers(nets: Iterable[Net]) -> Kept:
    """Copies of what a forward pass may change of ``nets``: none of a net without buffers."""
    changing: list[torch.Tensor] = []
    for net in nets:
        layout = net.arena.layout
        if layout.length > layout.trained:
            changing.append(net.arena.vector[layout.trained :])
        changing += net.arena.counters.values()
    return [(memory, memory.clone()) for memory in changing]


def restore(kept: Kept) -> None:
    """Put back what :func:`keep_buffers` kept."""
    for memory, value in kept:
        memory.copy_(value)


def may_step(state: PeerState, name: str, is_finite: bool) -> bool:
    """Whether the net called ``name`` may take a step; counts those that it may not.

    Args:
        state: the peer's; its nets go back where this is the last straw.
        name: of the net.
        is_finite: whether the step's loss and squared gradient norm are.

    Raises:
        UserError: going back did not help.
    """
    facts: dict[str, Any] = state.facts.get("guard", {})
    if is_finite:
        if facts:
            facts["in_a_row"].pop(name, None)
        return True
    facts = state.facts.setdefault("guard", {"in_a_row": {}, "went_back": ""})
    facts["in_a_row"][name] = facts["in_a_row"].get(name, 0) + 1
    state.skipped[name] += 1
    if facts["in_a_row"][name] < LIMIT:
        return False
    if facts["went_back"]:
        raise UserError(
            f"peer {state.peer}: {LIMIT} steps in a row of its {name} in round {state.round + 1} "
            f"have a loss or gradient that is not finite, after it went back to "
            f"{facts['went_back']} once; lower the optimizer's lr, or look at its data"
        )
    facts["went_back"] = state.went_back = _go_back(state)
    facts["in_a_row"] = {}
    return False


def _go_back(state: PeerState) -> str:
    """Put the nets back; returns to what, in words."""
    for saved in state.recall():
        of_nets = _nets_in(saved, state)
        if of_nets:
            for name, net in state.nets.items():
                net.load(of_nets[name])
            return f"the checkpoint of round {saved.round}"
    for name, net in state.nets.items():
        net.begin_anew(state.gan.arenas[NetName.parse(name).role])
    return "its first values"


def _nets_in(saved: SavedState, state: PeerState) -> dict[str, dict[str, torch.Tensor]]:
    """What a checkpoint holds of every net, by net; nothing where it is not fit to go back to.

    It is not if it has NaN in it, or was written while steps were being skipped.
    """
    if saved.own_facts.get("guard", {}).get("in_a_row"):
        return {}
    found = {
        name: {
            key.removeprefix(f"{name}/"): value
            for key, value in saved.tensors.items()
            if key.startswith(f"{name}/")
        }
        for name in state.nets
    }
    try:
        for name, net in state.nets.items():
            net.check(found[name])
    except (KeyError, ValueError):
        return {}
    sound = all(value.isfinite().all() for of in found.values() for value in of.values())
    return found if sound else {}
