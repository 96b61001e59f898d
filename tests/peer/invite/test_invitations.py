"""Codes of one peer: once, for a time, and taken back."""

from __future__ import annotations

import pytest

from peer.invite.invitations import MOST, MOST_REQUESTS, Invitations, State
from peer.net.keys import KeyRing, pair_of, public_key
from topology.errors import UserError


class Book(Invitations):
    """Invitations, and the keys that are let in by them."""

    def __init__(self) -> None:
        self.keys: frozenset[bytes] = frozenset()
        super().__init__(self._let_in)

    def _let_in(self, keys: frozenset[bytes]) -> None:
        self.keys = keys


def secret(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_code_is_good_for_its_time_and_then_opens_nothing() -> None:
    book = Book()
    made = book.make(5, (0, 1), secret(1), 100.0, 60.0)
    assert book.keys == {made.public}
    assert book.asked(made.public, 159.9) is made
    assert book.asked(made.public, 160.0) is None
    assert book.keys == frozenset()
    assert book.listed(160.0) == []


def test_it_is_good_once_and_again_for_the_same_key_alone() -> None:
    book = Book()
    made = book.make(5, (0, 1), secret(1), 0.0, 60.0)
    assert book.take(made, "a")
    assert made.state is State.USED
    assert book.take(made, "a")  # its answer was lost
    assert not book.take(made, "b")
    assert book.asked(made.public, 1.0) is made  # who comes second is told why
    assert book.asked(made.public, 60.0) is None


def test_it_is_taken_back() -> None:
    book = Book()
    made = book.make(5, (0, 1), secret(1), 0.0, 60.0)
    other = book.make(6, (0, 1), secret(2), 0.0, 60.0)
    assert book.revoke(5, 1.0).state is State.OPEN
    assert book.keys == {other.public}
    assert book.asked(made.public, 1.0) is None
    with pytest.raises(UserError, match="--revoke 5: no code of peer 5 is valid here"):
        book.revoke(5, 1.0)


def test_one_code_for_one_id_and_a_few_at_a_time() -> None:
    book = Book()
    book.make(5, (0,), secret(0), 0.0, 60.0)
    with pytest.raises(UserError, match="peer 5 is invited already; take that code back"):
        book.make(5, (0,), secret(1), 1.0, 60.0)
    for number in range(1, MOST):
        book.make(5 + number, (0,), secret(number), 0.0, 60.0)
    with pytest.raises(UserError, match="there are 16 codes already"):
        book.make(100, (0,), secret(100), 1.0, 60.0)
    book.make(100, (0,), secret(101), 60.0, 60.0)  # their time is over


def test_who_asks_too_often_has_the_code_closed() -> None:
    book = Book()
    made = book.make(5, (0,), secret(0), 0.0, 60.0)
    for _ in range(MOST_REQUESTS):
        assert book.asked(made.public, 1.0) is made
    assert book.asked(made.public, 1.0) is None
    assert book.keys == frozenset()


def test_a_key_follows_from_the_secret_and_from_nothing_else() -> None:
    public, own = pair_of(secret(7))
    assert public_key(own) == public.decode()
    assert pair_of(secret(7)) == (public, own)
    assert pair_of(secret(8))[0] != public


def test_guests_are_told_apart_and_are_never_neighbours() -> None:
    ring = KeyRing({3: b"three"})
    ring.invite([b"one", b"two"])
    one, two = ring.who(b"one"), ring.who(b"two")
    assert {ring.callback("", key) for key in (b"one", b"two", b"three")} == {True}
    assert one < -1
    assert two < -1
    assert one != two
    assert ring.who(b"three") == 3
    ring.invite([b"two", b"new"])
    assert ring.who(b"one") == -1
    assert not ring.callback("", b"one")
    assert ring.who(b"two") == two
    assert ring.who(b"new") not in (one, two)  # a number is nobody else's later


def test_who_is_turned_away_is_let_in_by_a_new_key_alone() -> None:
    ring = KeyRing({3: b"three", 5: b"stolen"})
    ring.turn_away(5)
    assert not ring.callback("", b"stolen")
    assert ring.who(b"stolen") == -1
    assert ring.used(5) == b"stolen"  # a link that is closing may be dialled
    ring.expect(3, b"next")
    assert not ring.callback("", b"stolen")
    ring.expect(5, b"new")
    assert ring.who(b"new") == 5
    assert not ring.callback("", b"stolen")
