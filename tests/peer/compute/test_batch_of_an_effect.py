"""How many images a step draws belongs to the effect: the bits of a peer with such a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from peer.compute.execute import carry_out, images_of
from peer.effects import VJP, Effect, Evaluate, Generate, Gradient, Step, Train
from peer.experiment import from_mapping
from peer.gan.net_name import PAIR
from peer.peer import Peer
from peer.state import PeerState
from peer.training import Training, train
from sim.runs.simulate import make_states

KEYS: dict[str, Any] = {
    "peers": 3,
    "algorithm": {"name": "local", "rounds": 1},
    "gan": "mlp-digits",
    "optimizer": {"name": "adam", "lr": 0.001},
    "data": {"source": "digits", "partition": "pairs"},
}


def peer_with(batch: int, **keys: Any) -> PeerState:
    return make_states(from_mapping(KEYS | keys | {"batch": batch}))[1]


def carried_out(coroutine: Any, state: PeerState) -> None:
    answer = None
    while True:
        try:
            answer = carry_out(coroutine.send(answer), state)
        except StopIteration:
            return


def assert_same(one: PeerState, other: PeerState) -> None:
    ours, theirs = one.dump(), other.dump()
    assert ours.facts == theirs.facts  # the streams stand at the same place
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)


@pytest.mark.parametrize("order", ["D_first", "G_first", "simultaneous"])
def test_local_training_on_other_batches(order: Any) -> None:
    large, small = peer_with(64), peer_with(8)
    schedule = from_mapping(KEYS).schedule
    carried_out(train(Peer(large, schedule), 3, Training(order, n_d=2, batch=8)), large)
    carried_out(train(Peer(small, schedule), 3, Training(order, n_d=2)), small)
    assert large.batch == 64
    assert_same(large, small)


@pytest.mark.parametrize("net", PAIR)
def test_a_gradient_on_another_batch(net: str) -> None:
    large, small = peer_with(64), peer_with(8)
    assert carry_out(Gradient(net, net, batch=8), large) == carry_out(Gradient(net, net), small)
    assert_same(large, small)


def test_a_judge_of_pixels_draws_as_many_cuts() -> None:
    keys: dict[str, Any] = {
        "gan": {"name": "unetgan", "width": 2, "z": 4},
        "data": {"source": "synthetic", "images": 20, "size": 32, "partition": "own"},
    }
    large, small = peer_with(8, **keys), peer_with(4, **keys)
    effect = Train("discriminator", "discriminator", batch=4)
    assert carry_out(effect, large) == carry_out(effect, small)
    assert_same(large, small)


def test_how_many_images_an_effect_sees() -> None:
    state = peer_with(64)
    z, x = torch.zeros(5, 32), torch.zeros(6, 1, 8, 8)
    counts: list[tuple[Effect, int]] = [
        (Train("generator", "generator"), 64),
        (Train("generator", "generator", batch=8), 8),
        (Gradient("discriminator", "discriminator", {"gamma": 0.1}, batch=8), 8),
        (Gradient("discriminator", "discriminator", {"fake": x}, batch=8), 6),
        (Generate("generator", z), 5),
        (Evaluate("discriminator", x), 6),
        (VJP("generator", z, x), 5),
        (Step("generator"), 64),
    ]
    for effect, count in counts:
        assert images_of(effect, state) == count
