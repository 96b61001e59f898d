"""What an exchange of a simulated peer begins with, and what is done once it is settled."""

from __future__ import annotations

from dataclasses import replace

import torch

from peer.compute.combine import listening_weights
from peer.compute.compressed_combine import compress, decoded_values, decompress
from peer.effects import Combine, Exchange, Letter, Post
from peer.net.header.seal import WireError
from peer.net.transfer.letters import pack, unpack
from sim.engines.eager import Engine
from sim.simulated_peer.simulated_peer import PendingExchange, SimulatedPeer, Value
from sim.simulated_peer.snapshots import Snapshot


def outgoing(peer: SimulatedPeer, effect: Combine | Exchange) -> dict[int, Value]:
    """The value for each neighbour; equal values are one object, which is sent once a rank."""
    if isinstance(effect, Combine):
        if effect.listens:
            return {}
        if peer.state.codec is not None:
            return dict(compress(peer.state, effect.net, effect.weights))
        return dict.fromkeys(effect.weights, peer.snapshot(effect.net))
    packed: dict[int, memoryview] = {}
    for letter in effect.letters.values():
        if id(letter) not in packed:
            packed[id(letter)] = pack(letter)
    return {neighbour: packed[id(letter)] for neighbour, letter in effect.letters.items()}


def post(pending: PendingExchange, effect: Exchange, device: torch.device) -> Post:
    """The letters that arrived and can be read, in id order, as over ZeroMQ."""
    letters: dict[int, Letter] = {}
    missing = set(pending.missing)
    for sender, value in sorted(pending.received.items()):
        try:
            letter = unpack(value if isinstance(value, memoryview) else memoryview(b""))
        except WireError:
            letter = None
        if letter is None or letter.name != effect.name:
            missing.add(sender)
            continue
        # The reader may write to its tensors; the sender and other readers keep theirs.
        tensors = {name: tensor.clone().to(device) for name, tensor in letter.tensors.items()}
        letters[sender] = Letter(letter.name, tensors, letter.facts)
    return Post(letters, frozenset(missing))


def combine_received(
    engine: Engine, peer: SimulatedPeer, pending: PendingExchange, effect: Combine
) -> frozenset[int]:
    """Submit the combine; returns the neighbours who took no part in it."""
    if effect.listens:
        return _listen(engine, peer, pending, effect)
    if peer.state.codec is not None:
        return _combine_compressed(engine, peer, pending, effect)
    received = {k: v for k, v in pending.received.items() if isinstance(v, Snapshot)}
    if received:
        own = next(iter(pending.outgoing.values()))
        if effect.meanwhile is None or not isinstance(own, Snapshot):
            own = peer.snapshot(effect.net)  # unchanged since it was sent: the peer has waited
        engine.combine(peer, effect, own, received)
    return frozenset(pending.missing)


def _listen(
    engine: Engine, peer: SimulatedPeer, pending: PendingExchange, effect: Combine
) -> frozenset[int]:
    """Take the mean of the values that came; returns the neighbours who sent none."""
    received = {k: v for k, v in pending.received.items() if isinstance(v, Snapshot)}
    if peer.state.codec is not None:
        came = {k: v for k, v in pending.received.items() if isinstance(v, memoryview)}
        values = decoded_values(peer.state, effect.net, came)
        received = {k: Snapshot.of_value(q) for k, q in values.items()}
    if received:
        scaled = replace(effect, weights=listening_weights(received, effect.weights))
        engine.combine(peer, scaled, peer.snapshot(effect.net), received)
    return frozenset(effect.weights.keys() - received.keys())


def _combine_compressed(
    engine: Engine, peer: SimulatedPeer, pending: PendingExchange, effect: Combine
) -> frozenset[int]:
    sent = {k: v for k, v in pending.outgoing.items() if isinstance(v, memoryview)}
    came = {k: v for k, v in pending.received.items() if isinstance(v, memoryview)}
    mixture = decompress(peer.state, effect.net, effect.weights, sent, came)
    if mixture.received and mixture.own is not None:
        received = {k: Snapshot.of_value(q) for k, q in mixture.received.items()}
        scaled = replace(effect, weights=mixture.weights)
        engine.combine(peer, scaled, Snapshot.of_value(mixture.own), received)
    return frozenset(pending.missing) | mixture.unusable
