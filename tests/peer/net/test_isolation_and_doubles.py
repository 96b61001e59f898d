"""A peer without neighbours is isolated; of two processes of one id, the first keeps its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from peer.data import Description, Images
from peer.data.agreement import Agreed, Agreement, Waiting
from peer.effects import Moment
from peer.net.admission import Answer, Note
from peer.net.away.failure_detector import Timing
from peer.net.commands import Begin, Finish, Part
from peer.net.endpoint import Endpoint
from peer.net.events import Failed, Outcome
from peer.net.link import Link
from peer.net.session import Identity, Phase
from peer.net.waiting.isolation import Isolated
from peer.net.wire import Hello, decode

TICK = 0.05
TIMING = Timing(start_timeout=10.0, deadline=4.0, suspect=1.0, down=2.0, ping=0.5, retry=1.0)
SIZES = {"net": 400}


@dataclass
class Process:
    """One process: an endpoint, where it is reached, and what it has told."""

    peer: int
    place: str  # its listening address
    endpoint: Endpoint
    told: list[Any] = field(default_factory=list)
    is_alive: bool = True

    def lines(self) -> list[str]:
        return [event.line for event in self.told if isinstance(event, Note)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]


class Cable:
    """Carries everything at once, by address, in virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.processes: list[Process] = []
        self.curve = False
        self.hellos = 0

    def add(
        self,
        peer: int,
        session: int,
        others: dict[int, str],
        place: str,
        data: Agreement | None = None,
    ) -> Process:
        # nets that are told classes are as large as there are many
        nets = {} if data is None else {"model:generator": f"{data.classes} classes"}
        me = Identity(peer, session, {"seed": "0"}, nets, data)
        links = {k: Link(me, k, SIZES, TIMING, True, self.now) for k in others}
        endpoint = Endpoint(links, others, self.now, isolation=20.0)
        self.processes.append(Process(peer, place, endpoint))
        return self.processes[-1]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            for process in self.processes:
                if process.is_alive:
                    process.endpoint.tick(self.now)
            for _ in range(4):
                for process in self.processes:
                    if process.is_alive:
                        self._carry(process)

    def _carry(self, process: Process) -> None:
        for neighbour, outbox in process.endpoint.outboxes:
            place = process.endpoint.addresses[neighbour]
            there = next((p for p in self.processes if p.place == place and p.is_alive), None)
            while outbox and there is not None:
                header, body = outbox.popleft()
                self.hellos += isinstance(decode(header).message, Hello)
                connection = f"{id(process)}".encode()
                who = process.peer if self.curve else None
                there.endpoint.receive(connection, who, header, body, self.now)
        while process.endpoint.events:
            event = process.endpoint.events.popleft()
            process.told.append(event)
            if isinstance(event, Answer):
                asker = next(p for p in self.processes if f"{id(p)}".encode() == event.connection)
                asker.endpoint.receive_answer(process.peer, event.header, self.now)


def begin(process: Process, t: Moment) -> None:
    payload = memoryview(bytes(400))
    parts = {k: Part(t, "net", payload) for k in process.endpoint.links}
    process.endpoint.begin(Begin(parts), process.endpoint._watch._in_touch_at)


def pair(cable: Cable) -> tuple[Process, Process]:
    return cable.add(0, 100, {1: "b"}, "a"), cable.add(1, 101, {0: "a"}, "b")


def test_who_never_meets_anybody_is_isolated_after_the_start_timeout() -> None:
    cable = Cable()
    alone = cable.add(0, 100, {1: "b", 2: "c"}, "a")
    cable.run(TIMING.start_timeout - 0.2)
    assert alone.of(Isolated) == []
    cable.run(60.0)
    assert alone.of(Isolated) == [Isolated(TIMING.start_timeout, never=True)]


def test_whose_neighbours_all_die_is_isolated_after_a_while() -> None:
    cable = Cable()
    a, b = pair(cable)
    cable.run(3.0)
    assert a.endpoint.links[1].phase is Phase.UP
    b.is_alive = False
    cable.run(19.0)  # suspected after a second: out of touch three seconds after that
    assert a.of(Isolated) == []
    cable.run(10.0)
    assert a.of(Isolated) == [Isolated(20.0, never=False)]


def test_one_neighbour_is_company_enough() -> None:
    cable = Cable()
    a = cable.add(0, 100, {1: "b", 2: "c"}, "a")
    cable.add(1, 101, {0: "a"}, "b")
    cable.run(100.0)
    assert a.of(Isolated) == []


def test_whose_neighbours_have_finished_is_not_isolated() -> None:
    cable = Cable()
    a, b = pair(cable)
    cable.run(2.0)
    b.endpoint.finish(Finish(5, 1.0), cable.now)
    cable.run(2.0)
    assert a.endpoint.links[1].phase is Phase.LEFT
    b.is_alive = False
    cable.run(100.0)
    assert a.of(Isolated) == []


