"""Codecs: sizes, error bounds, and whatever bytes a network may bring."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from peer.codecs import Bf16, Codec, CodecError, Int4, Int8, TopK

ALL: dict[str, Codec] = {
    "bf16": Bf16(),
    "int8": Int8(),
    "int8, small blocks": Int8(block=2),
    "int8, stochastic": Int8(block=16, rounding="stochastic"),
    "int4": Int4(),
    "int4, small blocks": Int4(block=4),
    "int4, stochastic": Int4(block=16, rounding="stochastic"),
    "top-k": TopK(share=0.25),
    "top-k, by index": TopK(share=0.01),
    "top-k, all": TopK(share=1),
}

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = stn.arrays(np.float32, st.integers(1, 300), elements=floats)


def there_and_back(codec: Codec, x: np.ndarray, seed: int = 0) -> np.ndarray:
    encoded = codec.encode(torch.from_numpy(x.copy()), np.random.default_rng(seed))
    assert encoded.dtype == np.uint8
    assert encoded.shape == (codec.size(len(x)),)
    decoded = codec.decode(encoded, len(x))
    assert decoded.dtype == torch.float32
    return decoded.numpy()


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(x=vectors)
def test_what_is_finite_stays_finite_and_has_the_size_that_was_said(
    name: str, x: np.ndarray
) -> None:
    y = there_and_back(ALL[name], x)
    assert y.shape == x.shape
    assert np.isfinite(y).all()


@settings(max_examples=100, deadline=None)
@given(x=vectors)
def test_bf16_is_off_by_a_256th_at_most(x: np.ndarray) -> None:
    y = there_and_back(Bf16(), x).astype(np.float64)
    assert np.all(np.abs(y - x) <= np.abs(x.astype(np.float64)) / 256 + 1e-38)


def test_bf16_rounds_to_nearest_even() -> None:
    x = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8], np.float32)
    expected = [1, 1, 1 + 4 * 2**-8, 1 + 2 * 2**-8, -1]
    np.testing.assert_array_equal(there_and_back(Bf16(), x), np.array(expected, np.float32))


@pytest.mark.parametrize("name", [n for n in ALL if n.startswith("int")])
@settings(max_examples=60, deadline=None)
@given(x=vectors)
def test_integers_are_off_by_a_step_or_half_of_one(name: str, x: np.ndarray) -> None:
    codec: Any = ALL[name]
    y = there_and_back(codec, x).astype(np.float64)
    levels = 2 ** (codec.bits - 1) - 1
    for start in range(0, len(x), codec.block):
        block = slice(start, start + codec.block)
        largest = float(np.abs(x[block].astype(np.float64)).max())
        if largest > 1e38:
            continue  # the largest scale that any q can be multiplied by
        most = largest / levels * (1 if codec.rounding == "stochastic" else 0.5)
        assert np.all(np.abs(y[block] - x[block]) <= most * (1 + 1e-5) + 2e-36)


@pytest.mark.parametrize(("codec", "levels"), [(Int8(block=8), 127), (Int4(block=8), 7)])
def test_integers_round_ties_to_even(codec: Codec, levels: int) -> None:
    x = np.array([levels, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3], np.float32)
    np.testing.assert_array_equal(there_and_back(codec, x), [levels, 0, 2, 2, 0, -2, -2, 3])


@pytest.mark.parametrize("kind", [Int8, Int4])
def test_stochastic_rounding_is_right_in_the_mean(kind: Any) -> None:
    codec = kind(block=256, rounding="stochastic")
    x = np.random.default_rng(1).uniform(-1, 1, 512).astype(np.float32)
    x[[0, 256]] = 1  # both blocks have one scale
    draws = np.stack([there_and_back(codec, x, seed) for seed in range(2000)])
    step = 1 / (2 ** (codec.bits - 1) - 1)
    assert np.abs(draws.mean(0) - x).max() < 5 * step / 2 / math.sqrt(2000)
    np.testing.assert_array_equal(draws[7], there_and_back(codec, x, 7))


@settings(max_examples=100, deadline=None)
@given(x=vectors, share=st.sampled_from([0.01, 0.1, 0.5]))
def test_top_k_keeps_the_largest_as_they_are(x: np.ndarray, share: float) -> None:
    codec = TopK(share=share)
    y, k = there_and_back(codec, x), math.ceil(share * len(x))
    kept = y != 0
    assert kept.sum() <= k
    np.testing.assert_array_equal(y[kept], x[kept])
    left = np.sort(np.abs(np.where(kept, 0, x)))
    np.testing.assert_array_equal(left, np.sort(np.append(np.sort(np.abs(x))[:-k], np.zeros(k))))


def test_sizes_of_a_million() -> None:
    sizes = {name: ALL[name].size(10**6) for name in ("bf16", "int8", "int4", "top-k")}
    sizes["1 %"] = TopK(share=0.01).size(10**6)
    assert sizes == {
        "bf16": 2_000_000,
        "int8": 1_015_628,  # 3907 blocks
        "int4": 515_628,
        "top-k": 1_125_000,  # a bit each, and a quarter of the floats
        "1 %": 80_000,  # an index and a float
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ALL)
def test_what_diverged_is_refused(name: str, bad: float) -> None:
    x = np.ones(100, np.float32)
    x[50] = bad
    with pytest.raises(CodecError):
        there_and_back(ALL[name], x)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=150, deadline=None)
@given(data=st.data(), n=st.integers(1, 80))
def test_any_bytes_are_decoded_to_finite_numbers_or_refused(name: str, data: Any, n: int) -> None:
    codec = ALL[name]
    exact = st.binary(min_size=codec.size(n), max_size=codec.size(n))
    given_bytes = np.frombuffer(data.draw(st.one_of(exact, st.binary(max_size=400))), np.uint8)
    try:
        x = codec.decode(given_bytes, n)
    except CodecError:
        return
    assert given_bytes.nbytes == codec.size(n)
    assert x.shape == (n,)
    assert bool(x.isfinite().all())


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_spoiled_value_is_finite_or_refused(name: str, data: Any) -> None:
    codec, n = ALL[name], 40
    x = torch.linspace(-1, 1, n)
    encoded = codec.encode(x, np.random.default_rng(0)).copy()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(encoded) - 1))
        encoded[place] = data.draw(st.integers(0, 255))
    try:
        assert bool(codec.decode(encoded, n).isfinite().all())
    except CodecError:
        return


def test_coordinates_out_of_order_twice_or_out_of_range_are_refused() -> None:
    codec, n = TopK(share=0.01), 300
    good = codec.encode(torch.arange(n).float()).copy()
    assert codec.decode(good, n)[[297, 298, 299]].tolist() == [297, 298, 299]
    for places in ([298, 297, 299], [297, 297, 299], [-1, 298, 299], [297, 298, 300]):
        bad = good.copy()
        bad[:12] = np.array(places, "<i4").view(np.uint8)
        with pytest.raises(CodecError, match="coordinates"):
            codec.decode(bad, n)
