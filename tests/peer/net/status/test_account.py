"""What a peer tells of itself, as bytes: it comes back as it went; nothing else is believed."""

from __future__ import annotations

import io
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from peer.net.header.seal import WireError
from peer.net.session import Phase
from peer.net.status.account import LIMIT, MOST_LINKS, MOST_NETS, Account, Picture

FULL = Account(
    round=170,
    state="running",
    seconds=12.5,
    pace=0.08,
    losses={"generator": 0.5, "discriminator": 1.25},
    measure="rfd",
    score=3.25,
    own=None,
    covered=9,
    scored=150,
    bytes_in=10**9,
    bytes_out=7,
    phases={1: "up", 4: "down"},
    missing=(4,),
    missed=12,
    pending=1,
    saved=150,
    saved_ago=1.5,
    memory=190_000_000,
    draws=True,
    holds=(0, 3),
    sketched=128,
    sketches={"generator": np.arange(256, dtype=np.float32)},
)


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, "PNG")
    return out.getvalue()


def test_an_account_comes_back_as_it_went() -> None:
    for account in (Account(), FULL):
        back = Account.from_bytes(account.to_bytes())
        assert {**vars(back), "sketches": None} == {**vars(account), "sketches": None}
        assert back.sketches.keys() == account.sketches.keys()
        for net, sketch in account.sketches.items():
            np.testing.assert_array_equal(back.sketches[net], sketch)


def test_the_largest_account_fits() -> None:
    full = Account(
        losses={f"{k:064}": 0.1 for k in range(3 * MOST_NETS)},
        measure="m" * 64,
        phases={2**32 - 1 - k: phase for k in range(2 * MOST_LINKS) for phase in ("down",)},
        missing=tuple(2**32 - 1 - k for k in range(2 * MOST_LINKS)),
        holds=tuple(range(10**6, 10**6 + 100)),
        sketches={net: np.ones(256, np.float32) for net in ("generator", "discriminator", "x")},
    )
    body = full.to_bytes()
    assert len(body) <= LIMIT
    back = Account.from_bytes(body)
    assert len(back.phases) == len(back.missing) == MOST_LINKS
    assert min(back.phases) == 2**32 - 2 * MOST_LINKS
    assert back.sketches.keys() == {"generator", "discriminator"}


def test_what_is_not_finite_is_left_out() -> None:
    odd = Account(
        losses={"generator": float("nan")},
        score=float("inf"),
        sketches={"generator": np.full(256, np.nan, np.float32)},
    )
    back = Account.from_bytes(odd.to_bytes())
    assert (back.losses, back.score, back.sketches) == ({"generator": None}, None, {})


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, -1), (0, True), (0, 2**60), (1, "gone"), (1, None), (2, float("nan")), (2, -1.0),
     (3, "1"), (4, {"g" * 65: 1.0}), (4, {"g\x1b": 1.0}), (4, {1: 1.0}), (4, {"g": float("inf")}),
     (4, {str(k): 1.0 for k in range(MOST_NETS + 1)}), (5, 3), (8, 1.5), (9, None), (12, {1: 7}),
     (12, {"1": 1}), (12, {1: "up"}), (13, [-1]), (13, list(range(MOST_LINKS + 1))), (19, 1),
     (20, 3), (20, [-1]), (20, list(range(65))),
     (22, {"other": b"\0" * 1024}), (22, {"generator": b"\0" * 1023}),
     (22, {"generator": b"\xff" * 1024})],
)  # fmt: skip
def test_one_value_that_does_not_fit(place: int, value: Any) -> None:
    parts = msgpack.unpackb(FULL.to_bytes(), strict_map_key=False)
    assert len(Phase) == 7
    parts[place] = value
    with pytest.raises(WireError):
        Account.from_bytes(msgpack.packb(parts))


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary()
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=25,
).map(msgpack.packb))  # fmt: skip
@example(msgpack.packb([None] * 23))
@example(b"\x91" * 1000)
@settings(max_examples=200)
def test_any_bytes_are_an_account_or_a_wire_error(body: bytes) -> None:
    for kind in (Account, Picture):
        try:
            kind.from_bytes(body)
        except WireError:
            continue


def test_a_picture_comes_back_as_it_went() -> None:
    picture = Picture(3, png(512, 64))
    assert Picture.from_bytes(picture.to_bytes()) == picture
    with pytest.raises(WireError, match="beyond 8192"):
        Picture(3, b"\x89" * LIMIT).to_bytes()


def test_a_picture_that_unpacks_to_more_than_it_may() -> None:
    for size in ((513, 1), (1, 129)):
        with pytest.raises(WireError, match="too large"):
            Picture.from_bytes(Picture(3, png(*size)).to_bytes())
    liar = png(8, 8)[:16] + struct.pack(">II", 60_000, 60_000) + png(8, 8)[24:]
    with pytest.raises(WireError, match="too large"):
        Picture.from_bytes(Picture(3, liar).to_bytes())
    for other in (b"", b"GIF89a" + b"\0" * 30, png(8, 8)[:20]):
        with pytest.raises(WireError, match="not a PNG"):
            Picture.from_bytes(Picture(3, other).to_bytes())
