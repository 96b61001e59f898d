"""Cases in which two algorithms must coincide, bit for bit wherever they can.

Wherever a test says that two things are equal, it also shows that a third one is not.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

import algorithms
from peer.experiment import from_mapping
from peer.state import PeerState
from peer.state.recorder import arena_digest
from sim.runs.simulate import drive, make_states

PEERS, ROUNDS = 4, 6
NETS = ("discriminator", "generator")
ORDERS = ("adapt-then-combine", "combine-then-adapt", "consensus")
SGD = {"name": "sgd", "lr": 0.05}
ADAM = {"name": "adam", "lr": 0.002, "betas": [0.5, 0.999]}


def experiment_of(algorithm: dict, **keys: object):
    """Four peers on a ring, two digits each; ``keys`` replace what is here."""
    raw = {
        "peers": PEERS,
        "graph": "ring",
        "algorithm": {"name": "diffusion", "rounds": ROUNDS} | algorithm,
        "optimizer": SGD,
        "gan": "mlp-digits",
        "data": {"source": "digits", "partition": "pairs"},
        "batch": 16,
        "seed": 5,
    }
    return from_mapping(raw | keys)


def run(experiment, states: dict[int, PeerState] | None = None) -> dict[int, PeerState]:
    states = states or make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return states


def digests(states: dict[int, PeerState]) -> list[str]:
    return [arena_digest(state) for _, state in sorted(states.items())]


def arenas(states: dict[int, PeerState], net: str) -> np.ndarray:
    """Every peer's arena of that net, (K, length), in float64."""
    return np.stack([s.nets[net].arena.vector.double().numpy() for _, s in sorted(states.items())])


class Central:
    """One GAN in float64, trained by SGD on the mean of the gradients of several peers' batches."""

    def __init__(self, twins: dict[int, PeerState]) -> None:
        self.twins = twins
        self.modules = {n: copy.deepcopy(twins[0].nets[n].module).double() for n in NETS}

    def step(self, net: str, lr: float) -> None:
        """w - mu (1/K) sum over k of grad J_k(w), each peer drawing its own next batch."""
        names, start = zip(*self.modules[net].named_parameters(), strict=True)
        own = {n: p.detach().clone().requires_grad_() for n, p in zip(names, start, strict=True)}
        objectives = [self._objective(net, own, state) for state in self.twins.values()]
        gradients = torch.autograd.grad(sum(objectives) / len(objectives), list(own.values()))
        with torch.no_grad():
            for parameter, gradient in zip(start, gradients, strict=True):
                parameter -= lr * gradient

    def _objective(self, net: str, own: dict[str, torch.Tensor], state: PeerState) -> torch.Tensor:
        """bce_ns of one peer's batch."""
        batch = state.draw_batch(sees_data=net == "discriminator")
        z = batch.z.double()
        if net == "generator":
            fakes = functional_call(self.modules["generator"], own, (z,))
            logits = self.modules["discriminator"](fakes)
            return cross_entropy(logits, torch.ones_like(logits))
        of_fakes = functional_call(
            self.modules["discriminator"], own, (self.modules["generator"](z),)
        )
        of_real = functional_call(self.modules["discriminator"], own, (batch.real.double(),))
        return cross_entropy(of_real, torch.ones_like(of_real)) + cross_entropy(
            of_fakes, torch.zeros_like(of_fakes)
        )

    def train(self, rounds: int, n_d: int, n_g: int, lr: float = SGD["lr"]) -> Central:
        for _ in range(rounds):
            for net, repeats in (("discriminator", n_d), ("generator", n_g)):
                for _ in range(repeats):
                    self.step(net, lr)
        return self

    def off(self, state: PeerState) -> float:
        """The largest difference from the state's parameters, relative to the largest parameter."""
        worst = 0.0
        for net in NETS:
            expected = dict(self.modules[net].named_parameters())
            scale = max(float(p.detach().abs().max()) for p in expected.values())
            for name, parameter in state.nets[net].module.named_parameters():
                gap = (parameter.detach().double() - expected[name].detach()).abs().max()
                worst = max(worst, float(gap) / scale)
        return worst


@pytest.mark.parametrize(("n_d", "n_g"), [(1, 1), (5, 1), (2, 2)])
def test_complete_graph_is_centralised_sgd_on_the_mean_gradient(n_d: int, n_g: int) -> None:
    """A = 11^T/K makes all peers equal after every combine: sum of phi_k/K is one SGD step."""
    experiment = experiment_of({"n_d": n_d, "n_g": n_g}, graph="complete")
    states = run(experiment)
    central = Central(make_states(experiment)).train(ROUNDS, n_d, n_g)
    for state in states.values():
        assert central.off(state) < 1e-6  # 12 to 36 exchanges, as in test_oracle_diffusion.py
    for net in NETS:
        found = arenas(states, net)
        assert np.abs(found - found[0]).max() < 2e-7  # equal but for the last bit of the sums
    # One peer's own gradients, and a ring, lead elsewhere.
    one = Central({0: make_states(experiment)[0]}).train(ROUNDS, n_d, n_g)
    assert one.off(states[0]) > 1e-3
    ring = run(experiment_of({"n_d": n_d, "n_g": n_g}))
    assert central.off(ring[0]) > 1e-4


