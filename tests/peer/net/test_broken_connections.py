"""A connection that breaks and is there again: nobody waits for a time to pass, or for ever."""

from __future__ import annotations

import pytest

from peer.net.away.contacts import AGAIN, Contact, Contacts
from peer.net.session import Phase, Reconnect
from peer.net.transfer import sender as sender_module
from peer.net.wire import Ack, Hello, Nack, Offer, Ping, Vote, Welcome
from tests.peer.net.test_link_against_a_script import Scripted
from tests.support.links import CHUNK, moments

A, B = moments(2)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)


# --- what ZeroMQ tells ----------------------------------------------------------------------------


def test_the_first_connection_is_none_that_is_there_again() -> None:
    contacts = Contacts([1])
    contacts.note(1, Contact.CONNECTED)
    contacts.note(1, Contact.THROUGH)
    assert contacts[1] is Contact.THROUGH
    assert contacts.remade == set()
    for _ in range(2):
        for said in (Contact.NONE, Contact.CONNECTED, Contact.THROUGH):
            contacts.note(1, said)
    assert contacts.remade == {1}
    contacts.dialled(1)
    assert contacts.remade == set()
    assert contacts[1] is Contact.NONE


def test_what_zeromq_gives_up_is_dialled_after_a_while() -> None:
    contacts = Contacts([1, 2, 3])
    for k in contacts:
        contacts.note(k, Contact.CONNECTED)
    contacts.note(1, Contact.FAILED)
    contacts.note(1, Contact.NONE)
    contacts.note(2, Contact.NONE)
    contacts.tried_again(2)  # as it says of most
    contacts.note(3, Contact.REFUSED)
    contacts.note(3, Contact.NONE)
    assert contacts.given_up(10.0) == []
    assert contacts.given_up(10.0 + AGAIN) == [1]
    contacts.dialled(1)
    assert contacts.given_up(99.0) == []


# --- what a link makes of it ----------------------------------------------------------------------


def test_by_the_new_connection_all_is_said_again_at_once() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.say(scripted.offer(A))
    scripted.heard()
    scripted.link.connected_anew(scripted.now)
    said = scripted.heard()
    assert isinstance(said[0], Hello)
    assert {type(message) for message in said[1:]} >= {Offer, Nack}
    assert Nack(A, 0) in said


def test_a_vote_is_said_again_by_the_new_connection() -> None:
    scripted = Scripted(agrees=True)
    scripted.link.commit.decides = False  # the neighbour does
    scripted.begin(A)
    scripted.send(A)
    assert Vote(A, scripted.session) in scripted.heard()
    scripted.tick()
    assert not any(isinstance(message, Vote) for message in scripted.heard())
    scripted.link.connected_anew(scripted.now)
    scripted.tick()
    assert Vote(A, scripted.session) in scripted.heard()


def test_who_greets_by_a_new_connection_may_have_lost_its_answers() -> None:
    """Its ACK to our offer, say: it hears the offer again, and not after seconds."""
    scripted = Scripted()
    scripted.begin(A)
    scripted.heard()
    scripted.seq += 1  # what it said last is lost
    scripted.say_hello()
    assert any(isinstance(message, Offer) for message in scripted.heard())
    scripted.say_hello()  # nothing is lost: it has news
    assert not any(isinstance(message, Offer) for message in scripted.heard())


def test_a_connection_that_leads_nowhere_is_made_anew_though_the_neighbour_is_heard() -> None:
    """Its bytes may be shifted at the other end, which waits for the rest of a frame."""
    scripted = Scripted()
    timing = scripted.link.timing
    until = scripted.now + 1.5 * timing.down
    number = 0
    while scripted.now < until:
        scripted.wait(0.5)
        number += 1
        scripted.say(Ping(A, number))  # it is there, and does not answer ours
        scripted.say(Ack(A, 0, "abort"))  # nor does that
    assert scripted.link.phase is Phase.UP
    assert sum(isinstance(event, Reconnect) for event in scripted.events) == 1
    scripted.say(Welcome(scripted.me.session, 0))
    scripted.heard()
    scripted.wait(3.0 * timing.down, answering=True)
    assert sum(isinstance(event, Reconnect) for event in scripted.events) == 1
