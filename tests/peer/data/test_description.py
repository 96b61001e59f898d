"""What a peer's data are, in few words that other peers can compare with theirs."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.data import DataSpec, Description, Images, check_alike, load_source
from topology.errors import UserError

NAMES = st.lists(st.text(max_size=40), max_size=60, unique=True).map(tuple)


def images(
    names: tuple[str, ...] = ("cat", "dog"), shape: tuple[int, int, int] = (1, 4, 6)
) -> Images:
    pixels = np.arange(2 * np.prod(shape), dtype=np.uint8).reshape(2, *shape)
    labels = None if not names else np.array([0, len(names) - 1])
    return Images(pixels, labels, "made", 127.5, -1.0, names)


def of(*arguments: Any) -> Description:
    return Description.of(images(*arguments))


def test_what_digits_are() -> None:
    found = Description.of(load_source(DataSpec()))
    assert found.names == tuple("0123456789")
    assert found.classes == 10
    assert found.shape == (1, 8, 8)
    assert (found.low, found.high) == (-1.0, 1.0)


@given(NAMES, st.integers(1, 4))
def test_words_come_back_whole(names: tuple[str, ...], channels: int) -> None:
    own = of(names, (channels, 3, 2))
    words = own.to_words()
    packed = msgpack.packb(words)
    assert len(packed) <= 1536
    back = Description.from_words(msgpack.unpackb(packed))
    assert own.differences(back) == back.differences(own) == []
    assert back.classes == own.classes
    assert back.names in (own.names, None)
    assert (back.low, back.high) == (own.low, own.high)


def test_too_many_names_are_a_digest() -> None:
    many = of(tuple(f"class number {k}" for k in range(1000)))
    words = many.to_words()
    assert words["names"] == ""
    assert len(msgpack.packb(words)) < 200
    back = Description.from_words(words)
    assert back.names is None
    assert many.differences(back) == []
    assert of().differences(back) == [
        f"have 1000 classes (digest {many.digest}), and here 2 classes ('cat', 'dog')"
    ]


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (of(), of(), []),
        (of(("cat", "dog")), of(("dog", "cat")), ["have 2 classes ('dog', 'cat'), and here 2"]),
        (of(("cat",)), of(()), ["have no classes, and here 1 class ('cat')"]),
        (of(), of(("cat", "dog"), (3, 4, 6)), ["6x4 with 3 channels, and here of 6x4 with 1 ch"]),
        (of(), of(("a",), (1, 8, 8)), ["are images of 8x8", "have 1 class ('a'), and here"]),
    ],
)
def test_differences_are_plain_words(
    here: Description, there: Description, words: list[str]
) -> None:
    found = here.differences(there)
    assert len(found) == len(words)
    for line, part in zip(found, words, strict=True):
        assert part in line


def test_dark_values_are_doubted_and_no_difference() -> None:
    dark = Images(np.array([[[[0, 15]]]], np.uint8), None, "dark", 127.5, -1.0)
    bright = Images(np.array([[[[0, 255]]]], np.uint8), None, "bright", 127.5, -1.0)
    one, other = Description.of(dark), Description.of(bright)
    assert one.differences(other) == []
    assert other.doubts(one) == ["have values from -1 to -0.882, and here from -1 to 1"]
    assert one.doubts(one) == []


GOOD = of().to_words()


@pytest.mark.parametrize(
    "words",
    [
        None,
        [],
        {},
        GOOD | {"more": 1},
        {key: value for key, value in GOOD.items() if key != "low"},
        GOOD | {"classes": True},
        GOOD | {"classes": -1},
        GOOD | {"classes": 3},
        GOOD | {"classes": 2**70},
        GOOD | {"shape": [1, 2]},
        GOOD | {"shape": [1, 2, "3"]},
        GOOD | {"shape": [1, 2, -3]},
        GOOD | {"names": "[" * 1000},
        GOOD | {"names": '["cat", 1]'},
        GOOD | {"names": '["cat", "cow"]'},
        GOOD | {"names": 5},
        GOOD | {"digest": None},
        GOOD | {"low": 0.5},
    ],
)
def test_words_of_a_stranger_are_refused(words: Any) -> None:
    with pytest.raises(ValueError, match=r"description|shape|names"):
        Description.from_words(words)


def test_peers_that_differ_are_named() -> None:
    check_alike({0: of(), 3: of()})
    check_alike({})
    with pytest.raises(UserError) as caught:
        check_alike({0: of(), 2: of(("cat", "dog"), (3, 8, 8))})
    assert str(caught.value) == (
        "data.path: peer 0 has images of 6x4 with 1 channel, and peer 2 of 8x8 with 3 channels; "
        "set data.size and data.channels, or save them alike"
    )
    apart = {1: of(("cat", "dog")), 2: of(("dog", "10")), 4: of(("no", "9"))}
    check_alike(apart, classes=False)
    with pytest.raises(UserError) as caught:
        check_alike(apart)
    assert str(caught.value) == (
        "data.path: peer 1 has 2 classes ('cat', 'dog'), and peer 2 2 classes ('dog', '10'); list "
        'all classes in one order at every peer, data.classes: ["9", "10", cat, dog, "no"]'
    )
