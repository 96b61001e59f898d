"""A peer without neighbours is isolated; of two processes of one id, the first keeps its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from peer.data import Description, Images
from peer.effects import Moment
from peer.net.admission import Answer, Note
from peer.net.endpoint import Begin, Endpoint, Failed, Finish, Outcome, Part
from peer.net.failure_detector import Timing
from peer.net.isolation import Isolated
from peer.net.link import Link
from peer.net.session import Identity, Phase

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

    def add(
        self,
        peer: int,
        session: int,
        others: dict[int, str],
        place: str,
        data: Description | None = None,
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
    count = 4 * len(names)
    pixels = np.zeros((count, *shape), dtype=np.float32)
    labels = np.arange(count) % len(names)
    return Description.of(Images(pixels, labels, class_names=names))


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
    a = cable.add(0, 100, {1: "b"}, "a", described(("cat", "dog")))
    b = cable.add(1, 101, {0: "a"}, "b", theirs)
    cable.run(5.0)
    for process in (a, b):
        (failed,) = process.of(Failed)
        assert str(failed.problem).startswith("data.path: peer ")
    assert words in str(a.of(Failed)[0].problem)


def test_private_data_that_mean_the_same_are_swapped() -> None:
    cable = Cable()
    a = cable.add(0, 100, {1: "b"}, "a", described(("cat", "dog")))
    b = cable.add(1, 101, {0: "a"}, "b", described(("cat", "dog")))
    cable.run(3.0)
    assert a.endpoint.links[1].phase is b.endpoint.links[0].phase is Phase.UP
