"""The order in which events are processed."""

from __future__ import annotations

import math

from sim.events.event_queue import EventQueue


def test_events_run_by_time_and_then_as_they_were_scheduled() -> None:
    queue, ran = EventQueue(), []
    for name, time in (("late", 2.0), ("first", 1.0), ("second", 1.0), ("early", 0.5)):
        queue.schedule(time, lambda name=name: ran.append(name))
    assert queue.next_time == 0.5
    queue.run_until(1.0)
    assert ran == ["early", "first", "second"]
    assert queue
    assert queue.next_time == 2.0
    queue.run_until(math.inf)
    assert ran[-1] == "late"
    assert not queue
    assert queue.next_time == math.inf


def test_a_turn_can_leave_what_it_entails_for_the_next() -> None:
    for only_queued, expected in ((False, ["event", "entailed"]), (True, ["event"])):
        queue, ran = EventQueue(), []

        def event(queue: EventQueue = queue, ran: list[str] = ran) -> None:
            ran.append("event")
            queue.schedule(1.0, lambda: ran.append("entailed"))

        queue.schedule(1.0, event)
        queue.run_until(1.0, only_queued=only_queued)
        assert ran == expected
        queue.run_until(1.0)
        assert ran == ["event", "entailed"]