def alone_as_peer_0(experiment, state: PeerState) -> str:
    """The digest of peer 0 of one, given the images, streams and initial nets of ``state``."""
    states = make_states(experiment)
    (single,) = states.values()
    single.shard, single.streams = state.shard, state.streams
    for net in NETS:
        single.nets[net].arena.vector.copy_(state.nets[net].arena.vector)
    return digests(run(experiment, states))[0]


@pytest.mark.parametrize(
    ("counts", "optimizer"), [({}, SGD), ({"n_d": 3, "n_g": 2}, ADAM), ({"local_steps": 3}, SGD)]
)
def test_local_is_diffusion_without_neighbours(counts: dict, optimizer: dict) -> None:
    """A = I: each peer of a local run does what the only peer of a diffusion does, to the bit."""
    keys = {"optimizer": optimizer, "init": "own"}
    experiment = experiment_of({"name": "local", **counts}, **keys)
    locally = digests(run(experiment))
    assert len(set(locally)) == PEERS
    alone = experiment_of(counts, peers=1, **keys)
    twins = make_states(experiment)
    assert [alone_as_peer_0(alone, twins[k]) for k in range(PEERS)] == locally
    together = digests(run(experiment_of(counts, **keys)))
    assert not set(together) & set(locally)


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_an_only_peer_does_not_matter(order: str) -> None:
    keys = {"peers": 1, "graph": "complete"}
    locally = run(experiment_of({"name": "local"}, **keys))
    assert digests(run(experiment_of({"order": order}, **keys))) == digests(locally)


@pytest.mark.parametrize(
    ("counts", "order"), [*(({}, order) for order in ORDERS), ({"n_d": 2, "n_g": 3}, ORDERS[0])]
)
def test_diffusion_whose_links_are_all_lost_is_local(counts: dict, order: str) -> None:
    """A missing neighbour's weight stays on oneself, so that nothing is left but training."""
    keys = {"optimizer": ADAM, "init": "own"}
    lost = run(experiment_of({"order": order, **counts}, network={"loss": 1.0}, **keys))
    assert {state.round for state in lost.values()} == {ROUNDS}
    local = digests(run(experiment_of({"name": "local", **counts}, **keys)))
    assert digests(lost) == local
    heard = digests(run(experiment_of({"order": order, **counts}, network={"loss": 0.0}, **keys)))
    assert not set(heard) & set(local)


@pytest.mark.parametrize("order", ["adapt-then-combine", "combine-then-adapt"])
def test_lost_links_and_several_local_steps_are_local_too(order: str) -> None:
    counts = {"n_d": 2, "local_steps": 3}
    lost = run(experiment_of({"order": order, **counts}, network={"loss": 1.0}))
    assert digests(lost) == digests(run(experiment_of({"name": "local", **counts})))


def test_links_without_loss_are_links_without_a_network_key() -> None:
    assert digests(run(experiment_of({}, network={"loss": 0.0}))) == digests(run(experiment_of({})))


def test_only_the_lost_link_is_missed() -> None:
    """A path 0 - 1 - 2 - 3 without its last link is a path 0 - 1 - 2, and peer 3 on its own.

    Peer 2 keeps the weight 1/3 that it would have given the lost link, being of degree 2 still: so
    it is off the shorter path's weights, and peer 3 has nobody.
    """
    lossy = {"links": [{"between": [2, 3], "loss": 1.0}]}
    found = digests(run(experiment_of({}, graph="path", network=lossy)))
    local = digests(run(experiment_of({"name": "local"}, graph="path")))
    whole = digests(run(experiment_of({}, graph="path")))
    assert found[3] == local[3]
    assert found[0] not in (local[0], whole[0])
    assert found[2] not in (local[2], whole[2])


@pytest.mark.parametrize("counts", [{"n_d": 1, "n_g": 1}, {"n_d": 5, "n_g": 1}])
def test_centralised_is_one_peer_with_all_the_data(counts: dict[str, int]) -> None:
    """paper 002's baseline: one GAN, the union of the data, the same SGD and counts."""
    keys = {"peers": 1, "data": {"source": "digits", "partition": "all"}}
    experiment = experiment_of({"name": "local", **counts}, **keys)
    state = make_states(experiment)[0]
    assert len(state.shard) == 1797
    assert set(state.shard.labels) == set(range(10))
    states = run(experiment)
    central = Central({0: state}).train(ROUNDS, **counts)
    assert central.off(states[0]) < 1e-6
    assert digests(run(experiment_of(counts, **keys))) == digests(states)
    two_digits = keys | {"data": {"source": "digits", "partition": "pairs"}}
    assert central.off(run(experiment_of({"name": "local", **counts}, **two_digits))[0]) > 1e-3


def test_every_peer_of_partition_all_is_a_centralised_one() -> None:
    """K peers with all the data are K centralised runs, told apart by their streams alone."""
    everything = {"data": {"source": "digits", "partition": "all"}}
    several = digests(run(experiment_of({"name": "local"}, **everything)))
    only = digests(run(experiment_of({"name": "local"}, peers=1, **everything)))
    assert several[0] == only[0]
    assert len(set(several)) == PEERS


def test_without_steps_nothing_moves_and_with_them_all_does() -> None:
    """A step size of 0 and shared initial weights leave the bits as they were."""
    still = experiment_of({}, optimizer={"name": "sgd", "lr": 0.0})
    before = digests(make_states(still))
    assert len(set(before)) == 1
    assert digests(run(still)) == before
    assert not set(digests(run(experiment_of({})))) & set(before)
