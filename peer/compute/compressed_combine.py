"""Compressed combining: what a peer sends of a net, what it combines, what it remembers.

Every driver calls :func:`compress` when a Combine begins and :func:`decompress` when it ends. Both
ends of a link combine with q as the *other* end decodes it, so that one gains what the other loses:
the network's mean does not move, whatever a codec leaves out.

An encoded value is ``[the codec's bytes of the parameters][the buffers as float32]``: batch-norm's
variances are few, and rounded ones could become negative. Under CHOCO three numbers precede it:
kind, version of the sender's x_hat, version of the receiver's x_hat that the sender holds. From the
two headers of an exchange both ends conclude alike whether each can use the other's value.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from peer.codecs import Bytes, Choco, Codec, CodecError, Compression, TopK, is_finite
from peer.gan import Layout
from peer.state import PeerState

_HEADER = struct.Struct("<QQQ")
_DIFFERENCE, _FULL = 0, 1
_STREAM = "compression"


@dataclass(frozen=True)
class Mixture:
    """The decoded values of a combine, and the neighbours whose values cannot be used.

    Attributes:
        own: q_k, (P,); None where no neighbour can use what this peer sent.
        received: q_l by neighbour, (P,) each.
        weights: a_lk by neighbour, times the codec's step.
        unusable: the neighbours whose value arrived and cannot be used.
    """

    own: torch.Tensor | None
    received: dict[int, torch.Tensor]
    weights: dict[int, float]
    unusable: frozenset[int]


@dataclass(frozen=True)
class Coding:
    """How values of each net are encoded, for a receiver to check them."""

    name: str
    codec: Compression
    layouts: Mapping[str, Layout]

    @property
    def is_whole(self) -> bool:
        """Whether one value says all of a net."""
        return self.codec.is_whole

    def fits(self, net: str, nbytes: int) -> bool:
        """Whether a value of ``net`` may be of that size."""
        layout = self.layouts.get(net)
        return layout is not None and nbytes in _sizes(self.codec, layout)

    def fault(self, net: str, value: memoryview) -> str:
        """What is wrong with a whole value; "" if nothing is."""
        encoded, layout = np.frombuffer(value, np.uint8), self.layouts[net]
        try:
            if isinstance(self.codec, Choco):
                _open(encoded, self.codec, layout)
            else:
                _decode(encoded, self.codec, layout)
        except CodecError as problem:
            return str(problem)
        return ""


def compress(state: PeerState, net: str, neighbours: Iterable[int]) -> dict[int, memoryview]:
    """The encoded value of ``net`` for each neighbour; several may share the same memory."""
    neighbours, codec = sorted(neighbours), state.codec
    assert codec is not None
    if not neighbours:
        return {}
    arena = state.nets[net].arena
    w, layout = arena.vector.detach().cpu(), arena.layout
    if isinstance(codec, Choco):
        return _pack_differences(state, net, neighbours, codec)
    if not (isinstance(codec, TopK) and codec.feedback):
        return dict.fromkeys(neighbours, _encode(w, codec, layout, state).data)
    name = f"compression/{net}/residual"
    residual = state.tensors.get(name)
    trained = layout.trained
    v = w.clone()
    if residual is not None:
        v[:trained] += residual.cpu()
    encoded = _encode(v, codec, layout, state)
    with suppress(CodecError):  # this peer has diverged: no neighbour will use the value
        kept = v[:trained] - _decode(encoded, codec, layout)[:trained]
        state.tensors[name] = kept.to(state.device)
    return dict.fromkeys(neighbours, encoded.data)


def decompress(
    state: PeerState,
    net: str,
    weights: Mapping[int, float],
    sent: Mapping[int, memoryview],
    received: Mapping[int, memoryview],
) -> Mixture:
    """The decoded values of a combine.

    Args:
        state: the peer's.
        net: which of its nets.
        weights: a_lk by neighbour.
        sent: what :func:`compress` returned.
        received: the encoded values of the neighbours that answered.
    """
    codec, layout = state.codec, state.nets[net].arena.layout
    assert codec is not None
    if isinstance(codec, Choco):
        return _unpack_differences(state, net, weights, sent, received, codec)
    own = _decoded(next(iter(sent.values()), memoryview(b"")), codec, layout, state)
    values = {} if own is None else decoded_values(state, net, received)
    step = codec.step if isinstance(codec, TopK) else 1.0
    scaled = {k: step * weights[k] for k in values}
    return Mixture(own, values, scaled, frozenset(received.keys() - values.keys()))


def change_by(
    state: PeerState,
    net: str,
    weights: Mapping[int, float],
    sent: Mapping[int, memoryview],
    neighbour: int,
    value: memoryview,
) -> torch.Tensor | None:
    """The change (P,) of ``net`` that one neighbour's encoded value would make; None: no use of it.

    The state stays as it is. With CHOCO, whose memory would have moved, the neighbour and this peer
    find at their next exchange that they are out of step, and send all of x_hat once.
    """
    facts, tensors = copy.deepcopy(state.facts), dict(state.tensors)
    try:
        mixture = decompress(state, net, weights, sent, {neighbour: value})
    finally:
        state.facts, state.tensors = facts, tensors
    if mixture.own is None or neighbour not in mixture.received:
        return None
    return mixture.weights[neighbour] * (mixture.received[neighbour] - mixture.own)


def decoded_values(
    state: PeerState, net: str, received: Mapping[int, memoryview]
) -> dict[int, torch.Tensor]:
    """The values (P,) of ``net`` that can be decoded, by sender; of codecs without a memory."""
    codec, layout = state.codec, state.nets[net].arena.layout
    assert codec is not None
    assert not isinstance(codec, Choco)
    found = {k: _decoded(received[k], codec, layout, state) for k in sorted(received)}
    return {k: value for k, value in found.items() if value is not None}


def _decoded(
    value: memoryview, codec: Codec, layout: Layout, state: PeerState
) -> torch.Tensor | None:
    try:
        return _decode(np.frombuffer(value, np.uint8), codec, layout).to(state.device)
    except CodecError:
        return None


# --- CHOCO ----------------------------------------------------------------------------------------


def _pack_differences(
    state: PeerState, net: str, neighbours: list[int], codec: Choco
) -> dict[int, memoryview]:
    """Q(x_k - x_hat_k) for neighbours that hold our x_hat_k, all of x_hat_k for the others."""
    arena, facts = state.nets[net].arena, _facts(state, net)
    w, layout = arena.vector.detach().cpu(), arena.layout
    own = f"compression/{net}/own"
    in_step = [k for k in neighbours if k in facts["in_step"]]
    x_hat, difference = w.clone(), np.empty(0, np.uint8)
    if in_step:
        x_hat = state.tensors[own].cpu()
        moved = w.clone()
        moved[: layout.trained] -= x_hat[: layout.trained]
        difference = _encode(moved, codec.inner, layout, state)
        with suppress(CodecError):  # this peer has diverged: no neighbour will use the value
            q = _decode(difference, codec.inner, layout)
            x_hat = _advance(q, x_hat, layout)
    state.tensors[own] = x_hat.to(state.device)
    facts["version"] += 1
    full = x_hat.numpy().view(np.uint8)
    values = {}
    for k in neighbours:
        kind, body = (_DIFFERENCE, difference) if k in in_step else (_FULL, full)
        header = _HEADER.pack(kind, facts["version"], facts["held"].get(k, 0))
        values[k] = np.concatenate([np.frombuffer(header, np.uint8), body]).data
    return values


def _unpack_differences(
    state: PeerState,
    net: str,
    weights: Mapping[int, float],
    sent: Mapping[int, memoryview],
    received: Mapping[int, memoryview],
    codec: Choco,
) -> Mixture:
    """Advance the neighbours' x_hat_l by what arrived, and note which neighbours hold ours."""
    layout, facts = state.nets[net].arena.layout, _facts(state, net)
    values, unusable, in_step = {}, set(), []
    for k in sorted(received):
        name = f"compression/{net}/{k}"
        ours = _HEADER.unpack(sent[k][: _HEADER.size])
        try:
            *theirs, value = _open(np.frombuffer(received[k], np.uint8), codec, layout)
        except CodecError:
            unusable.add(k)
            continue
        we_can, they_can = _can_use(theirs, ours), _can_use(ours, theirs)
        if we_can:
            if theirs[0] == _DIFFERENCE:
                _advance(value, state.tensors[name].cpu(), layout)
                we_can = is_finite(value)  # finite differences may add up to more than a float
            state.tensors[name] = value.to(state.device)
        facts["held"][k] = theirs[1] if we_can else 0
        if they_can:
            in_step.append(k)  # otherwise it is sent all of x_hat_k the next time
        if we_can and they_can:
            values[k] = state.tensors[name]
        else:
            unusable.add(k)
    facts["in_step"] = in_step
    own = state.tensors[f"compression/{net}/own"]
    scaled = {k: codec.step * weights[k] for k in values}
    return Mixture(own, values, scaled, frozenset(unusable))


