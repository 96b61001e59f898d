"""Codecs: float32 vectors as fewer bytes, and back. Pure functions of their arguments.

The size of an encoded vector follows from its length and the codec's settings alone, so that
whatever comes from a network is refused by its size before memory is allocated for it; its content
is validated before it is decoded. What is decoded is always finite, and the same on every machine.

Sources: QSGD, blocks with a scale each and stochastic rounding (Alistarh et al. 2017,
arXiv:1610.02132); bfloat16 (Kalamkar et al. 2019, arXiv:1905.12322); top-k with memory (Stich,
Cordonnier, Jaggi 2018, arXiv:1809.07599); DeepSqueeze (Tang et al. 2019, arXiv:1907.07346);
CHOCO-Gossip (Koloskova, Stich, Jaggi 2019, arXiv:1902.00340). How a combine uses them, and what it
remembers: ``peer/compute/compressed_combine.py``.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field

from peer.settings import Settings

LARGEST = torch.finfo(torch.float32).max
SMALLEST = torch.finfo(torch.float32).tiny  # normal: below, compute threads flush to zero

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class CodecError(ValueError):
    """The bytes are not an encoded value."""


class Codec(Protocol):
    """One way of writing a vector down.

    Attributes:
        is_whole: whether one value says all of a vector, be it roughly; else it builds on others.
    """

    is_whole: ClassVar[bool]

    def size(self, n: int) -> int:
        """How many bytes n floats are encoded in."""

    def encode(self, x: torch.Tensor, rng: np.random.Generator | None = None) -> Bytes:
        """The bytes of x, float32 (n,) on the CPU; ``rng`` is drawn from once, if at all.

        If x is not finite, :meth:`decode` refuses the bytes, so that a peer that has diverged is
        not averaged.
        """

    def decode(self, encoded: Bytes, n: int) -> torch.Tensor:
        """The n floats in ``encoded``, all finite.

        Raises:
            CodecError: it has another length, holds scales or places that cannot be, or a number
                that is not finite.
        """


class Bf16(Settings):
    """The upper half of every float32, rounded to nearest even: half the bytes.

    The error of x is at most 2^-8 |x| (2^-9 |x| but where the exponent changes).
    """

    is_whole: ClassVar[bool] = True

    def size(self, n: int) -> int:
        """Two bytes a float."""
        return 2 * n

    def encode(self, x: torch.Tensor, rng: np.random.Generator | None = None) -> Bytes:
        """Finite values stay finite: the largest are rounded down."""
        rounded = x.to(torch.bfloat16)
        if not is_finite(rounded):
            largest = torch.finfo(torch.bfloat16).max
            rounded = torch.where(x.isfinite(), x.clamp(-largest, largest), x).to(torch.bfloat16)
        return rounded.view(torch.uint8).numpy()

    def decode(self, encoded: Bytes, n: int) -> torch.Tensor:
        """See :class:`Codec`."""
        _sized(encoded, self.size(n))
        return _finite(torch.from_numpy(encoded.copy()).view(torch.bfloat16).float())


class Integers(Settings):
    """``x ~ s q`` with whole q from -L to L, and s = max |x| / L of every block (QSGD, section 3).

    Rounded to nearest (ties to even), the error is at most s / 2. Rounded stochastically, to
    floor(x / s + u) with u uniform in [0, 1) from the peer's own stream, it is less than s, and
    zero in the mean.
    """

    is_whole: ClassVar[bool] = True
    bits: ClassVar[int]
    block: int = Field(256, ge=2, le=65536, multiple_of=2, description="Values a scale.")
    rounding: Literal["nearest", "stochastic"] = Field(
        "nearest", description="To the nearest, ties to even; or up or down, right in the mean."
    )

    def size(self, n: int) -> int:
        """A float32 scale a block, and ``bits`` a value."""
        return 4 * math.ceil(n / self.block) + math.ceil(n * self.bits / 8)

    def encode(self, x: torch.Tensor, rng: np.random.Generator | None = None) -> Bytes:
        """All scales, then all q: an int8 each, or q + 8 in four bits each, the lower first."""
        n, levels = len(x), 2 ** (self.bits - 1) - 1
        blocks = _in_blocks(x, self.block)  # (blocks, block)
        scale = blocks.abs().amax(1, keepdim=True) / levels
        scale = torch.where(scale.isfinite(), scale.clamp(max=self._largest_scale), scale)
        scale = torch.where(scale < SMALLEST, 0.0, scale)  # NaN stays
        ratio = torch.where(scale > 0, blocks / scale, 0.0)
        if self.rounding == "nearest":
            whole = ratio.round()
        else:
            assert rng is not None, "stochastic rounding draws from a stream"
            u = torch.from_numpy(rng.random(n, dtype=np.float32))
            whole = (ratio + _in_blocks(u, self.block)).floor()
        q = whole.clamp(-levels, levels).to(torch.int8).reshape(-1)[:n].numpy()
        if self.bits == 4:
            nibbles = np.zeros(n + n % 2, np.uint8)
            nibbles[:n] = q + 8
            q = nibbles[::2] | nibbles[1::2] << 4
        return np.concatenate([scale.numpy().view(np.uint8).reshape(-1), q.view(np.uint8)])

    def decode(self, encoded: Bytes, n: int) -> torch.Tensor:
        """See :class:`Codec`."""
        _sized(encoded, self.size(n))
        count = math.ceil(n / self.block)
        scale = torch.from_numpy(encoded[: 4 * count].copy().view("<f4"))
        if not bool(((scale >= 0) & (scale <= self._largest_scale)).all()):
            raise CodecError("a scale that is negative, too large or not a number")
        q = encoded[4 * count :]
        if self.bits == 4:
            q = np.stack([q & 15, q >> 4], axis=1).reshape(-1)[:n] - np.uint8(8)
        whole = torch.from_numpy(q.copy().view(np.int8)).float()
        return _in_blocks(whole, self.block).mul_(scale[:, None]).reshape(-1)[:n]

    @property
    def _largest_scale(self) -> float:
        levels: int = 2 ** (self.bits - 1)
        return LARGEST / levels  # times any q of so many bits, it is finite


class Int8(Integers):
    """A byte a value: L = 127."""

    bits: ClassVar[int] = 8


class Int4(Integers):
    """Half a byte a value: L = 7."""

    bits: ClassVar[int] = 4


class TopK(Settings):
    """The largest coordinates in full, the others not at all (Stich et al. 2018, definition 2.1).

    ``||x - decode(encode(x))||^2 <= (1 - share) ||x||^2``. With ``feedback``, what is left out is
    added to what is sent the next time, and combined with a smaller step: DeepSqueeze (Tang et al.
    2019), algorithm 1, whose eta is ``gamma``.
    """

    is_whole: ClassVar[bool] = False
    share: float = Field(0.1, gt=0, le=1, description="Of the coordinates, which are sent.")
    feedback: bool = Field(True, description="Keep what was left out, and send it later.")
    gamma: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The combine's step; by default half the share with feedback, else 1.",
    )

    @property
    def step(self) -> float:
        """gamma with its default: half the share with feedback, and 1 without."""
        return self.gamma or (self.share / 2 if self.feedback else 1.0)

    def count(self, n: int) -> int:
        """Coordinates that are sent."""
        return min(n, max(1, math.ceil(self.share * n)))

    def size(self, n: int) -> int:
        """A float32 for each coordinate sent, and where it is: an int32 each, or n bits in all."""
        k = self.count(n)
        return min(4 * k, math.ceil(n / 8)) + 4 * k

    def encode(self, x: torch.Tensor, rng: np.random.Generator | None = None) -> Bytes:
        """Places in order, then values."""
        n, k = len(x), self.count(len(x))
        places = np.sort(x.abs().topk(k).indices.numpy())
        if self._in_bits(n):
            mask = np.zeros(n, np.uint8)
            mask[places] = 1
            where = np.packbits(mask)
        else:
            where = places.astype("<i4").view(np.uint8)
        return np.concatenate([where, x.numpy()[places].astype("<f4").view(np.uint8)])

    def decode(self, encoded: Bytes, n: int) -> torch.Tensor:
        """See :class:`Codec`."""
        _sized(encoded, self.size(n))
        k = self.count(n)
        where, values = encoded[: -4 * k], encoded[-4 * k :]
        if self._in_bits(n):
            places = np.flatnonzero(np.unpackbits(where))
        else:
            places = where.copy().view("<i4").astype(np.int64)
        if len(places) != k or places[0] < 0 or places[-1] >= n or np.any(np.diff(places) <= 0):
            raise CodecError("coordinates that are not in order, or not there")
        x = torch.zeros(n)
        x[torch.from_numpy(places)] = _finite(torch.from_numpy(values.copy().view("<f4")))
        return x

    def _in_bits(self, n: int) -> bool:
        return 4 * self.count(n) > math.ceil(n / 8)


class Choco(Settings):
    """CHOCO-Gossip (Koloskova, Stich and Jaggi 2019, algorithm 1): differences are compressed.

    ``x_hat_k += Q(x_k - x_hat_k)`` at both ends of every link, and
    ``x_k += gamma sum over l of a_lk (x_hat_l - x_hat_k)``: exact consensus on a fixed graph.
    """

    is_whole: ClassVar[bool] = False
    of: Literal["bf16", "int8", "int4", "top-k"] = Field("top-k", description="Q, by its name.")
    gamma: float | None = Field(
        None, gt=0, le=1, description="The step; twice the share for top-k, else 1."
    )
    share: float = Field(0.1, gt=0, le=1, description="Of top-k.")
    block: int = Field(256, ge=2, le=65536, multiple_of=2, description="Of int8 and int4.")
    rounding: Literal["nearest", "stochastic"] = Field("nearest", description="Of int8 and int4.")

    @property
    def inner(self) -> Codec:
        """Q."""
        match self.of:
            case "bf16":
                return Bf16()
            case "int8":
                return Int8(block=self.block, rounding=self.rounding)
            case "int4":
                return Int4(block=self.block, rounding=self.rounding)
            case "top-k":
                return TopK(share=self.share)

    @property
    def step(self) -> float:
        """gamma with its default: twice the share (at most 1) for top-k, and 1 for the others."""
        return self.gamma or (min(1.0, 2 * self.share) if self.of == "top-k" else 1.0)


Compression = Bf16 | Int8 | Int4 | TopK | Choco

CODECS: dict[str, type[Compression]] = {
    "bf16": Bf16,
    "int8": Int8,
    "int4": Int4,
    "top-k": TopK,
    "choco": Choco,
}
"""By their names in the experiment file, where ``none`` sends float32 unencoded."""


def is_finite(x: torch.Tensor) -> bool:
    """Whether x holds neither NaN nor Inf."""
    # Such a value makes the sum one; but finite values may overflow it, so then look at each.
    return bool(x.sum().isfinite() or x.isfinite().all())


def _sized(encoded: Bytes, size: int) -> None:
    if encoded.nbytes != size:
        raise CodecError(f"{encoded.nbytes} bytes where {size} are due")


def _finite(x: torch.Tensor) -> torch.Tensor:
    if not is_finite(x):
        raise CodecError("NaN or Inf")
    return x


def _in_blocks(x: torch.Tensor, block: int) -> torch.Tensor:
    """x, (n,), as rows of ``block`` values, zeros at the end."""
    missing = -len(x) % block
    return (torch.nn.functional.pad(x, (0, missing)) if missing else x).reshape(-1, block)