@pytest.mark.parametrize("curve", [False, True])
def test_a_second_process_of_an_id_is_told_and_the_first_keeps_its_place(curve: bool) -> None:
    cable = Cable()
    cable.curve = curve
    a, b = pair(cable)
    cable.run(3.0)
    second = cable.add(1, 999, {0: "a"}, "elsewhere")
    cable.run(5.0)
    (failed,) = second.of(Failed)
    assert str(failed.problem).startswith("--id 1: another process is peer 1 already, says peer 0")
    assert a.endpoint.links[1].session.number == 101
    assert a.endpoint.links[1].phase is b.endpoint.links[0].phase is Phase.UP
    assert [line for line in a.lines() if "second process" in line] == [
        "a second process says that it is peer 1; the first keeps its place "
        "(give every process an --id of its own)"
    ]
    assert [line for line in b.lines() if "another process" in line] == [
        "peer 0 tells us that another process has our id 1 (we keep our place; stop the other)"
    ]
    for process in (a, b):
        begin(process, Moment(0, 0))
    cable.run(1.0)
    for process in (a, b):
        (outcome,) = process.of(Outcome)
        assert outcome.missing == set()
    assert not b.of(Failed)


@pytest.mark.parametrize("curve", [False, True])
def test_a_process_that_was_started_anew_is_no_second_one(curve: bool) -> None:
    cable = Cable()
    cable.curve = curve
    a, b = pair(cable)
    cable.run(3.0)
    b.is_alive = False
    again = cable.add(1, 555, {0: "a"}, "b")
    cable.run(TIMING.retry + 1.0)
    assert again.of(Failed) == []
    assert a.endpoint.links[1].session.number == 555
    assert a.endpoint.links[1].phase is Phase.UP
    assert not any("second" in line or "not of this network" in line for line in a.lines())


# --- private data ---------------------------------------------------------------------------------


def described(names: tuple[str, ...], shape: tuple[int, int, int] = (1, 8, 8)) -> Description:
    count = 4 * max(1, len(names))
    pixels = np.zeros((count, *shape), dtype=np.float32)
    labels = np.arange(count) % len(names) if names else None
    return Description.of(Images(pixels, labels, class_names=names))


def listed(me: int, own: Description) -> Agreement:
    """Of a peer whose experiment file lists the classes."""
    return Agreement(me, own, range(2), own.names)


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (
            described(("cat", "dog"), (3, 8, 8)),
            "data.path: peer 0 has images of 8x8 with 1 channel, and peer 1 of 8x8 with 3 channels",
        ),
        (described(("cat", "horse")), "data.classes: [cat, dog, horse]"),
        (described(("dog", "cat")), "list all classes in one order at every peer"),
        (described(("cat", "dog", "emu")), "data.classes: [cat, dog, emu]"),
    ],
)
def test_private_data_that_mean_something_else_end_the_run_at_both_ends(
    theirs: Description, words: str
) -> None:
    cable = Cable()
    a = cable.add(0, 100, {1: "b"}, "a", listed(0, described(("cat", "dog"))))
    b = cable.add(1, 101, {0: "a"}, "b", listed(1, theirs))
    cable.run(5.0)
    for process in (a, b):
        (failed,) = process.of(Failed)
        assert str(failed.problem).startswith("data.path: peer ")
    assert words in str(a.of(Failed)[0].problem)


def test_private_data_that_mean_the_same_are_swapped() -> None:
    cable = Cable()
    a = cable.add(0, 100, {1: "b"}, "a", listed(0, described(("cat", "dog"))))
    b = cable.add(1, 101, {0: "a"}, "b", listed(1, described(("cat", "dog"))))
    cable.run(3.0)
    assert a.endpoint.links[1].phase is b.endpoint.links[0].phase is Phase.UP
    assert a.of(Agreed) == b.of(Agreed) == []


# --- classes that are agreed on -------------------------------------------------------------------


def in_a_row(cable: Cable, *names: tuple[str, ...], workers: int | None = None) -> list[Process]:
    """Peers on a path, each with images of its own, up to ``workers`` of which hold data."""
    last, found = len(names) - 1, []
    for k, each in enumerate(names):
        others = {n: f"at {n}" for n in (k - 1, k + 1) if 0 <= n <= last}
        everybody = range(workers or len(names))
        times = {"now": cable.now, "seconds": TIMING.start_timeout}
        data = Agreement(k, described(each), everybody, **times)
        found.append(cable.add(k, 100 + k, others, f"at {k}", data))
    return found


def phases(process: Process) -> list[Phase]:
    return [link.phase for link in process.endpoint.links.values()]


def test_names_reach_everybody_and_a_link_that_is_up_stays_up() -> None:
    cable = Cable()
    row = in_a_row(cable, ("cat",), ("10", "dog"), ("9",), ("cat", "owl"))
    cable.run(1.0)
    for process in row:
        assert process.of(Agreed) == [Agreed(("9", "10", "cat", "dog", "owl"))]
        assert set(phases(process)) == {Phase.UP}
        assert not any("restarted" in line for line in process.lines())
        assert all(link.gaps == 0 for link in process.endpoint.links.values())
        begin(process, Moment(0, 0))
    cable.run(1.0)
    assert all(process.of(Outcome)[0].missing == set() for process in row)
    before = cable.hellos
    assert before <= 40  # a path of four: three links, both ways, and seven things to tell at most
    cable.run(30.0)
    assert cable.hellos == before


