"""A link that is cut by hand, under ``peer up``: the others go on, and the flight says what was."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from peer.experiment import from_mapping
from peer.live.feed import Feed
from peer.live.steer import Steering
from peer.runtime.launcher import Child, up, with_free_ports
from peer.runtime.signals import Stop
from sim.replay.run import replay_run
from tests.real.conftest import SMALL

ROUNDS = 200


def wait_for(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + 120
    while not what():
        assert time.monotonic() < limit, "it never came to be"
        time.sleep(0.1)


@pytest.mark.timeout(300)
def test_a_run_whose_link_was_cut_is_replayed_bit_for_bit(tmp_path: Path) -> None:
    experiment = with_free_ports(
        from_mapping(
            SMALL
            | {
                "peers": 3,
                "algorithm": {"name": "diffusion", "rounds": ROUNDS},
                "deadline": 1,
                "alone": True,
            }
        )
    )
    run, stop = tmp_path / "run", Stop()
    run.mkdir()
    steering = Steering(Feed(), [(0, 1), (1, 2), (0, 2)])
    arguments = (experiment, run, ROUNDS, Console(file=io.StringIO()), [], [], stop, steering)
    running = threading.Thread(target=up, args=arguments)
    running.start()
    try:
        said = run / "peers.log"
        wait_for(lambda: len(_children(steering)) == 3)
        wait_for(lambda: min(c.status.get("round", 0) for c in _children(steering)) > 5)
        assert steering.link_actions["cut"](1, 0)
        wait_for(lambda: "going on without peer 0" in said.read_text(encoding="utf-8"))
        wait_for(lambda: "going on without peer 1" in said.read_text(encoding="utf-8"))
        assert steering.link_actions["mend"](0, 1)
        running.join(timeout=200)
        assert not running.is_alive()
    finally:
        if running.is_alive():
            stop.ask("the test is over")
            running.join()
    assert [child.process.returncode for child in _children(steering)] == [0, 0, 0]
    found = replay_run(run)
    assert found.difference is None
    assert found.without_flight == ()


def _children(steering: Steering) -> list[Child]:
    return list(steering._children.values())
