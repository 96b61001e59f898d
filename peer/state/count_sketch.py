"""Count sketches of parameter vectors, from which their distances can be estimated.

A peer logs 256 numbers for each of its nets instead of sending the net to a collector; the net
cannot be rebuilt from them. Every parameter is added, with a random sign, to one random bucket
(Charikar, Chen, Farach-Colton, "Finding Frequent Items in Data Streams", ICALP 2002,
doi:10.1007/3-540-45465-9_59). Buckets and signs follow from the experiment's seed and the net's
name alone, so all peers use the same; the map is linear, so the sketch of a difference is the
difference of the sketches. For a vector x, E||S x||² = ||x||², with a standard deviation of at most
sqrt(2 / buckets) ||x||².
"""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np
import numpy.typing as npt
import torch

BUCKETS = 256

Sketch = npt.NDArray[np.float64]


class CountSketch:
    """The seeded linear map from one net's parameter vector to ``buckets`` numbers.

    Buckets and signs are raw words of PCG64, whose stream numpy guarantees for all versions, so
    that peers with different versions of numpy agree.

    Args:
        length: number of parameters P in the vector.
        seed: the experiment's seed.
        name: the net's name; each net has its own buckets and signs.
        buckets: number of sums kept.
    """

    def __init__(self, length: int, seed: int, name: str, buckets: int = BUCKETS) -> None:
        key = (zlib.crc32(b"sketch"), zlib.crc32(name.encode()))
        words = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)).random_raw(length)
        self.length = length
        self.buckets = buckets
        self._bucket = ((words >> np.uint64(1)) % np.uint64(buckets)).astype(np.intp)
        self._sign = np.where(words & np.uint64(1), np.int8(1), np.int8(-1))

    def __call__(self, vector: torch.Tensor) -> Sketch:
        """Sketch ``vector`` (P,) float32; returns (buckets,) float64, summed in index order.

        Raises:
            ValueError: the vector does not have the length that the sketch was made for.
        """
        if vector.shape != (self.length,):
            found = tuple(vector.shape)
            raise ValueError(f"the sketch is of ({self.length},) vectors, not {found}")
        values = vector.detach().cpu().numpy()
        signed = np.multiply(values, self._sign, dtype=np.float64)
        sums: Sketch = np.zeros(self.buckets)
        sums += np.bincount(self._bucket, weights=signed, minlength=self.buckets)
        return sums


def encode(sketch: Sketch) -> str:
    """The sketch as base64 of little-endian float64, for a JSON record."""
    return base64.b64encode(sketch.astype("<f8").tobytes()).decode("ascii")


def decode(text: str) -> Sketch:
    """What :func:`encode` wrote.

    Raises:
        ValueError: not base64, or not a whole number of float64 values.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as problem:
        raise ValueError(f"not a sketch: {problem}") from None
    return np.frombuffer(raw, dtype="<f8").astype(np.float64)


def estimate_disagreement(sketches: npt.ArrayLike) -> tuple[float, float]:
    """The disagreement, and its relative standard error, from the peers' count sketches.

    A sketch S is linear and common to all peers, so the sketches' distances to their own mean
    estimate the distances of the parameters, without bias: E||S x||² = ||x||².

    The error is that of the *average*. With x_k = w_k - w_c and m buckets, Var(||S x_k||²) is at
    most (2/m)||x_k||⁴: sqrt(2/256) = 8.8 % for one peer. Averaging over peers need not reduce it,
    because all peers share the same buckets and signs: the variance of the sum is
    (2/m) sum_kl (x_k . x_l)². Where the differences are orthogonal it falls as 1/K; where all of
    them lie along one line (one odd peer out, for instance) every term errs alike and it does not
    fall at all. So the inner products are themselves estimated from the sketches, which errs
    upwards, and the answer is capped at sqrt(2/m). The sketch is the same in every round too:
    a whole curve is shifted up or down together, it does not jitter within its band.

    Args:
        sketches: (K, m), one peer's sketch a row, all of the same net and the same round.

    Returns:
        The estimate, in squared parameter units, and its standard error relative to it (0.05 is
        5 %; 0 where all peers are equal).
    """
    rows = np.asarray(sketches, dtype=np.float64)
    peers, buckets = rows.shape
    differences = rows - rows.mean(axis=0)
    if not np.isfinite(differences).all():
        return float("nan"), float("nan")
    # Of the two Gram matrices with the same non-zero spectrum, the smaller.
    gram = differences @ differences.T if peers <= buckets else differences.T @ differences
    total = float(np.trace(gram))
    if total <= 0.0:
        return 0.0, 0.0
    alignment = min(1.0, float(np.square(gram).sum()) / total**2)
    return total / peers, float(np.sqrt(2 / buckets * alignment))
