"""The one way in which peers combine: antisymmetric transfers, summed in id order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

BLOCK = 65536
"""Floats that are combined at a time: what they need stays in a core's own cache (1 MiB)."""


def combine(
    w: torch.Tensor,
    own: torch.Tensor | None,
    received: Mapping[int, torch.Tensor],
    weights: Mapping[int, float],
) -> None:
    """``w_k += sum over l of a_lk (q_l - q_k)``, in place (diffusion GAN, equation 10b).

    With doubly stochastic weights that are symmetric, what one end of a link gains the other
    loses, whichever links are there: the network's mean cannot drift, and a neighbour that stays
    away leaves its weight on oneself. Every driver calls this function: a second formula would
    round a second way.

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
    """:func:`combine` over a part that the caches hold; ``kept`` is memory for w as it stands."""
    if len(w) < len(scratch):
        scratch, kept = scratch[: len(w)], None if kept is None else kept[: len(w)]
    if own is None:
        own = w if kept is None else kept.copy_(w)
    for value, share in zip(values, shares, strict=True):
        torch.sub(value, own, out=scratch)
        w.add_(scratch, alpha=share)


class Gradual:
    """:func:`combine` for values of which the last one comes piece by piece: the same bits.

    Args:
        w: the arena to move, (P,).
        own: what this peer sent, (P,): ``w`` as it stands, and what it is again where a value, or
            the beginning of one, is not to be used after all.
        weights: a_lk by neighbour.
    """

    def __init__(self, w: torch.Tensor, own: torch.Tensor, weights: Mapping[int, float]) -> None:
        self.w = w
        self.own = own
        self.weights = weights
        self.done = 0  # floats that are combined

    def add(
        self, neighbour: int, start: int, piece: torch.Tensor, others: Mapping[int, torch.Tensor]
    ) -> None:
        """Combine the floats from ``start``, where the last piece ended, or at 0, where all began.

        ``others`` are the whole values (P,) of all other neighbours.
        """
        if start < self.done:
            self.undo()
        place = slice(start, start + len(piece))
        received = {k: value[place] for k, value in others.items()}
        self.done = place.stop  # even if it fails halfway
        combine(self.w[place], None, received | {neighbour: piece}, self.weights)

    def undo(self) -> None:
        """``w`` as it stood."""
        self.w[: self.done].copy_(self.own[: self.done])
        self.done = 0


def weighted_mean(
    models: Mapping[int, Mapping[str, torch.Tensor]], weights: Mapping[int, float]
) -> dict[str, torch.Tensor]:
    """``sum over k of omega_k w_k`` for every net, summed in id order (FedAvg; Oasis, equation 2).

    Args:
        models: by sender, arenas by name, each (P,).
        weights: by sender, not negative; normalised over the senders that ``models`` holds, so that
            those who stayed away are left out. Where all are zero, the mean is uniform.
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