def test_news_that_are_lost_are_told_again() -> None:
    cable = Cable()
    row = in_a_row(cable, ("cat",), ("dog",), ("owl",))
    row[2].is_alive = False
    cable.run(2.0)
    row[0].is_alive, row[2].is_alive = False, True
    cable.run(0.4)
    to_first = row[1].endpoint.links[0].outbox
    assert any(isinstance(decode(header).message, Hello) for header, _ in to_first)
    to_first.clear()
    row[0].is_alive = True
    cable.run(3.0)
    assert row[0].of(Agreed) == [Agreed(("cat", "dog", "owl"))]
    assert row[0].endpoint.links[1].gaps > 0


def test_without_a_peer_that_never_comes_the_others_begin_in_time() -> None:
    cable = Cable()
    row = in_a_row(cable, ("cat",), ("dog",), workers=3)
    cable.run(TIMING.start_timeout - 0.2)
    assert [process.of(Agreed) for process in row] == [[], []]
    cable.run(1.0)
    assert [len(process.of(Waiting)) for process in row] == [1, 1]
    assert all(process.of(Waiting)[0].absent == (2,) for process in row)
    (first,), (second,) = (process.of(Agreed) for process in row)
    assert first.classes == second.classes == ("cat", "dog")
    assert (2,) in (first.absent, second.absent)


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize(("theirs", "fits"), [(("dog",), True), (("dog", "owl"), False)])
def test_a_late_comer(theirs: tuple[str, ...], fits: bool, has_begun: bool) -> None:
    cable = Cable()
    row = in_a_row(cable, ("cat",), ("dog",), theirs)
    cable.processes.remove(row.pop())
    cable.run(TIMING.start_timeout + 1.0)
    for process in row if has_begun else ():
        begin(process, Moment(0, 0))
    cable.run(1.0)
    data = Agreement(2, described(theirs), range(3), None, cable.now, TIMING.start_timeout)
    row.append(cable.add(2, 102, {1: "at 1"}, "at 2", data))
    cable.run(3.0)
    assert row[0].of(Failed) == row[1].of(Failed) == []
    if fits:
        assert row[2].of(Agreed) == [Agreed(("cat", "dog"))]
        assert set(phases(row[1])) == {Phase.UP}
        return
    assert phases(row[1]) == [Phase.UP, Phase.REFUSED]
    (failed,) = row[2].of(Failed)
    assert row[2].of(Agreed) == []
    advice = "list all classes in one order at every peer, data.classes: [cat, dog, owl]"
    assert str(failed.problem).startswith("data.path: peer 2 has 2 classes ('dog', 'owl'), and pee")
    assert str(failed.problem).endswith(advice)
    (line,) = [line for line in row[1].lines() if "refused" in line]
    assert line.startswith("peer 2: refused (data.path: peer 1 has agreed on 2 classes ('cat', ")
    assert line.endswith(f"{advice})")


def test_two_parts_that_agreed_apart_refuse_each_other() -> None:
    cable = Cable()
    row = in_a_row(cable, ("cat",), ("dog",), ("owl",), ("emu",))
    for process in row:
        process.place = f"{process.place}, cut off" if process.peer > 1 else process.place
    row[3].endpoint.addresses[2] = "at 2, cut off"
    row[2].endpoint.addresses[3] = "at 3, cut off"
    row[2].endpoint.addresses[1] = "nowhere"
    cable.run(TIMING.start_timeout + 1.0)
    assert [process.of(Agreed)[0].classes for process in row] == [
        ("cat", "dog"), ("cat", "dog"), ("emu", "owl"), ("emu", "owl"),
    ]  # fmt: skip
    row[1].endpoint.addresses[2] = "at 2, cut off"
    row[2].endpoint.addresses[1] = "at 1"
    cable.run(4.0)
    for process in row[1:3]:
        (failed,) = process.of(Failed)
        assert "data.classes: [cat, dog, emu, owl]" in str(failed.problem)
    assert row[0].of(Failed) == row[3].of(Failed) == []


def test_images_with_classes_and_without_end_the_run_at_both_ends() -> None:
    cable = Cable()
    a, nobody = in_a_row(cable, ("cat",), ("dog",))
    cable.processes.remove(nobody)
    b = cable.add(1, 102, {0: "at 0"}, "at 1", Agreement(1, described(()), range(2), ()))
    cable.run(4.0)
    for process in (a, b):
        (failed,) = process.of(Failed)
        assert str(failed.problem) == (
            "data.path: peer 0 has images in classes, and peer 1 without; sort all of them into "
            "classes, or none"
        )
