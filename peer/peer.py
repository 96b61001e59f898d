"""The peer as an algorithm sees it: its neighbours, its nets, its verbs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
import torch

from peer.effects import (
    VJP,
    Combine,
    Exchange,
    Generate,
    Gradient,
    Letter,
    Moment,
    Proximal,
    Report,
    Step,
    StepResult,
    Train,
)
from peer.gan.augment import View
from peer.gan.net_name import PAIR, NetName
from peer.round_record import RoundRecord
from peer.state import PeerState
from peer.state.moving_average import AVERAGE, take_in_generator
from peer.streams import stream
from topology import RuleSpec, Schedule, neighbour_weights

__all__ = ["PAIR", "Peer", "Weights"]

Weights = Mapping[int, float]
Letters = Mapping[int, Letter]


class Peer:
    """Peer k, in the words of the papers.

    Every verb that is awaited hands an effect to the driver. What an algorithm has to keep from one
    round to the next it puts into ``facts`` and ``tensors``; ``state`` is for drivers.

    Args:
        state: everything that outlives a round.
        schedule: the graph of every round.
        rule: of the combination weights, as the experiment's ``weights:`` names it.

    Attributes:
        missed: the neighbours that stayed away from the last exchange of letters.
        unsure: those who may have taken what was conserved of it.
        after_round: what every round ends with, whatever the algorithm; None for nothing.
    """

    def __init__(self, state: PeerState, schedule: Schedule, rule: RuleSpec = "metropolis") -> None:
        self.state = state
        self.schedule = schedule
        self.rule = rule
        self._weights: tuple[nx.Graph[int], Weights] | None = None
        self._exchanges: Counter[int] = Counter()  # in this round, on the link with each neighbour
        self._record = RoundRecord()
        self.missed = self.unsure = frozenset[int]()
        self.after_round: Callable[[Peer], Awaitable[None]] | None = None
        self._listens = False  # left behind before, it takes the others' nets in this round

    # --- who this is ------------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """k."""
        return self.state.peer

    @property
    def peers(self) -> int:
        """K: how many peers there are."""
        return self.state.peers

    @property
    def round(self) -> int:
        """Rounds completed: the number, from 0, of the round at hand."""
        return self.state.round

    @property
    def weights(self) -> Weights:
        """a_lk of this round, for every neighbour l of this peer k (without k itself)."""
        graph = self.schedule.graph(self.state.round)
        if self._weights is None or self._weights[0] is not graph:
            self._weights = graph, neighbour_weights(graph, self.rule, self.id)
        return self._weights[1]

    @property
    def neighbours(self) -> tuple[int, ...]:
        """The ids of this round's neighbours, in order, without k."""
        return self.neighbours_of(self.id)

    def neighbours_of(self, peer: int) -> tuple[int, ...]:
        """The ids of any peer's neighbours in this round, in order: the graph is known to all."""
        return tuple(sorted(self.schedule.graph(self.state.round).neighbors(peer)))

    @property
    def samples(self) -> int:
        """n_k: how many images are its own."""
        return 0 if self.state.shard is None else len(self.state.shard)

    @property
    def labels(self) -> np.ndarray | None:
        """The classes of its own images, (n_k,); None where the data have none."""
        return None if self.state.shard is None else self.state.shard.labels

    @property
    def classes(self) -> int:
        """How many classes all peers have together; 0 where the images have no labels."""
        return self.state.classes

    @property
    def pixels(self) -> torch.Tensor:
        """All its own images, (n_k, c, h, w) in [-1, 1]."""
        assert self.state.shard is not None, f"peer {self.id} holds no data"
        return self.state.shard.pixels

    @property
    def loss(self) -> str:
        """The loss's name in the experiment file."""
        return self.state.loss.name

    @property
    def batch(self) -> int:
        """b: how many images a mini-batch of the experiment has."""
        return self.state.batch

    @property
    def z_dim(self) -> int:
        """How many numbers the generator starts from, those of a one-hot class included."""
        return self.state.gan.inputs

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.state.device

    @property
    def facts(self) -> dict[str, Any]:
        """The algorithm's own facts, kept across rounds; types that msgpack knows."""
        return self.state.facts

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The algorithm's own tensors by name, kept across rounds."""
        return self.state.tensors

    def parameter_count(self, net: str) -> int:
        """How many parameters ``net`` has; its arena is longer, by padding and buffers."""
        return self.state.nets[net].arena.layout.parameter_count

    @property
    def seed(self) -> int:
        """The experiment's seed, from which everything random follows."""
        return self.state.streams.seed

    def rng(self, purpose: str) -> np.random.Generator:
        """This peer's own random stream for ``purpose``."""
        return self.state.streams[purpose]

    def common_rng(self, purpose: str) -> np.random.Generator:
        """A new stream of this round, the same at every peer: what it decides, all of them know."""
        return stream(self.seed, "common", purpose, self.state.round)

    def note(self, **measures: Any) -> None:
        """Put something of the algorithm's own into this round's record."""
        self._record.facts.update(measures)

    # --- rounds -----------------------------------------------------------------------------------

    async def rounds(self, count: int) -> AsyncIterator[int]:
        """Rounds from the state's own to ``count``; each is reported when its body is done."""
        while self.state.round < count and self.schedule.takes_part(self.id, self.state.round):
            yield self.state.round
            if self.after_round is not None:
                await self.after_round(self)
            if take_in_generator(self.state):
                await self.combine(AVERAGE)
            self._listens = False
            self.state.round += 1
            self._exchanges.clear()
            later = await Report(self.state.round, self._record.tell(self.state))
            if later is not None:
                self.go_on_in(later)

    def go_on_in(self, round: int) -> None:
        """Leave out the rounds until that one: the others went on without this peer."""
        self.note(rejoined={"after": self.state.round})
        self.state.round = round
        self._listens = self.state.codec is None or self.state.codec.is_whole

    # --- learning ---------------------------------------------------------------------------------

    async def adapt(
        self,
        net: str,
        steps: int = 1,
        *,
        objective: str = "",
        proximal: Proximal | None = None,
        batch: int | None = None,
        **inputs: Any,
    ) -> StepResult:
        """``phi_k = w_k - mu grad J_k(w_k)``: ``steps`` optimizer steps on fresh mini-batches.

        Args:
            net: which of the peer's nets.
            steps: how many.
            objective: a key of ``OBJECTIVES``; by default that of the net's role.
            proximal: a term that pulls the parameters to an anchor.
            batch: images in each mini-batch that is drawn; the experiment's number if None.
            inputs: what is given, not drawn: ``real`` and ``fake`` (batch, c, h, w), ``z`` (batch,
                z_dim); and ``gamma``, the regulariser's weight.

        Returns:
            The means over the steps.
        """
        objective = objective or NetName.parse(net).role
        result: StepResult = await Train(net, objective, steps, inputs, proximal, batch)
        self._record.trained(net, result)
        return result

    async def gradient(
        self,
        net: str,
        *,
        objective: str = "",
        proximal: Proximal | None = None,
        batch: int | None = None,
        **inputs: Any,
    ) -> StepResult:
        """The stochastic gradient of J_k at w_k, kept for :meth:`step`; as :meth:`adapt` takes."""
        objective = objective or NetName.parse(net).role
        result: StepResult = await Gradient(net, objective, inputs, proximal, batch)
        self._record.trained(net, result)
        return result

    async def step(self, net: str) -> None:
        """One optimizer step with the gradient that was kept."""
        await Step(net)

    def noise(self, prefix: str = "", batch: int | None = None) -> torch.Tensor:
        """A mini-batch of z ~ N(0, I), (batch, z_dim), from the stream of the pair ``prefix``.

        ``batch`` is the experiment's number if None.
        """
        return self.state.draw_noise(batch or self.batch, prefix)

    def images(self) -> torch.Tensor:
        """A mini-batch of this peer's own images, (batch, c, h, w)."""
        return self.state.draw_real()

    def view(self, images: torch.Tensor) -> View:
        """The images as D is to see them: augmented anew, if the experiment says so."""
        return View(images, self.state.draw_uniforms(len(images)), self.state.draw_seed())

    async def generate(self, net: str, z: torch.Tensor) -> torch.Tensor:
        """G(z): (batch, c, h, w)."""
        return torch.as_tensor(await Generate(net, z))

    async def judge(self, view: View) -> torch.Tensor:
        """phi, the discriminator's logits of the images as it sees them: (batch, 1)."""
        return torch.as_tensor(await Generate("discriminator", view.images, view.seed))

    async def feedback(self, view: View, cotangent: torch.Tensor) -> torch.Tensor:
        """dL/dx, (batch, c, h, w), of a loss whose dL/dphi is ``cotangent``, (batch, 1)."""
        return view.error_before(await VJP("discriminator", view.images, cotangent, seed=view.seed))

    async def error_of_images(self, images: torch.Tensor) -> torch.Tensor:
        """dL_G/dx, L_G being the generator's loss by this peer's D: (batch, c, h, w)."""
        view = self.view(images)
        phi = (await self.judge(view)).requires_grad_()  # (batch, 1)
        (cotangent,) = torch.autograd.grad(self.state.loss.generator(phi), phi)
        return await self.feedback(view, cotangent)

    async def descend(self, z: Sequence[torch.Tensor], feedback: Sequence[torch.Tensor]) -> None:
        """One step of G, from dL/dx of the images that it generates.

        Args:
            z: batches of noise, (batch, z_dim) each, from which the images are generated again.
            feedback: dL/dx for each batch, (batch, c, h, w); their gradients are added up.
        """
        for i, (noise, error) in enumerate(zip(z, feedback, strict=True)):
            await VJP("generator", noise, error, keep="add" if i else "set")
        await Step("generator")

    def model(self, nets: Iterable[str] = PAIR, prefix: str = "") -> dict[str, torch.Tensor]:
        """The arenas (P,) of ``prefix + net`` for each of ``nets``, by net: a model to be sent.

        They are the arenas themselves, not copies: writing to them changes the nets.
        """
        return {net: self.state.nets[prefix + net].arena.vector for net in nets}

    def load(
        self, tensors: Mapping[str, torch.Tensor], prefix: str = "", *, buffers: bool = True
    ) -> None:
        """Copy arenas (P,) into the peer's nets; what is named ``x`` goes into ``prefix + x``.

        Without ``buffers``, parameters alone are copied, and batch-norm keeps its own statistics.
        Tensors for which the peer holds no net are ignored.
        """
        for name in sorted(tensors):
            net = self.state.nets.get(prefix + name)
            if net is not None:
                end = net.arena.layout.length if buffers else net.arena.layout.trained
                net.arena.vector[:end].copy_(tensors[name][:end])

    def reset_optimizer(self, *nets: str) -> None:
        """Forget the optimizers' moments."""
        for net in nets:
            self.state.nets[net].moments.clear()

    # --- exchanging -------------------------------------------------------------------------------

    async def combine(self, net: str, weights: Weights | None = None) -> None:
        """``w_k = sum over l in N_k of a_lk phi_l``: swap with the neighbours, and average.

        ``weights`` are by default those of this round's graph, a_lk by neighbour l; a neighbour
        that stays away leaves its weight on oneself.
        """
        weights = self.weights if weights is None else weights
        moments = self._moments(weights)
        if self._listens and weights:
            await self._listen(net, moments, weights)
        else:
            self._record.stayed_away(await Combine(net, moments, weights))

    async def _listen(self, net: str, moments: Mapping[int, Moment], weights: Weights) -> None:
        """Take the others' mean, and note by how much that moves the mean over all peers."""
        w = self.state.nets[net].arena.vector
        before = w.clone()
        self._record.stayed_away(await Combine(net, moments, weights, listens=True))
        jump = torch.linalg.vector_norm(w - before, dtype=torch.float64).item() / self.peers
        self._record.facts.setdefault("rejoined", {})[f"jump of {net}"] = jump

    async def adapt_and_combine(self, net: str, steps: int = 1) -> StepResult:
        """Send w_k while adapting it: ``w_k = phi_k + sum over l of a_lk (w_l - w_k)``."""
        if self._listens:
            step = await self.adapt(net, steps)
            await self.combine(net)
            return step
        weights = self.weights
        train = Train(net, NetName.parse(net).role, steps)
        missing, step = await Combine(net, self._moments(weights), weights, train)
        self._record.stayed_away(missing)
        self._record.trained(net, step)
        return StepResult(*step)

    async def exchange(
        self, name: str, letters: Letters, senders: Iterable[int], conserved: bool = False
    ) -> dict[int, Letter]:
        """Send ``letters`` to neighbours, take a letter ``name`` from each sender, all at once.

        Returns:
            What came, by sender, in id order, without those that stayed away. Who sent nothing, or
            did not get our letter, is in ``missed`` until the next exchange; who may have got what
            is ``conserved`` is in ``unsure``, and will tell.
        """
        moments = self._moments(letters.keys() | (wanted := frozenset(senders)))
        post = await Exchange(letters, wanted, name, moments, conserved)
        self.missed, self.unsure = post.missing, post.unsure
        self._record.stayed_away(post.missing)
        return dict(post.letters)

    async def send(
        self,
        to: int | Iterable[int],
        name: str,
        tensors: Mapping[str, torch.Tensor] | None = None,
        **facts: Any,
    ) -> None:
        """Send one letter, the values of this moment, to one neighbour or to several."""
        letter = Letter(name, tensors or {}, facts)
        await self.exchange(name, dict.fromkeys([to] if isinstance(to, int) else to, letter), ())

    async def gather(self, name: str, senders: Iterable[int]) -> dict[int, Letter]:
        """One letter from each of ``senders``, in id order, without those that stayed away."""
        return await self.exchange(name, {}, senders)

    async def receive(self, name: str, sender: int) -> Letter | None:
        """One letter; None where the sender stayed away."""
        return (await self.gather(name, [sender])).get(sender)

    def skip_to(self, exchange: int) -> None:
        """Number this round's exchanges from ``exchange`` on, however far each link has got."""
        for neighbour in self.schedule.union().neighbors(self.id):
            self._exchanges[neighbour] = max(self._exchanges[neighbour], exchange)

    def _moments(self, neighbours: Iterable[int]) -> dict[int, Moment]:
        moments = {}
        for neighbour in sorted(neighbours):
            moments[neighbour] = Moment(self.state.round, self._exchanges[neighbour])
            self._exchanges[neighbour] += 1
        return moments
