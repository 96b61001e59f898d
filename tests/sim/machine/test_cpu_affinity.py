"""Which processors a process computes on, and which of its threads come first."""

from __future__ import annotations

import ctypes
import os
import threading

import pytest

from sim.machine.cpu_affinity import cores, schedule_as_batch, share_of_cores
from sim.sharding.collectives import Communicator, launch

linux = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux's scheduler")


@linux
def test_a_share_is_kept_to_and_given_back() -> None:
    before = os.sched_getaffinity(0)
    shares = []
    for number in range(2):
        with share_of_cores(number, 2) as threads:
            shares.append(os.sched_getaffinity(0))
            found: list[set[int]] = []
            began = threading.Thread(target=lambda of=found: of.append(os.sched_getaffinity(0)))
            began.start()
            began.join()
            assert found == [shares[-1]]
        assert os.sched_getaffinity(0) == before
        assert threads == max(1, len(before) // 2)
    if len(before) > 1:
        assert not shares[0] & shares[1]


@linux
def test_with_too_few_cores_none_is_assigned() -> None:
    before = os.sched_getaffinity(0)
    with share_of_cores(3, cores() + 1) as threads:
        assert threads == 1
        assert os.sched_getaffinity(0) == before


@linux
def test_threads_of_a_name_preempt_no_other() -> None:
    ids, named, done = [], threading.Event(), threading.Event()

    def wait() -> None:
        ctypes.CDLL(None).prctl(15, b"patient", 0, 0, 0)  # PR_SET_NAME
        ids.append(threading.get_native_id())
        named.set()
        done.wait(30)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        assert named.wait(30)
        schedule_as_batch("impatient")
        assert os.sched_getscheduler(ids[0]) == os.SCHED_OTHER
        schedule_as_batch("patient")
        assert os.sched_getscheduler(ids[0]) == os.SCHED_BATCH
        assert os.sched_getscheduler(threading.get_native_id()) == os.SCHED_OTHER
    finally:
        done.set()
        thread.join()


def _has_a_batch_thread(communicator: Communicator) -> None:
    policies = [os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")]
    assert policies.count(os.SCHED_BATCH) == 1, policies
    assert communicator.threads == max(1, cores())  # of its share


@linux
def test_ranks_know_the_thread_that_receives() -> None:
    """It is found by its name, which is gloo's affair."""
    launch(_has_a_batch_thread, 2)
