"""Everything of a peer that outlives a round.

A coroutine cannot be saved, so whatever must outlive a round is kept here and not in its local
variables. A peer rebuilt from its state between two rounds goes on with the same bits.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack
import numpy as np
import torch

from peer.codecs import Compression
from peer.data.classes import fit_classes
from peer.experiment.parts import ConditionalSpec, EmaSpec
from peer.gan import Gan, Loss
from peer.gan.augment import Uniforms, draw_uniforms
from peer.gan.conditional import one_hot
from peer.gan.net_name import pair_of
from peer.gan.objectives import Batch
from peer.gan.unet_losses import UNIFORMS
from peer.state.net import Net
from peer.state.saved import SavedState, kind_in_words, part_of, unpacked
from peer.state.shard import Shard
from peer.streams import Streams
from topology.errors import UserError

Module = Callable[[torch.Tensor], torch.Tensor]

Orders = dict[str, tuple[np.ndarray, int]]
"""By a shard's prefix, the order of its images, and how far into it draws are."""


@dataclass
class PeerState:
    """The state of one peer.

    Attributes:
        peer: its id.
        nets: its nets by name.
        shard: its own images; None for a peer that holds no data.
        streams: its random streams.
        gan: the modules, untrained, that its nets are made of.
        loss: the experiment's loss.
        batch: images in a mini-batch, where an effect names no other number.
        device: where its tensors are.
        peers: how many there are in the experiment.
        classes: how many classes all peers have together; 0 where the images have no labels.
        codec: how a combine's values are compressed; None where they are sent as float32.
        augment: the names of the transformations of whatever D judges.
        ema: of the moving average of G; None where there is none.
        conditional: which classes fakes are of; None where nets are told no classes.
        round: rounds completed.
        facts: an algorithm's own facts, in types that msgpack knows.
        tensors: an algorithm's own tensors, such as the models of a server's groups.
        class_names: of the classes, for what a person reads; empty where there are none.
        recall: reads the checkpoints that the driver has written, newest first.
        skipped: by net, steps of the round at hand that were not finite, and not taken
            (:mod:`peer.compute.guard`).
        went_back: in the round at hand, to what the nets went back because of that.
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
    augment: tuple[str, ...] = ()
    ema: EmaSpec | None = None
    conditional: ConditionalSpec | None = None
    round: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    recall: Callable[[], Iterable[SavedState]] = tuple
    skipped: Counter[str] = field(default_factory=Counter)
    went_back: str = ""
    _shards: dict[str, Shard] = field(default_factory=dict)  # of further pairs, by their prefix

    def copy(self) -> PeerState:
        """The same state in memory of its own."""
        streams = Streams(self.streams.seed, self.peer)
        streams.load(self.streams.dump())
        return replace(
            self,
            nets={name: net.copy() for name, net in self.nets.items()},
            shard=copy.copy(self.shard),
            streams=streams,
            facts=copy.deepcopy(self.facts),
            skipped=Counter(self.skipped),
            tensors={name: tensor.clone() for name, tensor in self.tensors.items()},
            _shards={prefix: copy.copy(shard) for prefix, shard in self._shards.items()},
        )

    def pair(self, prefix: str) -> tuple[Module | None, Module | None]:
        """The modules of the pair named with ``prefix``; None where the peer lacks the net."""
        of_role = [self.nets.get(name) for name in pair_of(prefix)]
        generator, discriminator = (None if n is None else n.module for n in of_role)
        return generator, discriminator

    def draw_batch(
        self,
        sees_data: bool,
        inputs: Mapping[str, Any] | None = None,
        prefix: str = "",
        batch: int | None = None,
        into: Batch = Batch(),  # noqa: B008
    ) -> Batch:
        """One mini-batch of this peer: real, cuts, eps, z, what augments real and fakes.

        Each pair of nets has streams of its own, so that training one does not move another's
        draws.

        Args:
            sees_data: whether real images are wanted.
            inputs: what is given and therefore not drawn, by field of :class:`Batch`; with
                ``fake``, z is not drawn either.
            prefix: of the pair's names.
            batch: how many images; the experiment's number if None.
            into: memory that the draws are written to, where it holds any.
        """
        count = batch or self.batch
        given = dict(inputs or {})
        if sees_data and "real" not in given:
            shard = self._shard(prefix)
            chosen = shard.choose(count, self.streams[prefix + "batches"])
            given["real"] = shard.take(chosen, into.real)
            if self.conditional:
                assert shard.labels is not None
                given["labels_real"] = self._one_hot(shard.labels[chosen])
        if sees_data and self.gan.judges_pixels and "cuts" not in given:
            cuts = self.streams[prefix + "cuts"].random((count, UNIFORMS), dtype=np.float32)
            given["cuts"] = torch.from_numpy(cuts).to(self.device)
        if sees_data:
            given |= self._draw_for_penalties(prefix, count, given.keys())
        if "z" not in given and "fake" not in given:
            given["z"] = self.draw_noise(count, prefix, into.z)
        if self.conditional:
            given["labels_fake"] = given["z"][:, self.gan.z_dim :]
            if "real" in given:  # images that are given without classes are of none
                given.setdefault("labels_real", torch.zeros_like(given["labels_fake"]))
        if self.augment:
            if "real" in given and "augment_real" not in given:
                given["augment_real"] = self.draw_uniforms(len(given["real"]), prefix)
            if "augment_fake" not in given:
                fakes = given["fake" if "fake" in given else "z"]
                given["augment_fake"] = self.draw_uniforms(len(fakes), prefix)
        return Batch(**given)

    def _draw_for_penalties(
        self, prefix: str, count: int, given: Collection[str]
    ) -> dict[str, Any]:
        """What the penalties of D's objective take, by field of :class:`Batch`; D's step counts.

        Nothing is drawn, or counted, for a field that is ``given``.
        """
        penalties = self.loss.penalties
        drawn: dict[str, Any] = {}
        if penalties.gradient_penalty and "eps" not in given:
            eps = self.streams[prefix + "eps"].random(count, dtype=np.float32)  # (batch,)
            drawn["eps"] = torch.from_numpy(eps).to(self.device)
        if penalties.r1 and "r1" not in given:
            step = self.r1_step(prefix)
            self.facts.setdefault("r1_steps", {})[prefix] = (step + 1) % penalties.r1_every
            weight = penalties.r1_weight(step)
            if weight is not None:
                drawn["r1"] = weight
        return drawn

    def r1_step(self, prefix: str) -> int:
        """D's steps since the lazy penalty R1 was due, that one included; 0 where it is due."""
        steps: dict[str, int] = self.facts.get("r1_steps", {})
        return steps.get(prefix, 0)

    def draw_real(
        self, prefix: str = "", batch: int | None = None, into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The next mini-batch of this peer's own images, (batch, c, h, w)."""
        shard = self._shard(prefix)
        return shard.take(shard.choose(batch or self.batch, self.streams[prefix + "batches"]), into)

    def _shard(self, prefix: str) -> Shard:
        shard = self.shard
        assert shard is not None, f"peer {self.peer} holds no data"
        if prefix:
            shard = self._shards.setdefault(prefix, Shard(shard.pixels, shard.labels))
        return shard

    def _one_hot(self, labels: np.ndarray) -> torch.Tensor:
        return one_hot(torch.from_numpy(labels.astype(np.int64)), self.gan.classes).to(self.device)

    def draw_noise(
        self, count: int, prefix: str = "", into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """z ~ N(0, I), (count, z_dim), from this peer's noise stream.

        It is on the peer's device; or in ``into``, memory of the host, where that is given. Where G
        is told classes, each row ends with one, one-hot: (count, z_dim + classes).
        """
        draws = self.streams[prefix + "noise"]
        if self.conditional:
            noise = draws.standard_normal((count, self.gan.z_dim), dtype=np.float32)
            labels = self._draw_labels(count, prefix)
            y = self._one_hot(labels)
            told = torch.cat((torch.from_numpy(noise).to(self.device), y), dim=1)
            return told if into is None else into.copy_(told)
        if into is not None:
            draws.standard_normal(dtype=np.float32, out=into.numpy())
            return into
        z = draws.standard_normal((count, self.gan.z_dim), dtype=np.float32)
        return torch.from_numpy(z).to(self.device)

    def _draw_labels(self, count: int, prefix: str) -> np.ndarray:
        """Classes of fakes, (count,): as often as among the peer's own images, or all alike.

        A D that never sees real images of a class must not judge fakes of it.
        """
        draws = self.streams[prefix + "labels"]
        assert self.conditional is not None
        if self.conditional.labels == "all" or self.shard is None or self.shard.labels is None:
            return draws.integers(0, self.gan.classes, count)
        of_own: np.ndarray = self.shard.labels[draws.integers(0, len(self.shard), count)]
        return of_own

    def draw_uniforms(self, count: int, prefix: str = "") -> Uniforms | None:
        """What augments ``count`` images (:mod:`peer.gan.augment`); None where nothing does."""
        return draw_uniforms(self.augment, count, self.streams[prefix + "augment"], self.device)

    def dump(self) -> SavedState:
        """Copies of everything that :meth:`load` needs to go on with the same bits."""
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
            "classes": list(self.class_names),
            "streams": self.streams.dump(),
            "facts": self.facts,
            "nets": {name: net.kind for name, net in self.nets.items()},
        }
        if self.shard is not None:
            shards = {"": self.shard, **self._shards}
            for prefix, shard in shards.items():
                tensors[f"{prefix}shard/order"] = torch.from_numpy(shard.order.copy())
            facts["positions"] = {prefix: shard.position for prefix, shard in shards.items()}
        return SavedState(tensors, msgpack.packb(facts))

    def load(self, saved: SavedState) -> None:
        """Take over what :meth:`dump` gave; this state was just made from the same experiment.

        Everything is looked at before anything is changed.

        Raises:
            ValueError: ``saved`` is another peer's, or of another shape; the state is as it was.
        """
        try:
            facts, own, shards, of_nets = self._looked_at(saved)
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"it lacks what belongs to a state ({problem})") from None
        if facts.get("classes"):
            self.take_classes(facts["classes"])
        self.round = facts["round"]
        self.streams.load(facts["streams"])
        self.facts = facts["facts"]
        self.tensors = own
        if self.shard is not None:
            self._shards = {
                prefix: Shard(self.shard.pixels, self.shard.labels) for prefix in shards if prefix
            }
            for prefix, shard in {"": self.shard, **self._shards}.items():
                shard.order, shard.position = shards[prefix]
        for name, net in self.nets.items():
            net.load(of_nets[name])

    def take_classes(self, names: Sequence[str]) -> None:
        """Number the classes of its images as ``names`` does, whether or not all occur here.

        Raises:
            ValueError: an image's class is not among them; the state is as it was.
        """
        if tuple(names) == self.class_names:
            return
        own = None if self.shard is None else self.shard.labels
        if own is not None:
            where = f"peer {self.peer}"
            try:
                labels, _ = fit_classes(own, self.class_names, tuple(names), where)
            except UserError as problem:
                raise ValueError(str(problem)) from None
            for shard in (self.shard, *self._shards.values()):
                assert shard is not None
                shard.labels = labels
        self.class_names, self.classes = tuple(names), len(names)

    def _looked_at(
        self, saved: SavedState
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor], Orders, dict[str, dict[str, torch.Tensor]]]:
        """What :meth:`load` takes over: facts, own tensors, orders of shards, nets; all sound."""
        facts = unpacked(saved.facts)
        if facts["peer"] != self.peer:
            raise ValueError(f"peer {self.peer} cannot take the state of peer {facts['peer']}")
        kinds = {name: net.kind for name, net in self.nets.items()}
        for name in sorted(kinds.keys() | facts["nets"].keys()):
            there, here = facts["nets"].get(name), kinds.get(name)
            if there != here:
                raise ValueError(
                    f"its {name} is {kind_in_words(there)}, and here it is {kind_in_words(here)}"
                )
        tensors = dict(saved.tensors)
        own = {
            name.removeprefix("own/"): tensors.pop(name).clone().to(self.device)
            for name in saved.tensors
            if name.startswith("own/")
        }
        streams = Streams(self.streams.seed, self.peer)
        streams.load(facts["streams"])
        shards = self._shards_in(facts.get("positions"), tensors)
        of_nets = {name: part_of(tensors, name) for name in self.nets}
        for name, net in self.nets.items():
            net.check(of_nets[name])
        if tensors:
            raise ValueError(f"nothing here is called {min(tensors)}")
        return facts, own, shards, of_nets

    def _shards_in(
        self, positions: Mapping[str, int] | None, tensors: dict[str, torch.Tensor]
    ) -> Orders:
        """The order and the position of every shard, by prefix; taken out of ``tensors``."""
        if (positions is None) != (self.shard is None):
            raise ValueError("one of the two holds data, and the other none")
        found: Orders = {}
        for prefix, position in (positions or {}).items():
            assert self.shard is not None
            order = tensors.pop(f"{prefix}shard/order").numpy().copy()
            count = len(self.shard)
            if order.shape not in ((0,), (count,)) or not 0 <= position <= len(order):
                raise ValueError(f"it is of {len(order)} images, and here are {count}")
            if not np.array_equal(np.sort(order), np.arange(len(order))):
                raise ValueError("its order of the images is none")
            found[prefix] = (order, position)
        return found
