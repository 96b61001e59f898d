"""What two ends of a link check each other's pieces by."""

from __future__ import annotations

from itertools import product

import pytest

from peer.net.transfer import checksum as module
from peer.net.transfer.checksum import KNOWN, Checksum

PIECE = memoryview(bytes(range(256)) * 64)


def pair(mine: list[str], theirs: list[str]) -> tuple[Checksum, Checksum]:
    """Two ends that know these, and have said HELLO."""
    ends = Checksum(True), Checksum(True)
    ends[0].known, ends[1].known = mine, theirs
    ends[0].agree(ends[1].known)
    ends[1].agree(ends[0].known)
    return ends


@pytest.mark.parametrize(
    ("mine", "theirs", "name"),
    [
        (["xxh3", "crc32"], ["xxh3", "crc32"], "xxh3"),
        (["xxh3", "crc32"], ["crc32", "xxh3"], "xxh3"),  # in whichever order it is said
        (["xxh3", "crc32"], ["crc32"], "crc32"),  # no wheel over there
        (["xxh3", "crc32"], [], ""),  # checksums are off over there
        (["xxh3", "crc32"], ["blake9", "crc32"], "crc32"),  # a later version's
        (["crc32"], ["blake9"], ""),
    ],
)
def test_both_ends_use_the_quickest_that_both_know(
    mine: list[str], theirs: list[str], name: str
) -> None:
    one, other = pair(mine, theirs)
    assert one.name == other.name == name
    assert other.fits(PIECE, one.of(PIECE))
    damaged = memoryview(bytes(PIECE[:-1]) + b"\0")
    assert other.fits(damaged, one.of(PIECE)) is (name == "")


def test_before_a_hello_and_where_it_is_off_nothing_is_checked() -> None:
    assert Checksum(True).of(PIECE) == 0
    off = Checksum(False)
    off.agree(list(KNOWN))
    assert off.name == ""
    assert off.of(PIECE) == 0
    assert off.fits(PIECE, 99)


def test_a_machine_without_xxhash_has_crc32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN", {"crc32": KNOWN["crc32"]})
    poor = Checksum(True)
    assert poor.known == ["crc32"]
    poor.agree(["xxh3", "crc32"])
    assert poor.name == "crc32"


@pytest.mark.parametrize("name", KNOWN)
def test_every_flipped_bit_is_found_by_any_of_them(name: str) -> None:
    one, other = pair([name], [name])
    body = memoryview(bytearray(PIECE[:64]))
    told = one.of(body)
    assert 0 <= told < 2**64
    for byte, bit in product(range(64), range(8)):
        body[byte] ^= 1 << bit
        assert not other.fits(body, told)
        body[byte] ^= 1 << bit
    assert other.fits(body, told)
