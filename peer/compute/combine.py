"""The formula by which peers combine: antisymmetric transfers, summed in the order of ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

BLOCK = 65536
"""How many floats are combined at a time, so that they stay in a core's own cache (1 MiB)."""


def combine(
    w: torch.Tensor,
    own: torch.Tensor | None,
    received: Mapping[int, torch.Tensor],
    weights: Mapping[int, float],
) -> None:
    """``w_k += sum over l of a_lk (q_l - q_k)``, in place (diffusion GAN, equation 10b).

    With symmetric weights, what one end of a link gains the other loses, whichever links are
    there: the network's mean cannot drift, and a neighbour that stays away leaves its weight on
    oneself. Every driver calls this function, because another formula would round differently.

    Args:
        w: the arena to move, (P,).
        own: q_k, what this peer sent, (P,); None where that is ``w`` as it stands.
        received: q_l by neighbour, each (P,), as decoded from what was transmitted.
        weights: a_lk by neighbour.
    """
    if not received:
        return
    shares = [weights[k] for k in sorted(received)]
    values = [received[k] for k in sorted(received)]
    block = BLOCK if w.device.type == "cpu" else len(w)
    scratch = torch.empty_like(w[:block])
    kept = torch.empty_like(scratch) if own is None and len(values) > 1 else None
    if len(w) <= block:
        _move(w, own, values, shares, scratch, kept)
        return
    # Element by element the same operations in the same order as over the whole: the same bits.
    for start in range(0, len(w), block):
        part = slice(start, start + block)
        of_own = None if own is None else own[part]
        _move(w[part], of_own, [value[part] for value in values], shares, scratch, kept)


def _move(
    w: torch.Tensor,
    own: torch.Tensor | None,
    values: Sequence[torch.Tensor],
    shares: Sequence[float],
    scratch: torch.Tensor,
    kept: torch.Tensor | None,
) -> None:
    """:func:`combine` of one block; ``scratch`` and ``kept`` are memory of a block's size."""
    if len(w) < len(scratch):
        scratch, kept = scratch[: len(w)], None if kept is None else kept[: len(w)]
    if own is None:
        own = w if kept is None else kept.copy_(w)
    for value, share in zip(values, shares, strict=True):
        torch.sub(value, own, out=scratch)
        w.add_(scratch, alpha=share)


def transfer(value: torch.Tensor, own: torch.Tensor, weight: float) -> torch.Tensor:
    """``a_lk (q_l - q_k)`` by itself, (P,): what one neighbour's value adds, to be added later."""
    return weight * (value - own)


def listening_weights(received: Iterable[int], weights: Mapping[int, float]) -> dict[int, float]:
    """The weights of those who sent a value, scaled to a sum of 1: nothing of one's own stays.

    With them, :func:`combine` gives the weighted mean of the values that came.
    """
    shares = {k: weights[k] for k in sorted(received)}
    total = sum(shares.values())
    return {k: share / total for k, share in shares.items()}


class StreamingCombine:
    """:func:`combine` while the last neighbour's value still arrives in pieces: the same bits.

    Args:
        w: the arena to move, (P,).
        own: what this peer sent, (P,), equal to ``w``; :meth:`undo` restores ``w`` from it.
        weights: a_lk by neighbour.

    Attributes:
        done: how many floats, from the start of ``w``, are combined.
    """

    def __init__(self, w: torch.Tensor, own: torch.Tensor, weights: Mapping[int, float]) -> None:
        self.w = w
        self.own = own
        self.weights = weights
        self.done = 0

    def add(
        self, neighbour: int, start: int, piece: torch.Tensor, others: Mapping[int, torch.Tensor]
    ) -> None:
        """Combine the floats of one piece of the value that ``neighbour`` sends.

        Args:
            neighbour: whose value arrives in pieces.
            start: the place of the piece's first float: where the piece before it ended, or 0 if
                the value begins anew, which undoes what was combined of it.
            piece: floats of the value.
            others: the whole values (P,) of all other neighbours.
        """
        if start < self.done:
            self.undo()
        place = slice(start, start + len(piece))
        received = {k: value[place] for k, value in others.items()}
        self.done = place.stop  # even if it fails halfway
        combine(self.w[place], None, received | {neighbour: piece}, self.weights)

    def undo(self) -> None:
        """Restore ``w`` to what it was before the first piece."""
        self.w[: self.done].copy_(self.own[: self.done])
        self.done = 0


def weighted_mean(
    models: Mapping[int, Mapping[str, torch.Tensor]], weights: Mapping[int, float]
) -> dict[str, torch.Tensor]:
    """``sum over k of omega_k w_k`` for every net, in the order of ids (FedAvg; Oasis, equation 2).

    Args:
        models: by sender, arenas by name, each (P,).
        weights: by sender, not negative; normalised over the senders in ``models``, so that those
            that stayed away do not count. Where all are zero, the mean is a plain one.

    Returns:
        By name, the means, (P,) each, in memory of their own.
    """
    total = sum(weights[k] for k in models)
    mean: dict[str, torch.Tensor] = {}
    for k in sorted(models):
        share = weights[k] / total if total > 0 else 1 / len(models)
        for name, w in models[k].items():
            if name in mean:
                mean[name].add_(w, alpha=share)
            else:
                mean[name] = w * share
    return mean
