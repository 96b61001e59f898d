"""Everything of a peer that outlives a round.

A coroutine cannot be saved, so nothing that matters lives in its locals: it is here. A peer rebuilt
from its state between two rounds goes on with the same bits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgpack
import numpy as np
import torch
from torch import nn

from peer.codecs import Compression
from peer.data.sources import Images
from peer.experiment.schema import NETS, Experiment, NamedSpec
from peer.gan import Arena, Gan, Loss, make_optimizer
from peer.gan.objectives import Batch
from peer.gan.unet_losses import UNIFORMS
from peer.state.device import usable_device
from peer.streams import Streams

Module = Callable[[torch.Tensor], torch.Tensor]


class Net:
    """One named net: its arena, and how it is optimised.

    Attributes:
        moments: what the optimizer remembers of this net, by torch's names. Whoever steps the net
            (its own optimizer, or one over many peers' nets) lets torch keep its state here.
    """

    def __init__(self, arena: Arena, optimizer: NamedSpec) -> None:
        self.arena = arena
        self.spec = optimizer
        self.moments: dict[str, Any] = {}

    @property
    def module(self) -> nn.Module:
        """The torch module whose parameters lie in the arena."""
        return self.arena.module

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of this net alone."""
        parameters = self.arena.parameters
        optimizer = make_optimizer(self.spec.name, self.spec.settings, [parameters])
        optimizer.state[parameters] = self.moments
        return optimizer

    def copy(self) -> Net:
        """The same net in an arena of its own."""
        arena = self.arena.copy(torch.empty_like(self.arena.vector))
        arena.gradient.copy_(self.arena.gradient)
        net = Net(arena, self.spec)
        # of tensors, the values alone: they may be rows of a matrix of many nets' moments
        net.moments = {
            name: value.clone() if isinstance(value, torch.Tensor) else value
            for name, value in self.moments.items()
        }
        return net

    def step(self) -> None:
        """One optimizer step along the arena's gradient."""
        self.arena.parameters.grad = self.arena.gradient
        self.optimizer.step()

    def dump(self) -> dict[str, torch.Tensor]:
        """Copies of the arena, the optimizer's moments, and integer buffers, by name."""
        tensors = {"arena": self.arena.vector.detach().cpu().clone()}
        for name, value in self.moments.items():
            tensors[f"optimizer.{name}"] = torch.as_tensor(value).detach().cpu().clone()
        for name, counter in self.arena.counters.items():
            tensors[f"buffer.{name}"] = counter.detach().cpu().clone()
        return tensors

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take the values that :meth:`dump` gave."""
        self.arena.vector.copy_(tensors["arena"])
        device = self.arena.vector.device
        self.moments.clear()
        for name, value in tensors.items():
            kind, _, of = name.partition(".")
            if kind == "optimizer":
                # torch keeps Adam's step count where its fused kernel wants it: at the parameters.
                self.moments[of] = value.clone().to(device)
            elif kind == "buffer":
                self.arena.counters[of].copy_(value)


class Shard:
    """A peer's own images, and the order in which it sees them.

    A shard of at least a batch is shuffled anew every epoch, batches are consecutive pieces of it,
    and what is left at an epoch's end is skipped; from a smaller one, draws are with replacement.
    """

    def __init__(self, pixels: torch.Tensor, labels: np.ndarray | None) -> None:
        self.pixels = pixels  # (n, c, h, w) in [-1, 1], on the peer's device
        self.labels = labels  # (n,) or None
        self.order = np.empty(0, dtype=np.int64)
        self.position = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def draw(
        self, batch: int, rng: np.random.Generator, into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The next mini-batch, (batch, c, h, w); written ``into`` that memory, if it is given."""
        n = len(self)
        if n < batch:
            chosen = rng.integers(0, n, batch)
        else:
            if self.position + batch > len(self.order):
                self.order = rng.permutation(n)
                self.position = 0
            chosen = self.order[self.position : self.position + batch]
            self.position += batch
        numbers = torch.from_numpy(chosen).to(self.pixels.device)
        return torch.index_select(self.pixels, 0, numbers, out=into)


@dataclass
class Snapshot:
    """A peer's state as plain tensors and msgpack bytes: ready for a disk or another process."""

    tensors: dict[str, torch.Tensor]
    facts: bytes


@dataclass
class PeerState:
    """The state of one peer.

    Attributes:
        peer: its id.
        round: rounds completed.
        nets: its nets by name.
        shard: its own images; None for a peer that holds no data.
        streams: its random streams.
        peers: how many there are in the experiment.
        classes: how many classes the source has; 0 where it has no labels.
        codec: how a combine's values are sent; None: as they are.
        facts: an algorithm's own facts, in types that msgpack knows.
        tensors: an algorithm's own tensors, such as the models of a server's groups.
        class_names: of the classes, for what a person reads; empty where there are none.
    """

    peer: int
    nets: dict[str, Net]
    shard: Shard | None
    streams: Streams
    gan: Gan
    loss: Loss
    batch: int
    device: torch.device
    peers: int = 1
    classes: int = 0
    codec: Compression | None = None
    round: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    _shards: dict[str, Shard] = field(default_factory=dict)

    def copy(self) -> PeerState:
        """A peer that stands where this one stands; what happens to it leaves this one alone."""
        streams = Streams(self.streams.seed, self.peer)
        streams.load(self.streams.dump())
        return replace(
            self,
            nets={name: net.copy() for name, net in self.nets.items()},
            shard=copy.copy(self.shard),
            streams=streams,
            facts=copy.deepcopy(self.facts),
            tensors={name: tensor.clone() for name, tensor in self.tensors.items()},
            _shards={prefix: copy.copy(shard) for prefix, shard in self._shards.items()},
        )

    def pair(self, prefix: str) -> tuple[Module | None, Module | None]:
        """The generator and the discriminator that train each other.

        A peer may hold several pairs, told apart by what stands before the nets' names.
        """
        of_role = [self.nets.get(prefix + role) for role in NETS]
        generator, discriminator = (None if n is None else n.module for n in of_role)
        return generator, discriminator

    def draw_batch(
        self,
        sees_data: bool,
        inputs: Mapping[str, Any] | None = None,
        prefix: str = "",
        into: Batch = Batch(),  # noqa: B008
    ) -> Batch:
        """One mini-batch from this peer's own streams; real images first, then CutMix, then z.

        What ``inputs`` give is not drawn; noise is not, either, where the fakes are given. Each
        pair of nets, by its ``prefix``, has streams of its own: one does not move another's draws.
        What is drawn is written ``into`` that memory, where it holds any.
        """
        given = dict(inputs or {})
        if sees_data and "real" not in given:
            given["real"] = self.draw_real(prefix, into.real)
        if sees_data and self.gan.judges_pixels:
            shape = (self.batch, UNIFORMS)
            cuts = self.streams[prefix + "cuts"].random(shape, dtype=np.float32)
            given["cuts"] = torch.from_numpy(cuts).to(self.device)
        if "z" not in given and "fake" not in given:
            given["z"] = self.draw_noise(self.batch, prefix, into.z)
        return Batch(**given)

    def draw_real(self, prefix: str = "", into: torch.Tensor | None = None) -> torch.Tensor:
        """The next mini-batch of this peer's own images, (batch, c, h, w)."""
        shard = self.shard
        assert shard is not None, f"peer {self.peer} holds no data"
        if prefix:
            shard = self._shards.setdefault(prefix, Shard(shard.pixels, shard.labels))
        return shard.draw(self.batch, self.streams[prefix + "batches"], into)

    def draw_noise(
        self, count: int, prefix: str = "", into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """z ~ N(0, I), (count, z_dim), from this peer's noise stream.

        On the peer's device; or, written ``into`` the host's memory, there.
        """
        draws = self.streams[prefix + "noise"]
        if into is not None:
            draws.standard_normal(dtype=np.float32, out=into.numpy())
            return into
        z = draws.standard_normal((count, self.gan.z_dim), dtype=np.float32)
        return torch.from_numpy(z).to(self.device)

    def dump(self) -> Snapshot:
        """Take the peer apart."""
        tensors = {
            f"{name}/{key}": value
            for name, net in self.nets.items()
            for key, value in net.dump().items()
        }
        for name, tensor in self.tensors.items():
            tensors[f"own/{name}"] = tensor.detach().cpu().clone()
        facts: dict[str, Any] = {
            "peer": self.peer,
            "round": self.round,
            "streams": self.streams.dump(),
            "facts": self.facts,
        }
        if self.shard is not None:
            shards = {"": self.shard, **self._shards}
            for prefix, shard in shards.items():
                tensors[f"{prefix}shard/order"] = torch.from_numpy(shard.order.copy())
            facts["positions"] = {prefix: shard.position for prefix, shard in shards.items()}
        return Snapshot(tensors, msgpack.packb(facts))

    def load(self, snapshot: Snapshot) -> None:
        """Put the peer together again, on a state freshly made from the same experiment.

        Raises:
            ValueError: the snapshot is another peer's, or of another shape.
        """
        facts = msgpack.unpackb(snapshot.facts, strict_map_key=False)
        if facts["peer"] != self.peer:
            raise ValueError(f"peer {self.peer} cannot take the state of peer {facts['peer']}")
        self.round = facts["round"]
        self.streams.load(facts["streams"])
        self.facts = facts["facts"]
        self.tensors = {
            name.removeprefix("own/"): tensor.clone().to(self.device)
            for name, tensor in snapshot.tensors.items()
            if name.startswith("own/")
        }
        if self.shard is not None:
            self._shards = {
                prefix: Shard(self.shard.pixels, self.shard.labels)
                for prefix in facts["positions"]
                if prefix
            }
            for prefix, shard in {"": self.shard, **self._shards}.items():
                shard.order = snapshot.tensors[f"{prefix}shard/order"].numpy().copy()
                shard.position = facts["positions"][prefix]
        for name, net in self.nets.items():
            own = {
                key.removeprefix(f"{name}/"): value
                for key, value in snapshot.tensors.items()
                if key.startswith(f"{name}/")
            }
            net.load(own)


def make_state(
    experiment: Experiment,
    peer: int,
    images: Images,
    indices: np.ndarray | None,
    rows: Mapping[str, torch.Tensor] | None = None,
    names: Sequence[str] = NETS,
    gan: Gan | None = None,
) -> PeerState:
    """A peer at round 0.

    Args:
        experiment: what all peers agree on.
        peer: its id.
        images: the source that its shard comes from (it also gives the images' shape).
        indices: which of them are its own; None for a peer without data.
        rows: where its nets' arenas lie, by name (rows of the network's matrices); new if absent.
        names: the nets that it holds; what a name ends in says which of the pair it is.
        gan: the experiment's, where it is built already and the same for several peers.

    Raises:
        UserError: its device cannot be used here, or its nets cannot be built.
    """
    device = usable_device(experiment.device)
    gan = gan or experiment.build_gan(images.shape, owner=peer)
    nets: dict[str, Net] = {}
    for name in names:
        initial = gan.arenas[name.endswith("discriminator")]
        new = torch.zeros(initial.layout.length, device=device) if rows is None else rows[name]
        nets[name] = Net(initial.copy(new), experiment.optimizer_for(name))
    shard = None
    if indices is not None:
        labels = None if images.labels is None else images.labels[indices]
        shard = Shard(images.take(indices).to(device), labels)
    return PeerState(
        peer,
        nets,
        shard,
        Streams(experiment.seed, peer),
        gan,
        experiment.loss_functions(),
        experiment.batch,
        device,
        experiment.peers,
        0 if images.labels is None else images.classes,
        experiment.codec,
        class_names=images.class_names,
    )
