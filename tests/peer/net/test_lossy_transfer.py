"""A value over a link that loses a third of all messages, each way: how long it takes."""

from __future__ import annotations

import random
import statistics

import pytest

from peer.effects import BEFORE_ALL, Moment
from peer.net.exchange import Exchange, State
from peer.net.transfer import sender as sender_module
from peer.net.transfer.receiver import Receiver, Whole
from peer.net.transfer.sender import Sender
from peer.net.wire import Ack, Chunk, Message, Nack, Offer
from tests.support.links import agreed

T, NET, CHUNK, COUNT = Moment(0, 0), "generator", 512, 24
RETRY, TICK, LATENCY = 2.0, 0.05, 0.01


class Lossy:
    """Both halves of a transfer, and the messages between them; time is virtual."""

    def __init__(self, seed: int, loss: float) -> None:
        self.draws, self.loss = random.Random(seed), loss
        self.now = 0.0
        self.way: list[tuple[float, str, int, Message, bytes | None]] = []
        self.seqs = {"there": 0, "back": 0}
        self.seen = -1
        size = CHUNK * COUNT
        self.exchange = Exchange(T, NET, State.AWAITING, False, 0.0, RETRY, RETRY)
        self.sender = Sender(RETRY, agreed("crc32"), lambda m, body: self.carry("there", m, body))
        self.receiver = Receiver(
            {NET: size}, None, agreed("crc32"), RETRY, lambda m: self.carry("back", m),
            lambda piece: None, lambda now: None,
        )  # fmt: skip
        payload = memoryview(bytes(size))
        self.sender.offer(self.sender.add(T, NET, "float32", payload, None), 0.0)

    def carry(self, where: str, message: Message, body: memoryview | None = None) -> None:
        seq, self.seqs[where] = self.seqs[where], self.seqs[where] + 1
        if self.draws.random() >= self.loss:
            content = None if body is None else bytes(body)
            self.way.append((self.now + LATENCY, where, seq, message, content))

    def seconds(self) -> float:
        """Until the value is whole at the other end; a minute at most."""
        while self.now < 60.0:
            self.now += LATENCY
            due = [each for each in self.way if each[0] <= self.now]
            self.way = [each for each in self.way if each[0] > self.now]
            for _, where, seq, message, body in due:
                if where == "there":
                    if self.arrives(seq, message, body):
                        return self.now
                else:
                    self.answers(message)
            if round(self.now / LATENCY) % round(TICK / LATENCY) == 0:
                self.sender.offer_what_is_due(self.now)
                self.receiver.ask_where_it_is(self.exchange, self.now, BEFORE_ALL)
                self.receiver.ask_again(self.now)
        return 60.0

    def arrives(self, seq: int, message: Message, body: bytes | None) -> bool:
        if seq != self.seen + 1:
            self.receiver.note_gap(self.now)
        self.seen = seq
        if isinstance(message, Offer):
            self.receiver.offered(message, self.exchange, self.now, 1)
            return False
        assert isinstance(message, Chunk)
        view = None if body is None else memoryview(bytearray(body))
        return isinstance(self.receiver.chunk(message, view, self.exchange, self.now), Whole)

    def answers(self, message: Message) -> None:
        match message:
            case Ack(verdict="more"):
                self.sender.make_room(message, self.now)
            case Nack(t, index):
                self.sender.send_from(t, index, T, self.now)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)


def test_without_losses_nothing_is_asked_for_twice() -> None:
    link = Lossy(0, 0.0)
    assert link.seconds() < 0.1
    assert link.seqs["there"] == 1 + COUNT


def test_a_third_of_all_messages_may_be_lost() -> None:
    """With one question for each lost piece, 20 of 60 were whole in a minute; 49 s on average."""
    took = [Lossy(seed, 0.33).seconds() for seed in range(60)]
    assert sum(seconds < 60.0 for seconds in took) >= 55
    assert statistics.fmean(took) < 25.0


def test_a_tenth_of_all_messages_may_be_lost() -> None:
    took = [Lossy(seed, 0.1).seconds() for seed in range(60)]
    assert statistics.fmean(took) < 1.5
    assert max(took) < 8.0
