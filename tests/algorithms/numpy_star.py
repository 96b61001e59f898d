"""A GAN small enough to differentiate by hand, and stars of peers that train it: for the oracles.

Everything here is float64 NumPy. The code under test gives initial weights, the images of every
peer and, by (seed, peer, purpose), its random streams; what is drawn from them is stated again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import algorithms
from peer.effects import Report
from peer.experiment import Experiment, from_mapping
from peer.gan.arena import Arena
from peer.state import PeerState
from peer.streams import stream
from sim.runs.simulate import drive, make_states
from sim.simulated_peer.simulated_peer import SimulatedPeer

Array = NDArray[np.float64]
Weights = dict[str, Array]  # net -> (P,)
NETS = ("generator", "discriminator")

TOLERANCE = 1e-5
"""Largest difference allowed, relative to the net's largest parameter.

float32 rounds to 6e-8, a few dozen times on the way here; a wrong formula is off by more than 1e-3
(every oracle's tests show it).
"""

PIXELS, Z, HIDDEN = 64, 5, 7
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "generator": [(PIXELS, Z), (PIXELS,)],  # W, b:  x = tanh(W z + b)
    "discriminator": [(HIDDEN, PIXELS), (HIDDEN,), (1, HIDDEN), (1,)],  # U, c, v, e: as below
}


def tiny(shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """The same GAN as torch modules; phi = v . tanh(U x + c) + e."""
    generator = nn.Sequential(nn.Linear(Z, PIXELS), nn.Tanh(), nn.Unflatten(1, shape))
    discriminator = nn.Sequential(
        nn.Flatten(), nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)
    )
    return generator, discriminator


def parts_of(net: str, w: Array) -> list[Array]:
    """The net's weights and biases, cut from its parameters in order."""
    sizes = [int(np.prod(shape)) for shape in SHAPES[net]]
    parts = np.split(w, np.cumsum(sizes))
    assert parts.pop().size == 0
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES[net], strict=True)]


def flat(parts: Iterable[Any]) -> Array:
    return np.concatenate([np.ravel(part) for part in parts])


def sigmoid(s: Array) -> Array:
    return 1 / (1 + np.exp(-s))


def generate(g: Array, z: Array) -> Array:
    """z (B, Z) to x (B, PIXELS)."""
    weight, bias = parts_of("generator", g)
    return np.tanh(z @ weight.T + bias)


def judge(d: Array, x: Array) -> tuple[Array, Array]:
    """x (B, PIXELS) to hidden units h (B, HIDDEN) and logits phi (B,)."""
    u, c, v, e = parts_of("discriminator", d)
    h = np.tanh(x @ u.T + c)
    return h, h @ v[0] + e[0]


def back(d: Array, x: Array, to_phi: Array) -> tuple[Array, Array]:
    """From dL/dphi (B,) to dL/dd (P,) and dL/dx (B, PIXELS)."""
    u, _, v, _ = parts_of("discriminator", d)
    h, _ = judge(d, x)
    to_inner = np.outer(to_phi, v[0]) * (1 - h**2)  # through tanh
    return flat([to_inner.T @ x, to_inner.sum(0), to_phi @ h, to_phi.sum()]), to_inner @ u


Values = Callable[[Array], Array]


@dataclass(frozen=True)
class Loss:
    """What a logit costs, and the derivative: of a real image, of a fake, and to the generator."""

    real: Values
    fake: Values
    generator: Values
    d_real: Values
    d_fake: Values
    d_generator: Values


def minus_log(s: Array) -> Array:
    """-log sigmoid(s)."""
    return np.logaddexp(0, -s)


LOSSES = {
    "bce_ns": Loss(
        minus_log,
        lambda s: minus_log(-s),
        minus_log,
        lambda s: sigmoid(s) - 1,
        sigmoid,
        lambda s: sigmoid(s) - 1,
    ),
    "lsgan": Loss(
        lambda s: 0.5 * (s - 1) ** 2,
        lambda s: 0.5 * s**2,
        lambda s: (s - 1) ** 2,
        lambda s: s - 1,
        lambda s: s,
        lambda s: 2 * (s - 1),
    ),
}


def generator_step(loss: Loss, d: Array, g: Array, z: Array) -> tuple[float, Array]:
    """L_G and its gradient in G's parameters."""
    fakes = generate(g, z)
    phi = judge(d, fakes)[1]
    to_fakes = back(d, fakes, loss.d_generator(phi) / phi.size)[1]
    to_inner = to_fakes * (1 - fakes**2)
    return float(loss.generator(phi).mean()), flat([to_inner.T @ z, to_inner.sum(0)])


