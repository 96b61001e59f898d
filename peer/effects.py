"""What an algorithm may ask of its driver.

An algorithm is a coroutine; each ``await`` hands one of these frozen effects to the driver and
returns the effect's result. *Local* effects are data (a net, an objective, a number of steps),
never a closure, and depend on their own peer's state alone, so that a driver may carry one out for
one peer, or many together for a thousand peers. *Network* effects send the values of the moment of
the ``await``: drivers copy them.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch


class Moment(NamedTuple):
    """The number of an exchange on a link: ``t = (round, exchange)``, counted from (0, 0).

    Both ends count the link's exchanges, in either direction, and so give each the same number.
    """

    round: int
    exchange: int


BEFORE_ALL = Moment(-1, -1)
"""Earlier than every exchange."""


def beginning_of(round: int) -> Moment:
    """Before the first exchange of that round."""
    return Moment(round, -1)


class StepResult(NamedTuple):
    """The mean loss and the mean squared gradient norm over local steps.

    They are numbers, not tensors: on a GPU, a step ends when they are computed.
    """

    loss: float
    gradient_norm_sq: float

    @property
    def is_finite(self) -> bool:
        """Whether both numbers are; if not, the step is skipped (:mod:`peer.compute.guard`)."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm_sq)

    @classmethod
    def mean(cls, results: Sequence[StepResult]) -> StepResult:
        """The mean over several results, at least one; over the finite ones if there are any."""
        if len(results) == 1:
            return results[0]
        finite = [result for result in results if result.is_finite]
        losses, norms = zip(*(finite or results), strict=True)
        return cls(sum(losses) / len(losses), sum(norms) / len(norms))


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that a coroutine awaits; the driver returns the result."""

    def __await__(self) -> Generator[Effect, Any, Any]:
        return (yield self)


# --- local effects ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proximal:
    """The term ``mu/2 ||w - anchor||^2``, added to whatever is minimised."""

    anchor: torch.Tensor  # (P,), as long as the net's arena
    mu: float


@dataclass(frozen=True, slots=True)
class Train(Effect):
    """``steps`` optimizer steps of ``net`` on ``objective``, a fresh mini-batch each.

    ``inputs`` take the place of what would be drawn (``real``, ``z``, ``fake``) or set what the
    objective asks for (``gamma``); ``proximal`` pulls the parameters to an anchor. A mini-batch
    that is drawn has ``batch`` images, or as many as the experiment says where that is None.

    Result: :class:`StepResult`.
    """

    net: str
    objective: str
    steps: int = 1
    inputs: Mapping[str, Any] = field(default_factory=dict)
    proximal: Proximal | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Gradient(Effect):
    """The stochastic gradient of ``objective`` at ``net``'s value, kept until :class:`Step`.

    ``inputs``, ``proximal`` and ``batch`` are those of :class:`Train`.

    Result: :class:`StepResult`.
    """

    net: str
    objective: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    proximal: Proximal | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Step(Effect):
    """One optimizer step of ``net`` with the gradient kept by :class:`Gradient` or :class:`VJP`."""

    net: str


@dataclass(frozen=True, slots=True)
class Generate(Effect):
    """``net`` applied to noise ``z`` (batch, z_dim) in training mode, no autograd graph kept.

    ``seed`` is of what modules draw inside (dropout), the peer's next one where it is None: passes
    with equal seeds draw the same.

    Result: images (batch, c, h, w).
    """

    net: str
    z: torch.Tensor
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluate(Effect):
    """``net`` applied to ``x`` (batch, ...) in evaluation mode, no autograd graph kept.

    Result: its output (batch, ...).
    """

    net: str
    x: torch.Tensor


@dataclass(frozen=True, slots=True)
class VJP(Effect):
    """``net``'s vector-Jacobian product at ``inputs`` with ``cotangent``.

    The forward pass is computed again from ``inputs``: no autograd graph outlives an ``await``.
    With the ``seed`` of a :class:`Generate`, it is the same pass where modules draw inside, too.
    Result: the product with respect to ``inputs``, in their shape; with ``keep``, None, and the
    product with respect to the parameters is kept as the net's gradient until :class:`Step`
    (added to what is kept already with ``keep="add"``).
    """

    net: str
    inputs: torch.Tensor
    cotangent: torch.Tensor
    keep: Literal["", "set", "add"] = ""
    seed: int | None = None


# --- network effects ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Combine(Effect):
    """Swap ``net``'s arena with the neighbours in ``weights`` and combine.

    ``weights[l]`` is a_lk for neighbour l of this peer k (without k itself); a neighbour that stays
    away leaves its weight on oneself. ``moments[l]`` numbers the exchange on the link with l. With
    ``meanwhile``, those local steps are taken while the values are in flight, and their change of
    w_k stays: ``w_k + sum over l of a_lk (q_l - q_k)``, q being the values before the steps. A
    peer that ``listens``, having been left behind, sends nothing and takes the weighted mean of the
    others' values, in which its own has no share.

    Result: the ids of the neighbours that stayed away; with ``meanwhile``, a pair of these ids and
    the steps' :class:`StepResult`.
    """

    net: str
    moments: Mapping[int, Moment]
    weights: Mapping[int, float]
    meanwhile: Train | None = None
    listens: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """A message from one peer to another: named tensors, and small facts that msgpack knows."""

    name: str
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


TOLD = "letters told"
"""Of a peer's facts: whether letters were taken that it was unsure of, by neighbour."""


class Post(NamedTuple):
    """The result of an :class:`Exchange`."""

    letters: dict[int, Letter]  # by sender, in id order
    missing: frozenset[int]  # who sent nothing, or did not get ours
    unsure: frozenset[int] = frozenset()  # who may have got ours, and will tell


@dataclass(frozen=True, slots=True)
class Exchange(Effect):
    """Send each neighbour in ``letters`` its letter, take one ``name`` from each of ``senders``.

    A neighbour may be in both: then two letters cross on its link in one exchange. The exchange is
    over when every letter has arrived or timed out.

    A letter that is ``conserved``, such as one with mass in it, is taken exactly once, or not at
    all; its sender either knows which, or is told later. Then none crosses another on its link.

    Result: :class:`Post`.
    """

    letters: Mapping[int, Letter]
    senders: frozenset[int]
    name: str
    moments: Mapping[int, Moment]
    conserved: bool = False


@dataclass(frozen=True, slots=True)
class Report(Effect):
    """The end of a round, with its measures for the run's records.

    Result: the round in which to go on, where the others are so far ahead that the peer leaves out
    what is between; else None.
    """

    round: int
    measures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Now(Effect):
    """The driver's time in seconds; only differences have a meaning.

    Result: a float.
    """


@dataclass(frozen=True, slots=True)
class Sleep(Effect):
    """Wait for ``seconds`` of the driver's time."""

    seconds: float
