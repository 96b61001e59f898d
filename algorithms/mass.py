"""Gossip weighted by mass, of which none is lost and none doubled, whatever becomes of letters.

Source: GoSGD (Blot, Picard, Cord, Thome 2016, arXiv:1611.09726). Each peer k has a mass alpha_k for
each net. The sender halves it and sends one half along; the receiver r sets
``w_r = (alpha_r w_r + alpha_k w_k) / (alpha_r + alpha_k)`` and adds the mass to its own. So
``sum over k of alpha_k w_k`` stays, as long as nobody trains.

A letter that did not arrive comes back at once. One of which its sender cannot know, because the
network failed while it was on its way, is kept apart until the receiver tells; then it is over, or
it comes back, as if the sender had sent it to itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from peer.effects import TOLD, Letter
from peer.peer import PAIR, Peer

_KEPT = "mass on its way"

_Part = tuple[Mapping[str, float], Mapping[str, torch.Tensor]]
"""Masses and nets, (P,), by net."""


async def push_mass(peer: Peer, nets: tuple[str, ...], target: Mapping[int, int]) -> None:
    """Send half of the mass to this round's target; take what others send, in the order of ids."""
    alpha = peer.facts.setdefault("alpha", dict.fromkeys(PAIR, 1 / peer.peers))
    for mass, tensors in _take_back(peer):
        _merge(peer, alpha, tensors, mass)
    receiver, senders = target.get(peer.id), {k for k, r in target.items() if r == peer.id}
    letters = {}
    if receiver is not None:
        alpha.update({net: alpha[net] / 2 for net in nets})
        mass = {net: alpha[net] for net in nets}
        letters[receiver] = Letter("model", peer.model(nets), {"alpha": mass})
    came: dict[int, Letter] = {}
    back: list[_Part] = []
    for sent, awaited in _turns(peer.id, receiver, senders):
        out = letters if sent else {}
        came |= await peer.exchange("model", out, awaited, conserved=True)
        if peer.missed & out.keys():
            alpha.update({net: 2 * alpha[net] for net in nets})  # nobody got the other half
        back += _take_back(peer)  # told as the exchange began; now another letter may be kept
        for k in peer.unsure & out.keys():
            _keep(peer, k, out[k])
    for mass, tensors in back:  # only now, as letters hold the nets themselves
        _merge(peer, alpha, tensors, mass)
    for _, letter in sorted(came.items()):
        _merge(peer, alpha, letter.tensors, letter.facts["alpha"])


def _turns(k: int, receiver: int | None, senders: set[int]) -> list[tuple[bool, set[int]]]:
    """Whether to send, and whom to hear, in one exchange, or in two where letters would cross.

    On a link with a letter each way, that of the lower id goes first.
    """
    if receiver not in senders:
        return [(receiver is not None, senders)] if senders or receiver is not None else []
    if k < receiver:
        return [(True, senders - {receiver}), (False, {receiver})]
    return [(False, senders), (True, set())]


def _merge(
    peer: Peer,
    alpha: dict[str, float],
    tensors: Mapping[str, torch.Tensor],
    mass: Mapping[str, float],
) -> None:
    """Average each net in ``mass`` with what came, (P,), by mass."""
    for net, theirs in mass.items():
        alpha[net] += float(theirs)
        w = peer.model([net])[net]
        w.add_(tensors[net] - w, alpha=float(theirs) / alpha[net])


# --- what is on its way ---------------------------------------------------------------------------


def _keep(peer: Peer, receiver: int, letter: Letter) -> None:
    """Keep apart what the receiver may have taken."""
    peer.facts.setdefault(_KEPT, {})[receiver] = dict(letter.facts["alpha"])
    for net, w in letter.tensors.items():
        peer.tensors[f"{_KEPT}/{receiver}/{net}"] = w.clone()


def _take_back(peer: Peer) -> list[_Part]:
    """What receivers tell that they have not taken; what they have is kept no more."""
    back: list[_Part] = []
    for receiver, is_taken in sorted(peer.facts.pop(TOLD, {}).items()):
        mass = peer.facts[_KEPT].pop(receiver)
        tensors = {net: peer.tensors.pop(f"{_KEPT}/{receiver}/{net}") for net in mass}
        if not is_taken:
            back.append((mass, tensors))
    return back
