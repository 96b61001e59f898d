"""Peers that agree on a last round stop after it, none before and none beyond."""

from __future__ import annotations

import threading
import time

from peer.runtime.course import Course


def run(course: Course, seconds: float, reached: list[int]) -> None:
    """Rounds of that length, until told to stop."""
    round = 0
    while True:
        time.sleep(seconds)
        round += 1
        reached.append(round)
        if not course.goes_on(round):
            return


def test_all_stop_after_the_same_round_however_far_they_were() -> None:
    courses = [Course(threading.Event(), 0) for _ in range(3)]
    reached: list[list[int]] = [[], [], []]
    threads = [
        threading.Thread(target=run, args=(course, 0.002 * (k + 1), of), daemon=True)
        for k, (course, of) in enumerate(zip(courses, reached, strict=True))
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    promises = [course.promise() for course in courses]
    time.sleep(0.1)
    assert [of[-1] for of in reached] == promises  # each waits where it said that it would
    assert promises[0] > promises[2]
    assert [course.promise() for course in courses] == promises  # a promise is kept
    for course in courses:
        course.last(max(promises))
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()
    assert [of[-1] for of in reached] == [max(promises)] * 3


def test_who_waits_for_the_last_round_can_be_stopped_alone() -> None:
    stop = threading.Event()
    course = Course(stop, 4)
    assert course.promise() == 5
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(course.goes_on(5)), daemon=True)
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    stop.set()
    waiting.join(timeout=20)
    assert found == [False]


def test_a_peer_that_is_asked_for_nothing_goes_on() -> None:
    stop = threading.Event()
    course = Course(stop, 0)
    assert course.goes_on(1)
    stop.set()
    assert not course.goes_on(2)