def _can_use(sender: Iterable[int], receiver: Iterable[int]) -> bool:
    """Whether the receiver can use the sender's value, by their two headers.

    A full x_hat can always be used, a difference only on top of the version before it.
    """
    kind, version, _ = sender
    *_, held = receiver
    return kind == _FULL or (held > 0 and version == held + 1)


def _advance(q: torch.Tensor, x_hat: torch.Tensor, layout: Layout) -> torch.Tensor:
    """``q + x_hat``, written into q; buffers keep their values in q."""
    q[: layout.trained] += x_hat[: layout.trained]
    return q


def _open(encoded: Bytes, codec: Choco, layout: Layout) -> tuple[int, int, int, torch.Tensor]:
    """An encoded value's header, and the difference or x_hat behind it, validated.

    Raises:
        CodecError: it is not an encoded value.
    """
    if len(encoded) < _HEADER.size:
        raise CodecError("no header")
    kind, version, held = _HEADER.unpack(encoded[: _HEADER.size].tobytes())
    body = encoded[_HEADER.size :]
    if kind not in (_DIFFERENCE, _FULL) or not version:
        raise CodecError("a header of no known kind")
    if kind == _DIFFERENCE:
        return kind, version, held, _decode(body, codec.inner, layout)
    if len(body) != 4 * layout.length:
        raise CodecError(f"{len(body)} bytes")
    return kind, version, held, _floats(body)


