"""A code says what it said, or is refused in one line."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.invite.code import DIGEST, SECRET, Code, read_code
from topology.errors import UserError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

addresses = st.one_of(
    st.ip_addresses(v=4).map(lambda number: f"tcp://{number}:47103"),
    st.ip_addresses(v=6).map(lambda number: f"tcp://[{number}]:65535"),
    st.from_regex(r"tcp://[a-z][a-z0-9]{0,20}\.local:1", fullmatch=True),
    st.just("tcp://[fe80::1%eth0]:47100"),
)
codes = st.builds(
    Code,
    inviter=st.integers(0, 2**32 - 1),
    peer=st.integers(0, 2**32 - 1),
    until=st.integers(0, 2**32 - 1),
    digest=st.binary(min_size=DIGEST, max_size=DIGEST),
    key=st.binary(min_size=32, max_size=32),
    secret=st.binary(min_size=SECRET, max_size=SECRET),
    address=addresses,
)
ONE = Code(0, 5, 1_800_000_000, bytes(DIGEST), bytes(32), bytes(SECRET), "tcp://10.0.0.1:47100")


@given(codes)
def test_it_says_what_it_said(code: Code) -> None:
    assert read_code(str(code)) == code


def test_case_spaces_dashes_and_line_ends_do_not_matter() -> None:
    word = str(ONE)
    wrapped = "\n  ".join(word[i : i + 20] for i in range(0, len(word), 20))
    assert read_code(wrapped) == ONE
    assert read_code(word.lower()) == ONE
    assert read_code("-".join([word[:40], word[40:]])) == ONE


def test_it_is_short_and_survives_shells_and_chats() -> None:
    word = str(ONE)
    assert len(word) <= 136
    assert set(word) <= set(LETTERS)


def test_each_letter_that_is_another_one_is_noticed() -> None:
    word = str(ONE)
    for place, letter in enumerate(word):
        for other in LETTERS:
            if other == letter:
                continue
            with pytest.raises(UserError, match="this is no code of 'peer invite'"):
                read_code(word[:place] + other + word[place + 1 :])


@given(st.text(max_size=200))
def test_any_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="this is no code of 'peer invite'"):
        read_code(text)


def test_a_part_of_it_and_two_letters_in_each_others_place_are_noticed() -> None:
    word = str(ONE)
    for end in range(len(word)):
        with pytest.raises(UserError, match="a part of it is missing or was mistyped"):
            read_code(word[:end])
    for place in range(len(word) - 1):
        swapped = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        if swapped != word:
            with pytest.raises(UserError, match="this is no code"):
                read_code(swapped)


@pytest.mark.parametrize("host", [b"\xff\xfe", b"a b", b"", b"/", b"*", b"a" * 300])
def test_a_code_with_a_right_checksum_and_no_address_is_refused(host: bytes) -> None:
    """Somebody may have made it on purpose."""
    whole = base64.b32decode(str(ONE) + "=" * (-len(str(ONE)) % 8))
    named = whole[:-9] + b"\0" + host  # kind: a name
    sealed = named + zlib.crc32(named).to_bytes(4, "big")
    with pytest.raises(UserError):
        read_code(base64.b32encode(sealed).decode().rstrip("="))


def test_another_version_is_named() -> None:
    whole = base64.b32decode(str(ONE) + "=" * (-len(str(ONE)) % 8))
    later = b"\2" + whole[1:-4]
    sealed = later + zlib.crc32(later).to_bytes(4, "big")
    with pytest.raises(UserError, match="this code is of version 2, and this hearsay reads"):
        read_code(base64.b32encode(sealed).decode().rstrip("="))