def discriminator_step(loss: Loss, d: Array, real: Array, fakes: Array) -> tuple[float, Array]:
    """L_D, real and fake summed, and its gradient in D's parameters."""
    of_real, of_fakes = judge(d, real)[1], judge(d, fakes)[1]
    value = float(loss.real(of_real).mean() + loss.fake(of_fakes).mean())
    gradient = back(d, real, loss.d_real(of_real) / of_real.size)[0]
    return value, gradient + back(d, fakes, loss.d_fake(of_fakes) / of_fakes.size)[0]


def differences(value: Callable[[Array], float], at: Array, h: float = 1e-5) -> Array:
    """The gradient of ``value`` by central differences."""
    return np.array([(value(at + h * u) - value(at - h * u)) / (2 * h) for u in np.eye(at.size)])


@dataclass
class Device:
    """A peer with data: its images (n, PIXELS), what it draws, and its SGD's momentum.

    An epoch is a permutation from the stream "batches", taken a batch at a time; a remainder is
    skipped. With less than a batch of images, draws are with replacement. z is from "noise".
    """

    images: Array
    classes: NDArray[np.int64]
    batches: np.random.Generator
    noise: np.random.Generator
    epoch: list[int] = field(default_factory=list)
    velocity: Weights = field(default_factory=dict)

    def real(self, batch: int) -> Array:
        if len(self.images) < batch:
            return self.images[self.batches.integers(0, len(self.images), batch)]
        if len(self.epoch) < batch:
            self.epoch = self.batches.permutation(len(self.images)).tolist()
        chosen, self.epoch = self.epoch[:batch], self.epoch[batch:]
        return self.images[chosen]

    def z(self, batch: int) -> Array:
        return self.noise.standard_normal((batch, Z), dtype=np.float32).astype(np.float64)

    def descend(self, net: str, w: Array, gradient: Array, lr: float, momentum: float) -> Array:
        """Stochastic gradient descent; a net's velocity outlives the round."""
        before = self.velocity.get(net, np.zeros_like(w))
        self.velocity[net] = momentum * before + gradient
        return w - lr * self.velocity[net]


def devices_of(experiment: Experiment) -> dict[int, Device]:
    """Every peer that holds data, before it has drawn anything."""
    devices = {}
    for k, state in make_states(experiment).items():
        if state.shard is None:
            continue
        assert state.shard.labels is not None
        devices[k] = Device(
            state.shard.pixels.flatten(1).double().numpy(),
            state.shard.labels,
            stream(experiment.seed, k, "batches"),
            stream(experiment.seed, k, "noise"),
        )
    return devices


def start_of(experiment: Experiment) -> Weights:
    """The weights that all begin with: the server's."""
    return read(make_states(experiment)[0])


def mean(models: Mapping[int, Weights], omega: Mapping[int, float]) -> Weights:
    """sum over k of omega_k w_k, for both nets."""
    assert sum(omega.values()) == 1 or abs(sum(omega.values()) - 1) < 1e-12
    return {net: np.sum([omega[k] * models[k][net] for k in models], axis=0) for net in NETS}


# --- the code under test --------------------------------------------------------------------------


def star(labels: list[list[int]], algorithm: Mapping[str, Any], **keys: Any) -> Experiment:
    """Peer 0 serves; peer k holds digits of the classes ``labels[k - 1]``."""
    raw = {
        "peers": len(labels) + 1,
        "graph": "star",
        "algorithm": algorithm,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "gan": f"{__name__}:tiny",
        "data": {"source": "digits", "partition": {"name": "labels", "labels": labels}},
        "batch": 8,
        "seed": 5,
        "checkpoint": 0,
    }
    return from_mapping(raw | keys)


def vector(arena: Arena, values: torch.Tensor) -> Array:
    """An arena's parameters without the padding between them."""
    slots = arena.layout.slots
    return flat(values[s.offset : s.offset + s.size].double().numpy() for s in slots)


def read(state: PeerState) -> Weights:
    arenas = {net: state.nets[net].arena for net in NETS}
    return {net: vector(arena, arena.vector.detach()) for net, arena in arenas.items()}


class Measures:
    """What one peer reports of every round."""

    def __init__(self, peer: int) -> None:
        self.peer = peer
        self.rounds: list[Mapping[str, Any]] = []

    def reported(self, peer: SimulatedPeer, report: Report) -> None:
        if peer.id == self.peer:
            self.rounds.append(report.measures)


def run(experiment: Experiment) -> tuple[dict[int, PeerState], list[Mapping[str, Any]]]:
    """Every peer's last state, and what the server reported round by round."""
    states, measures = make_states(experiment), Measures(0)
    drive(experiment, states, algorithms.find(experiment), measures)
    return states, measures.rounds


def distance(found: Weights, expected: Weights) -> float:
    """The largest difference of any parameter, relative to its net's largest."""
    return max(
        float(np.abs(found[net] - expected[net]).max() / np.abs(expected[net]).max())
        for net in NETS
    )