def _facts(state: PeerState, net: str) -> dict[str, Any]:
    """What CHOCO remembers of a net, checkpointed with the state.

    ``version``: of x_hat_k; ``in_step``: the neighbours that hold that version; ``held``: by
    neighbour l, the version of x_hat_l that this peer holds.
    """
    new = {"version": 0, "in_step": [], "held": {}}
    facts: dict[str, Any] = state.facts.setdefault("compression", {}).setdefault(net, new)
    return facts


# --- arenas ---------------------------------------------------------------------------------------


def _sizes(codec: Compression, layout: Layout) -> set[int]:
    tail = 4 * (layout.length - layout.trained)
    if isinstance(codec, Choco):
        difference = codec.inner.size(layout.trained) + tail
        return {_HEADER.size + difference, _HEADER.size + 4 * layout.length}
    return {codec.size(layout.trained) + tail}


def _encode(w: torch.Tensor, codec: Codec, layout: Layout, state: PeerState) -> Bytes:
    body = codec.encode(w[: layout.trained], state.streams[_STREAM])
    return np.concatenate([body, w[layout.trained :].numpy().view(np.uint8)])


def _decode(encoded: Bytes, codec: Codec, layout: Layout) -> torch.Tensor:
    """The arena in ``encoded``, (layout.length,) on the CPU.

    Raises:
        CodecError: it is not an encoded arena.
    """
    size = codec.size(layout.trained)
    if len(encoded) != size + 4 * (layout.length - layout.trained):
        raise CodecError(f"{len(encoded)} bytes")
    x = codec.decode(encoded[:size], layout.trained)
    return torch.cat([x, _floats(encoded[size:])]) if size < len(encoded) else x


def _floats(encoded: Bytes) -> torch.Tensor:
    x = torch.from_numpy(encoded.copy().view("<f4"))
    if not is_finite(x):
        raise CodecError("NaN or Inf")
    return x
